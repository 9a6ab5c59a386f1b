"""The trigger that begins its task."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from airflow.providers.common.compat.sdk import (
    AirflowSkipException,
)

from airflow_provider_telzino.exceptions import TelzinoConfigurationError, TelzinoTimeoutError
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from airflow_provider_telzino.triggers.start import TelzinoCallStartTrigger
from tests.conftest import AGENT_ID, CALL_ID
from tests.support.triggerer import BOTH, END, FROM_3_3, TASK, Supervisor, fire, first_event_type
from tests.support.waits import Run, TaskInstance, first_event, rebuilt

pytestmark = [FROM_3_3, pytest.mark.usefixtures("connected")]


def test_it_reads_the_outputs_of_other_tasks(sandbox: Sandbox, supervisor: Supervisor) -> None:
    """The record of an upstream task names call and agent."""
    record = sandbox.add_call("completed")
    supervisor.xcoms["place", "return_value"] = {"id": record["id"], "agent_id": AGENT_ID}
    outputs = {"call_id": ["place", "return_value"]}

    event = fire(TelzinoCallStartTrigger(outputs=outputs, poll_interval=0.1, end=END))

    assert type(event).__name__ == "TaskSuccessEvent"
    assert supervisor.xcoms["wait", "return_value"] == record


def test_an_output_without_an_agent_means_the_connections(sandbox: Sandbox, supervisor: Supervisor) -> None:
    """Then it is the connection's, as at a start on a worker."""
    record = sandbox.add_call("completed")
    outputs = {"agent_id": ["place", "agent_id"]}

    event = fire(TelzinoCallStartTrigger(record["id"], outputs=outputs, poll_interval=0.1, end=END))

    assert type(event).__name__ == "TaskSuccessEvent"


def test_what_a_trigger_cannot_read_is_left_to_a_worker(
    sandbox: Sandbox, supervisor: Supervisor, task_log: pytest.LogCaptureFixture
) -> None:
    """An error of a backend or a template ends nothing: a worker starts. Its message isn't logged."""
    call = sandbox.add_call("in_progress")
    supervisor.fails = True
    broken = TelzinoCallStartTrigger("{{ macro_of_the_dag() }}")
    broken.template_fields = ("call_id",)
    broken.render_template_fields({}, jinja2.Environment(autoescape=True))

    events = [
        fire(TelzinoCallStartTrigger(outputs={"call_id": ["place", "return_value"]})).payload,
        asyncio.run(first_event(broken)),
    ]

    assert [event["error"] for event in events] == ["RuntimeError", "UndefinedError"]
    assert "begin in the triggerer (RuntimeError)" in task_log.text
    assert "+15005550100" not in task_log.text
    for event in events:
        run = Run(TelzinoCallSensor(task_id="wait", call_id=call["id"], poke_interval=0.1))
        deferral: Any = run.step("execute_complete", event=event)
        assert deferral.trigger.call_id == call["id"]


@pytest.mark.parametrize("do_xcom_push", [True, False])
def test_what_an_earlier_try_has_pushed_is_deleted(
    sandbox: Sandbox, supervisor: Supervisor, do_xcom_push: bool
) -> None:
    """Airflow does so only at a start on a worker. A key that the new record lacks would be stale."""
    record = sandbox.add_call("completed")
    old = {"id": "old", "gone": "old"}
    supervisor.xcoms = {("wait", key): value for key, value in (*old.items(), ("return_value", old))}
    end = END | {
        "record_fields": ["id"],
        "multiple_outputs": True,
        "do_xcom_push": do_xcom_push,
    }
    trigger = rebuilt(TelzinoCallStartTrigger(record["id"], poll_interval=0.1, end=end))
    trigger.task_instance = SimpleNamespace(**TASK | {"try_number": 2})

    assert asyncio.run(first_event_type(trigger)) == "TaskSuccessEvent"

    new = {("wait", "id"): record["id"], ("wait", "return_value"): {"id": record["id"]}}
    assert supervisor.xcoms == (new if do_xcom_push else {})


