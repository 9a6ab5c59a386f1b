"""Every way to wait and to end, on a whole Airflow: what users see of it."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import pairwise

import pytest
import requests

from tests.integration.conftest import FinishedRun


def test_the_modes_push_the_final_record(finished_run: FinishedRun) -> None:
    """Deferred, poked or rescheduled: the record in XCom is the API's, field by field."""
    record = finished_run.record("completed")

    for task in ("deferred", "poked", "rescheduled"):
        assert finished_run.state(task) == "success"
        assert finished_run.xcom(task) == record
    assert record["status"] == "completed"


def test_downstream_tasks_get_the_record_as_a_dict(finished_run: FinishedRun) -> None:
    """What the next task takes is the record itself."""
    assert finished_run.xcom("seen_deferred") == {"type": "dict", "record": finished_run.record("completed")}
    assert finished_run.xcom("seen_got") == {"type": "dict", "record": finished_run.record("no_answer")}


def test_branch_and_follow_up(finished_run: FinishedRun) -> None:
    """The branch goes by the status, and the follow-up reads the summary."""
    assert finished_run.state("talked") == "success"
    assert finished_run.state("not_reached") == "skipped"
    assert finished_run.xcom("talked") == finished_run.record("completed")["summary_text"]


def test_the_operator(finished_run: FinishedRun) -> None:
    """It waits by default, and gets the record as it is now when told so."""
    assert finished_run.xcom("got")["status"] == "no_answer"
    assert finished_run.xcom("got_now")["ended_at"] is None


def test_record_fields(finished_run: FinishedRun) -> None:
    """Only the wanted fields are in XCom."""
    assert set(finished_run.xcom("cut")) == {"id", "status", "duration"}


def test_fail_on(finished_run: FinishedRun) -> None:
    """The task fails at its first try, and its record is there for those who come after it."""
    assert finished_run.state("fails") == "failed"
    assert finished_run.tasks["fails"]["try_number"] == 1
    assert finished_run.xcom("fails") == finished_run.record("failed")
    assert finished_run.xcom("seen_fails")["record"]["sip_status_code"] == 404
    assert "The call ended with failed (SIP 404), which is in `fail_on`" in finished_run.log("fails")


def test_skip_on(finished_run: FinishedRun) -> None:
    """The task is skipped, and its record is there."""
    assert finished_run.state("skips") == "skipped"
    assert finished_run.xcom("seen_skips")["record"] == finished_run.record("busy")


@pytest.mark.parametrize("task", ["late", "late_poked", "late_rescheduled"])
def test_timeout(finished_run: FinishedRun, task: str) -> None:
    """The task fails when its time is over, once for all, and says how the call stood."""
    instance = finished_run.tasks[task]
    began = finished_run.tasks["late"]["start_date"]  # a rescheduled task's own is that of its last look
    waited = datetime.fromisoformat(instance["end_date"]) - datetime.fromisoformat(began)

    assert instance["state"] == "failed"
    assert instance["try_number"] == 1
    assert "timeout of 6 s was over; it was last seen" in finished_run.log(task)
    assert 5 < waited.total_seconds() < 150
    with pytest.raises(requests.HTTPError, match="404"):
        finished_run.xcom(task)


def test_soft_fail(finished_run: FinishedRun) -> None:
    """A timeout skips the task if the user wants that."""
    assert finished_run.state("late_softly") == "skipped"


def test_mapped_waits(finished_run: FinishedRun) -> None:
    """Each mapped task has its own record, and each took one try."""
    statuses = finished_run.xcom("statuses")
    truth = {call_id: finished_run.sandbox.call_record(call_id) for call_id in finished_run.mapped}

    assert statuses == {call_id: record["status"] for call_id, record in truth.items()}
    assert set(statuses.values()) == {"completed", "no_answer", "busy", "failed"}
    for index, call_id in enumerate(finished_run.mapped):
        assert finished_run.tasks[f"mapped[{index}]"]["try_number"] == 1
        assert finished_run.xcom("mapped", map_index=index) == truth[call_id]


def test_the_log_tells_each_change_once(finished_run: FinishedRun) -> None:
    """From the worker over the triggerer to the worker again: one line for each change, in order."""
    log = finished_run.log("deferred")
    changes = re.findall(r"Call [0-9a-f-]{36}: (\w+) → (\w+) after [\d.]+ s\.", log)
    first = re.findall(r"Call [0-9a-f-]{36} is (\w+)\.", log)

    assert len(first) == 1
    assert changes
    assert changes[0][0] == first[0] == "queued"
    assert changes[-1][1] == "completed"
    assert all(before[1] == after[0] for before, after in pairwise(changes))
