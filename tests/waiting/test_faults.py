"""Outages delay the outcome; refusals end the task."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    TaskDeferred,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.polling import channel
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ConnectionSetter
from tests.support.waiting_tasks import (
    ALL,
    Later,
    MakeTask,
    sensor,
)
from tests.support.waits import Run

FAULTS: list[dict[str, Any]] = [{"status": 503}, {"reset": True}, {"status": 200, "raw_body": b"<html>"}]

pytestmark = pytest.mark.usefixtures("connected", "quick_retries")


@pytest.mark.slow
@ALL
def test_an_outage_is_waited_out(
    sandbox: Sandbox, live: dict[str, Any], later: Later, make: MakeTask
) -> None:
    """The wait continues through thirty failures of every kind, up to the true outcome."""

    def fail() -> None:
        for fault in FAULTS:
            sandbox.faults.next("GET", "outbound-calls", times=10, **fault)

    later.after_requests(sandbox, 2, fail)
    later.after_requests(sandbox, 36, lambda: sandbox.finish(live["id"], status="completed"))

    record = Run(make(call_id=live["id"], timeout=60)).to_the_end()

    assert record["status"] == "completed"


@ALL
def test_an_api_that_is_down_from_the_start_delays_the_outcome(sandbox: Sandbox, make: MakeTask) -> None:
    """A failing first request is no reason to fail the task."""
    record = sandbox.add_call(status="completed")
    sandbox.faults.next("GET", "outbound-calls", status=503, times=5)

    assert Run(make(call_id=record["id"])).to_the_end() == record


def test_the_record_comes_when_the_outage_is_over(
    sandbox: Sandbox, live: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage right after the event costs one more deferral, not the outcome."""
    monkeypatch.setattr("airflow_provider_telzino.waiting.deferral.RETRY_FOR", 0.05)
    run = Run(sensor(call_id=live["id"]))
    deferral = run.step("execute")
    sandbox.finish(live["id"], status="completed")
    event = run.fire(deferral)
    sandbox.faults.next("GET", "outbound-calls", status=503, times=1_000)

    again = run.step("execute_complete", event=event, **deferral.kwargs)
    assert isinstance(again, TaskDeferred)
    assert again.kwargs == deferral.kwargs
    sandbox.faults.clear()
    record = run.step("execute_complete", event=run.fire(again), **deferral.kwargs)

    assert record["status"] == "completed"


@ALL
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, exceptions.TelzinoCredentialsError),
        (403, exceptions.TelzinoPermissionError),
        (400, exceptions.TelzinoBadRequestError),
        (404, exceptions.TelzinoNotFoundError),
    ],
)
def test_a_refusal_during_the_wait_ends_the_task(
    sandbox: Sandbox,
    live: dict[str, Any],
    later: Later,
    make: MakeTask,
    status: int,
    error: type[Exception],
) -> None:
    """A refusal that is final ends the task soon, with an error of its own class."""
    later.after_requests(
        sandbox, 2, lambda: sandbox.faults.next("GET", "outbound-calls", status=status, times=1_000)
    )

    with pytest.raises(error, match=str(status)):
        Run(make(call_id=live["id"], timeout=20)).to_the_end()


def test_a_triggerer_with_another_connection_is_reported(
    sandbox: Sandbox, live: dict[str, Any], connect: ConnectionSetter
) -> None:
    """Refused there but not here, twice in a row: the error says that triggerer and worker differ."""
    run = Run(sensor(call_id=live["id"]))

    def refused(deferral: TaskDeferred) -> dict[str, Any]:
        connect(sandbox, password="wrong")
        event = run.fire(deferral)
        connect(sandbox)
        return {"event": event, **(deferral.kwargs or {})}

    second = run.step("execute_complete", **refused(run.step("execute")))

    with pytest.raises(exceptions.TelzinoError, match=r"TelzinoCredentialsError.*same connection"):
        run.step("execute_complete", **refused(second))


def test_a_connection_that_is_missing_for_a_moment_delays_the_outcome(
    sandbox: Sandbox, live: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow also reports a connection as missing while its database is away: the wait continues."""
    monkeypatch.setattr(channel, "MISSING_FOR", 0.0)
    run = Run(sensor(call_id=live["id"]))
    first = run.step("execute")
    with monkeypatch.context() as away:
        away.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")
        event = run.fire(first)

    second = run.step("execute_complete", event=event, **first.kwargs)
    record = sandbox.finish(live["id"])
    result = run.step("execute_complete", event=run.fire(second), **second.kwargs)

    assert event["error"] == "TelzinoConnectionNotFoundError"
    assert second.kwargs["deadline"] == first.kwargs["deadline"]
    assert result == record


def test_a_connection_that_only_the_worker_has_is_refused(
    live: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that only the worker has is a refusal, not a crash of the trigger."""
    monkeypatch.setattr(channel, "MISSING_FOR", 0.0)
    run = Run(sensor(call_id=live["id"]))
    deferral = run.step("execute")
    monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")

    event = run.fire(deferral)

    assert event["outcome"] == "refused"
    assert event["error"] == "TelzinoConnectionNotFoundError"
