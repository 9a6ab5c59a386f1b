"""What happens to the task when the call has ended, in all modes, against a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import AGENT_ID, ConnectionSetter
from tests.support.waiting_tasks import (
    ALL,
    CONTEXT,
    NUMBER,
    Later,
    MakeTask,
    sensor,
)
from tests.support.waits import Run

ENDED_AT = "2026-06-11T12:54:15.354244+00:00"

pytestmark = pytest.mark.usefixtures("connected", "quick_retries")


def unknown_statuses(task_log: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about a status."""
    warnings = [each.getMessage() for each in task_log.records if each.levelname == "WARNING"]
    return [each for each in warnings if "documented status" in each]


@ALL
def test_a_call_that_has_ended_needs_no_trigger(sandbox: Sandbox, make: MakeTask) -> None:
    """One request is enough: the record is returned, and no trigger is needed."""
    record = sandbox.add_call(status="completed", to_number=NUMBER)
    run = Run(make(call_id=record["id"]))

    assert run.to_the_end() == record
    assert run.deferrals == []
    assert len(sandbox.requests) == 1


@ALL
def test_a_call_that_ends_later_is_waited_for(
    sandbox: Sandbox, live: dict[str, Any], later: Later, make: MakeTask
) -> None:
    """The task waits through the statuses, and returns the final record as the API gives it."""
    later.after_requests(
        sandbox,
        2,
        lambda: sandbox.move(live["id"], "in_progress"),
        lambda: sandbox.finish(live["id"], status="completed"),
    )

    record = Run(make(call_id=live["id"])).to_the_end()

    assert record["status"] == "completed"
    assert record == json.loads(json.dumps(record))
    assert record["call_context"] == CONTEXT


@ALL
@pytest.mark.parametrize("status", ["failed", "busy", "no_answer"])
def test_a_status_of_fail_on_fails_the_task(sandbox: Sandbox, make: MakeTask, status: str) -> None:
    """A bad outcome fails the task without retries; the record was pushed first."""
    record = sandbox.add_call(status=status, sip_status_code=486)
    run = Run(make(call_id=record["id"], fail_on=[status]))

    with pytest.raises(exceptions.TelzinoCallEndedBadlyError, match=rf"{status} \(SIP 486\)") as caught:
        run.to_the_end()

    assert isinstance(caught.value, AirflowFailException)
    assert run.ti.xcoms == {"return_value": record}
    assert caught.value.call_id == record["id"]


@ALL
def test_a_status_of_skip_on_skips_the_task(sandbox: Sandbox, make: MakeTask) -> None:
    """An outcome of ``skip_on`` skips the task; the record was pushed first."""
    record = sandbox.add_call(status="no_answer")
    run = Run(make(call_id=record["id"], skip_on=["no_answer"]))

    with pytest.raises(AirflowSkipException, match="no_answer"):
        run.to_the_end()

    assert run.ti.xcoms == {"return_value": record}


@ALL
@pytest.mark.parametrize("status", ["completed", "no_answer", "busy"])
def test_by_default_only_failed_fails(sandbox: Sandbox, make: MakeTask, status: str) -> None:
    """A call that reached nobody is an outcome, not an error of the task."""
    record = sandbox.add_call(status=status)

    assert Run(make(call_id=record["id"])).to_the_end()["status"] == status


@ALL
def test_an_unknown_status_with_an_end_is_terminal(
    sandbox: Sandbox, make: MakeTask, task_log: pytest.LogCaptureFixture
) -> None:
    """A status that Telzino may add one day ends the wait when ``ended_at`` is set, with a warning."""
    record = sandbox.add_call(status="voicemail", ended_at=ENDED_AT)

    assert Run(make(call_id=record["id"])).to_the_end() == record
    (warning,) = unknown_statuses(task_log)
    assert f"Call {record['id']} ended with voicemail, which is not a documented status" in warning
    assert '"unknown" to `fail_on` or `skip_on`' in warning