@pytest.mark.parametrize("fails", [False, True])
def test_a_worker_deletes_it_as_well(
    sandbox: Sandbox, supervisor: Supervisor, task_log: pytest.LogCaptureFixture, fails: bool
) -> None:
    """And if that fails, the outcome still counts."""
    call = sandbox.add_call("busy")
    task = TelzinoCallSensor(task_id="wait", call_id=call["id"], skip_on=["busy"], **BOTH)
    run = Run(task, TaskInstance(try_number=2))
    supervisor.xcoms = {("wait", "return_value"): {"id": "old"}}
    supervisor.fails = fails
    event = asyncio.run(first_event(TelzinoCallTrigger(call["id"], time.time() + 30, AGENT_ID)))

    with pytest.raises(AirflowSkipException):
        run.step("execute_complete", event=event)

    assert ("could not be deleted (RuntimeError)" in task_log.text) == fails
    assert bool(supervisor.xcoms) == fails
    assert run.ti.xcoms["return_value"]["id"] == call["id"]


def test_execution_timeout_bounds_it(sandbox: Sandbox) -> None:
    """Airflow stops the trigger then; the message names the limit, and a retry continues."""
    call = sandbox.add_call("in_progress")
    task = TelzinoCallSensor(
        task_id="wait", call_id=call["id"], execution_timeout=timedelta(seconds=90), **BOTH
    )

    with pytest.raises(TelzinoTimeoutError, match="`execution_timeout` of 90 s was over") as raised:
        Run(task).step("__fail__", error="Trigger timeout")

    assert type(raised.value) is TelzinoTimeoutError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"call_id": "no-id"}, "`call_id` should be a UUID"),
        ({"call_id": CALL_ID, "agent_id": "nobody"}, "`agent_id` should be a UUID"),
        (
            {"outputs": {"call_id": ["place", "id"]}},
            "output of task place, which has pushed no XCom id",
        ),
    ],
)
def test_an_invalid_id_is_left_to_a_worker(
    supervisor: Supervisor, task_log: pytest.LogCaptureFixture, arguments: Any, words: str
) -> None:
    """The log says what is wrong, and the task continues on a worker, which fails."""
    event = fire(TelzinoCallStartTrigger(**arguments))

    assert event.payload["outcome"] == "refused"
    assert event.payload["call_id"] is None
    assert json.loads(json.dumps(event.payload)) == event.payload
    assert words in task_log.text


def test_the_worker_names_an_invalid_id() -> None:
    """Its error is the one that every task has."""
    event = fire(TelzinoCallStartTrigger(call_id="no-id"))
    task = TelzinoCallSensor(task_id="wait", call_id="{{ params.call_id }}")
    task.call_id = "no-id"  # as rendered
    run = Run(task)

    with pytest.raises(TelzinoConfigurationError, match="`call_id` should be a UUID"):
        run.step("execute_complete", event=event.payload)


def test_the_deadline_counts_from_the_start(sandbox: Sandbox, supervisor: Supervisor) -> None:
    """The triggerer began 100 s after the task: that time is taken off; the event has the deadline."""
    call = sandbox.add_call("in_progress")
    started = time.time() - 100
    trigger = rebuilt(
        TelzinoCallStartTrigger(call_id=call["id"], poll_interval=0.1, timeout=100.5, airflow_timeout=170)
    )
    trigger.timeout_after = datetime.fromtimestamp(started + 170, timezone.utc)

    event = asyncio.run(first_event(trigger))

    assert event["outcome"] == "timeout"
    assert event["deadline"] == pytest.approx(started + 100.5, abs=0.01)
    run = Run(TelzinoCallSensor(task_id="wait", call_id=call["id"], timeout=100.5, poke_interval=0.1))
    with pytest.raises(Exception, match=r"timeout of 100\.5 s was over"):
        run.step("execute_complete", event=event)
