"""The sensor in Airflow's own modes."""

from __future__ import annotations

from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import CALL_ID, ConnectionSetter
from tests.support.waiting_tasks import (
    AIRFLOW_3,
    Later,
    MakeTask,
    poking_sensor,
    sensor,
)
from tests.support.waits import Run

pytestmark = pytest.mark.usefixtures("connected")


def test_poke_uses_one_session_and_one_token(
    sandbox: Sandbox, connect: ConnectionSetter, live: dict[str, Any], later: Later
) -> None:
    """All polls of a poking sensor share a connection and a token."""
    connect(sandbox, oauth=True)
    later.after_requests(sandbox, 5, lambda: sandbox.finish(live["id"], status="completed"))

    Run(poking_sensor(call_id=live["id"])).to_the_end()

    assert len([each for each in sandbox.requests if "/oauth/token" in each.path]) == 1
    assert len({each.client for each in sandbox.requests}) == 1


@AIRFLOW_3
def test_reschedule_frees_the_worker(sandbox: Sandbox, live: dict[str, Any]) -> None:
    """In mode ``reschedule`` each poll is a run of its own, and the last one returns the record."""
    run = Run(sensor(call_id=live["id"], deferrable=False, mode="reschedule"))

    with pytest.raises(AirflowException) as caught:
        run.step("execute")
    sandbox.finish(live["id"], status="completed")

    assert type(caught.value).__name__ == "AirflowRescheduleException"
    assert run.step("execute")["status"] == "completed"


@AIRFLOW_3
def test_a_reschedule_timeout_claims_nothing_it_cannot_know(live: dict[str, Any]) -> None:
    """Each poll is a process of its own there, so the message has the status but no age."""
    run = Run(sensor(call_id=live["id"], deferrable=False, mode="reschedule", timeout=1))
    run.ti.first_reschedule_date = pendulum.now().subtract(seconds=30)

    with pytest.raises(exceptions.TelzinoSensorTimeoutError, match=r"it was last seen dialing\."):
        run.step("execute")


@pytest.mark.parametrize("make", [sensor, poking_sensor])
def test_no_interval_makes_a_busy_loop(make: MakeTask) -> None:
    """An interval of 0 is raised to a tenth of a second in every mode."""
    assert make(call_id=CALL_ID, poke_interval=0).poke_interval == 0.1


def test_silent_fail_polls_again(sandbox: Sandbox, later: Later, live: dict[str, Any]) -> None:
    """Airflow's ``silent_fail`` makes a poking sensor poll again whatever the error."""
    sandbox.faults.next("GET", "outbound-calls", status=403, times=3)
    later.after_requests(sandbox, 4, lambda: sandbox.finish(live["id"], status="completed"))

    assert Run(poking_sensor(call_id=live["id"], silent_fail=True)).to_the_end()["status"] == "completed"


@AIRFLOW_3
def test_no_poke_comes_before_the_api_allows_it(sandbox: Sandbox, live: dict[str, Any]) -> None:
    """After a ``Retry-After`` that is too long for the poke itself, the next one waits for it."""
    sandbox.faults.next("GET", "outbound-calls", status=429, retry_after="300")
    task = poking_sensor(call_id=live["id"], mode="reschedule", poke_interval=1, timeout=3_600)
    before = pendulum.now("UTC")

    with pytest.raises(AirflowException) as caught:
        Run(task).step("execute")

    reschedule_date = caught.value.reschedule_date  # type: ignore[attr-defined]
    assert (reschedule_date - before).total_seconds() >= 300
    assert len(sandbox.requests) == 1


def test_the_next_poke_is_not_put_off_beyond_the_timeout(sandbox: Sandbox, live: dict[str, Any]) -> None:
    """A ``Retry-After`` that ends later than the wait doesn't hold the worker."""
    sandbox.faults.next("GET", "outbound-calls", status=429, retry_after="300")

    with pytest.raises(exceptions.TelzinoSensorTimeoutError):
        Run(poking_sensor(call_id=live["id"], poke_interval=0.1, timeout=0.5)).to_the_end()