@ALL
def test_an_unknown_status_fails_the_task_that_asks_for_it(sandbox: Sandbox, make: MakeTask) -> None:
    """With ``"unknown"`` in ``fail_on``: without retries, and the record was pushed first."""
    record = sandbox.add_call(status="voicemail", ended_at=ENDED_AT)
    run = Run(make(call_id=record["id"], fail_on=["failed", "unknown"]))

    with pytest.raises(
        exceptions.TelzinoCallEndedBadlyError, match=r'voicemail \(not documented: "unknown"\)'
    ):
        run.to_the_end()

    assert run.ti.xcoms == {"return_value": record}


@ALL
def test_an_unknown_status_skips_the_task_that_asks_for_it(
    sandbox: Sandbox, live: dict[str, Any], later: Later, make: MakeTask
) -> None:
    """With ``"unknown"`` in ``skip_on``, also when the call ends during the wait."""
    later.after_requests(sandbox, 2, lambda: sandbox.finish(live["id"], status="voicemail"))
    run = Run(make(call_id=live["id"], skip_on=["unknown"]))

    with pytest.raises(AirflowSkipException, match="voicemail"):
        run.to_the_end()

    assert run.ti.xcoms["return_value"]["status"] == "voicemail"


@ALL
def test_a_documented_status_gets_no_warning(
    sandbox: Sandbox, make: MakeTask, task_log: pytest.LogCaptureFixture
) -> None:
    """``"unknown"`` doesn't stand for it either."""
    record = sandbox.add_call(status="busy")

    assert Run(make(call_id=record["id"], fail_on=["unknown"])).to_the_end() == record
    assert unknown_statuses(task_log) == []


@ALL
def test_an_unknown_status_without_an_end_is_not_terminal(
    sandbox: Sandbox, later: Later, make: MakeTask
) -> None:
    """Without ``ended_at`` it is one more status to wait through."""
    record = sandbox.add_call(status="transferring", ended_at=None)
    later.after_requests(sandbox, 3, lambda: sandbox.finish(record["id"], status="completed"))

    assert Run(make(call_id=record["id"])).to_the_end()["status"] == "completed"


@ALL
def test_only_record_fields_are_pushed(sandbox: Sandbox, make: MakeTask) -> None:
    """Only the named fields are pushed, with a bad outcome, too."""
    record = sandbox.add_call(status="failed")
    run = Run(make(call_id=record["id"], record_fields=["id", "status"]))

    with pytest.raises(AirflowFailException):
        run.to_the_end()

    assert run.ti.xcoms == {"return_value": {"id": record["id"], "status": "failed"}}
    good = make(call_id=record["id"], record_fields=["status"], fail_on=())
    assert Run(good).to_the_end() == {"status": "failed"}


def test_a_task_that_pushes_nothing_pushes_no_bad_outcome(sandbox: Sandbox) -> None:
    """``do_xcom_push=False`` also applies to a bad outcome."""
    record = sandbox.add_call(status="failed")
    run = Run(sensor(call_id=record["id"], do_xcom_push=False))

    with pytest.raises(AirflowFailException):
        run.to_the_end()

    assert run.ti.xcoms == {}


@ALL
def test_a_record_may_be_given_instead_of_an_id(
    sandbox: Sandbox, connect: ConnectionSetter, make: MakeTask
) -> None:
    """What placing a call returned is enough: its ``agent_id`` is used when the task names none."""
    record = sandbox.add_call(status="completed")
    connect(sandbox, extra={"agent_id": None})

    assert Run(make(call_id={"id": record["id"], "agent_id": AGENT_ID})).to_the_end() == record


def test_status_changes_are_in_the_log_once(
    sandbox: Sandbox, live: dict[str, Any], later: Later, task_log: pytest.LogCaptureFixture
) -> None:
    """On the worker, in the trigger and on the worker again: each change of status has one line."""
    later.after_requests(
        sandbox,
        3,
        lambda: sandbox.move(live["id"], "in_progress"),
        lambda: sandbox.finish(live["id"], status="completed"),
    )

    Run(sensor(call_id=live["id"])).to_the_end()

    lines = [each.getMessage() for each in task_log.records if each.name == "telzino-tests"]
    assert [line.split(" after ")[0].split(": ")[-1] for line in lines if "Call " in line] == [
        f"Call {live['id']} is dialing.",
        "dialing → in_progress",
        "in_progress → completed",
    ]
