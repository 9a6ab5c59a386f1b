"""A trigger that ends its task."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_telzino.rules.waiting import Wait
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.triggerer import FROM_3_3, TASK, Supervisor, ending, fire, first_event_type
from tests.support.waits import rebuilt

ENDED_AT = "2026-06-11T12:54:15.354244+00:00"

pytestmark = [FROM_3_3, pytest.mark.usefixtures("connected", "quick_retries")]


def test_success_is_pushed(sandbox: Sandbox, supervisor: Supervisor) -> None:
    """The whole record, then Airflow's own event, without anything in it."""
    record = sandbox.add_call("completed")

    event = fire(ending(record))

    assert type(event).__name__ == "TaskSuccessEvent"
    assert event.xcoms is None
    assert supervisor.xcoms == {("wait", "return_value"): record}


def test_record_fields_and_multiple_outputs_apply(sandbox: Sandbox, supervisor: Supervisor) -> None:
    """Cut to ``record_fields``, and each an XCom of its own if the task asks for that."""
    record = sandbox.add_call("completed")

    fire(ending(record, record_fields=["id", "status"], multiple_outputs=True))

    cut = {"id": record["id"], "status": "completed"}
    assert supervisor.xcoms == {("wait", key): value for key, value in (*cut.items(), ("return_value", cut))}


def test_a_task_without_xcom_ends_too(sandbox: Sandbox, supervisor: Supervisor) -> None:
    """It pushes nothing, and ends."""
    event = fire(ending(sandbox.add_call("completed"), do_xcom_push=False))

    assert type(event).__name__ == "TaskSuccessEvent"
    assert supervisor.xcoms == {}


@pytest.mark.parametrize("status", ["failed", "busy"])
def test_other_outcomes_resume_on_a_worker(sandbox: Sandbox, supervisor: Supervisor, status: str) -> None:
    """A worker fails or skips the task, and pushes the record first."""
    event = fire(ending(sandbox.add_call(status)))

    assert event.payload["outcome"] == "ended"
    assert event.payload["status"] == status
    assert supervisor.xcoms == {}


def test_an_unknown_status_is_a_success_with_a_warning(
    sandbox: Sandbox, supervisor: Supervisor, task_log: pytest.LogCaptureFixture
) -> None:
    """As on a worker."""
    record = sandbox.add_call("voicemail", ended_at=ENDED_AT)

    event = fire(ending(record))

    assert type(event).__name__ == "TaskSuccessEvent"
    assert supervisor.xcoms == {("wait", "return_value"): record}
    assert f"Call {record['id']} ended with voicemail, which is not a documented status" in task_log.text


@pytest.mark.parametrize("argument", ["fail_on", "skip_on"])
def test_an_unknown_status_that_fails_or_skips_is_left_to_a_worker(
    sandbox: Sandbox, supervisor: Supervisor, argument: str
) -> None:
    """With ``"unknown"`` it is an outcome like the others."""
    record = sandbox.add_call("voicemail", ended_at=ENDED_AT)

    event = fire(ending(record, **{argument: ["unknown"]}))

    assert event.payload["status"] == "voicemail"
    assert supervisor.xcoms == {}


def test_a_push_that_fails_is_left_to_a_worker(
    sandbox: Sandbox, supervisor: Supervisor, task_log: pytest.LogCaptureFixture
) -> None:
    """A worker does it instead; the log has the error's class, not its message."""
    record = sandbox.add_call("completed")
    supervisor.fails = True

    event = fire(ending(record))

    assert event.payload["outcome"] == "ended"
    assert "can't end in the triggerer (RuntimeError)" in task_log.text
    assert "+15005550100" not in task_log.text


def test_the_record_decides(
    sandbox: Sandbox, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list may have another status than the record: the task ends according to the record."""
    record = sandbox.add_call("busy")

    async def listed(wait: Wait, **_: Any) -> None:
        wait.status = "completed"

    monkeypatch.setattr("airflow_provider_telzino.triggers.call.wait_until_ended", listed)

    event = fire(ending(record))

    assert event.payload["status"] == "busy"
    assert supervisor.xcoms == {}


def test_an_end_of_another_version_is_left_to_a_worker(sandbox: Sandbox, supervisor: Supervisor) -> None:
    """A trigger outlives an upgrade: what it can't read is left to a worker."""
    call = sandbox.add_call("completed")

    trigger = ending(call)
    trigger.end = {"unknown": True}

    event = fire(trigger)

    assert event.payload["outcome"] == "ended"
    assert supervisor.xcoms == {}


def test_under_dag_test_a_worker_ends_the_task(sandbox: Sandbox, supervisor: Supervisor) -> None:
    """``dag.test()`` doesn't know Airflow's event that ends a task, and sets no task instance."""
    event = fire(ending(sandbox.add_call("completed")), of_a_task=False)

    assert event.payload["outcome"] == "ended"
    assert supervisor.xcoms == {}


def test_an_outage_before_the_record_is_waited_out(sandbox: Sandbox, supervisor: Supervisor) -> None:
    """The list says that the call has ended, but its record is unavailable: it is requested again."""
    calls = [sandbox.add_call("completed") for _ in range(2)]
    for call in calls:
        sandbox.faults.next("GET", call["id"], times=2, status=503)

    async def run() -> list[Any]:
        triggers = [rebuilt(ending(call)) for call in calls]
        for trigger in triggers:
            trigger.task_instance = SimpleNamespace(**TASK)
        return await asyncio.gather(*map(first_event_type, triggers))

    assert asyncio.run(run()) == ["TaskSuccessEvent"] * 2
