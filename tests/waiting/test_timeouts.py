"""Deadlines, and what the error of a timeout says."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.waiting_tasks import (
    ALL,
    DEFERRABLE,
    MakeTask,
    operator,
    poking_sensor,
    sensor,
)
from tests.support.waits import Run

pytestmark = pytest.mark.usefixtures("moving_clock", "connected", "quick_retries")


@ALL
def test_a_timeout_names_the_last_status(live: dict[str, Any], make: MakeTask) -> None:
    """The error says which status was last seen, and for how long."""
    with pytest.raises(
        exceptions.TelzinoTimeoutError, match=r"timeout of 1 s.*dialing, for \d+\.\d s"
    ) as caught:
        Run(make(call_id=live["id"], timeout=1)).to_the_end()

    assert caught.value.call_id == live["id"]


@pytest.mark.parametrize(("make", "airflows"), [(sensor, True), (poking_sensor, True), (operator, False)])
def test_only_sensors_time_out_without_retries(live: dict[str, Any], make: MakeTask, airflows: bool) -> None:
    """Airflow never retries a sensor's timeout; an operator's is an error like others."""
    with pytest.raises(exceptions.TelzinoTimeoutError) as caught:
        Run(make(call_id=live["id"], timeout=timedelta(seconds=0.2))).to_the_end()

    assert isinstance(caught.value, AirflowSensorTimeout) is airflows


def test_the_deadline_is_absolute(live: dict[str, Any]) -> None:
    """A trigger that is started again, after a crash, doesn't prolong the timeout."""
    run = Run(sensor(call_id=live["id"], timeout=1_000))
    before = time.time()

    deferral = run.step("execute")

    kwargs = deferral.trigger.serialize()[1]
    assert before + 1_000 <= kwargs["deadline"] <= time.time() + 1_000
    assert deferral.kwargs == {"deadline": kwargs["deadline"]}


def test_the_triggers_deadline_comes_before_airflows(live: dict[str, Any]) -> None:
    """Airflow's own timeout leaves the trigger a minute and an interval to emit its event."""
    before = time.time()

    deferral = Run(sensor(call_id=live["id"], timeout=1_000, poke_interval=20)).step("execute")

    airflows, ours = deferral.timeout.total_seconds(), deferral.trigger.deadline
    assert ours - time.time() + 80 <= airflows <= ours - before + 80


def test_a_call_that_ends_in_the_last_moment_counts(sandbox: Sandbox, live: dict[str, Any]) -> None:
    """After the trigger's timeout the worker polls once more: the true outcome is worth a request."""
    run = Run(sensor(call_id=live["id"], timeout=0.2))
    deferral = run.step("execute")
    event = run.fire(deferral)
    assert event["outcome"] == "timeout"
    sandbox.finish(live["id"], status="completed")

    record = run.step("execute_complete", event=event, **deferral.kwargs)

    assert record["status"] == "completed"


@DEFERRABLE
@pytest.mark.parametrize("reason", ["Trigger timeout", "Trigger/execution timeout"])
def test_a_trigger_that_never_fired_loses_no_outcome(
    sandbox: Sandbox, live: dict[str, Any], make: MakeTask, reason: str
) -> None:
    """With the triggerer down until Airflow's timeout, the worker still finds the outcome.

    Airflow 3 gives another reason than Airflow 2.11.
    """
    run = Run(make(call_id=live["id"]))
    run.step("execute")
    timed_out = {"error": reason}

    with pytest.raises(exceptions.TelzinoTimeoutError, match="dialing"):
        run.step("__fail__", **timed_out)
    sandbox.finish(live["id"], status="completed")
    record = run.step("__fail__", **timed_out)

    assert record["status"] == "completed"
