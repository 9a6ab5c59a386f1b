"""How a task resumes when its trigger has ended."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import AGENT_ID, CALL_ID, ConnectionSetter
from tests.support.waiting_tasks import (
    CONTEXT,
    DEFERRABLE,
    NUMBER,
    MakeTask,
    sensor,
)
from tests.support.waits import EVENT_FIELDS, Run

pytestmark = pytest.mark.usefixtures("connected", "quick_retries")


@DEFERRABLE
def test_the_wait_stays_with_its_agent(
    sandbox: Sandbox, live: dict[str, Any], make: MakeTask, connect: ConnectionSetter
) -> None:
    """If the connection gets another default agent meanwhile, that agent has not made this call."""
    run = Run(make(call_id=live["id"], agent_id=None))
    deferral = run.step("execute")
    record = sandbox.finish(live["id"], status="completed")
    connect(sandbox, extra={"agent_id": "00000000-0000-4000-8000-000000000001"})

    event = run.fire(deferral)

    assert event["agent_id"] == AGENT_ID
    assert run.step("execute_complete", event=event) == record


def test_a_trigger_that_broke_fails_the_task(sandbox: Sandbox, live: dict[str, Any]) -> None:
    """Unless the call has ended: then the true outcome counts."""
    run = Run(sensor(call_id=live["id"]))
    run.step("execute")

    with pytest.raises(AirflowException, match="Trigger failure"):
        run.step("__fail__", error="Trigger failure")
    sandbox.finish(live["id"], status="completed")

    assert run.step("__fail__", error="Trigger failure")["status"] == "completed"


def test_events_and_trigger_rows_have_ids_and_statuses_only(
    sandbox: Sandbox, live: dict[str, Any], task_log: pytest.LogCaptureFixture
) -> None:
    """No number, context, summary or token in anything that Airflow stores or logs."""
    run = Run(sensor(call_id=live["id"]))
    deferral = run.step("execute")
    record = sandbox.finish(live["id"], status="completed")
    run.to_the_end()
    event = run.fire(deferral)

    assert set(event) == EVENT_FIELDS
    stored = json.dumps([event, deferral.trigger.serialize(), deferral.kwargs]) + task_log.text
    for private in ("sandbox-token", "sandbox-secret", NUMBER, CONTEXT, record["summary_text"]):
        assert private not in stored
    assert "completed" in stored


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        "completed",
        {"outcome": "won", "call_id": CALL_ID},
        {"outcome": "ended"},
        {"outcome": "ended", "call_id": AGENT_ID},
        {"outcome": "ended", "call_id": CALL_ID, "status_since": "now"},
    ],
)
def test_an_unknown_event_fails_the_task(sandbox: Sandbox, event: Any) -> None:
    """An event of another version, or about another call, is an error that says so; nothing is sent."""
    run = Run(sensor(call_id=CALL_ID))

    with pytest.raises(exceptions.TelzinoError, match="same version"):
        run.step("execute_complete", event=event, deadline=time.time() + 5)

    assert sandbox.requests == []


def test_a_deadline_may_be_missing(sandbox: Sandbox) -> None:
    """``dag.test()`` drops the arguments of a deferral on some versions: then the defaults apply."""
    record = sandbox.add_call(status="completed")
    run = Run(sensor(call_id=record["id"]))
    event = {"outcome": "ended", "call_id": record["id"], "status": "completed", "status_since": 1.0}

    assert run.step("execute_complete", event=event) == record
