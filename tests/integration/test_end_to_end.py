"""Every way to wait and to end, on a whole Airflow, as users see it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest
import requests

from tests.support.integration.finished_run import MAPPED_ENDINGS, FinishedRun

SUCCEED = {
    "deferred": "completed",
    "poked": "completed",
    "rescheduled": "completed",
    "got_poked": "completed",
    "got": "no_answer",
    "by_record": "no_answer",
    "got_early": "early",
    "placed": "placed",
}
"""The tasks that push a whole final record and succeed, and the call that it is of."""


@pytest.fixture(scope="session")
def seen(finished_run: FinishedRun) -> dict[str, Any]:
    """What one downstream task got from each of its upstream tasks."""
    records: dict[str, Any] = finished_run.xcom("seen")
    return records


@pytest.mark.parametrize("task", SUCCEED)
def test_downstream_tasks_get_the_final_record(
    finished_run: FinishedRun, seen: dict[str, Any], task: str
) -> None:
    """In each mode, by id or by record, early or late: the record is the API's, field by field."""
    record = finished_run.record(SUCCEED[task])

    assert finished_run.state(task) == "success"
    assert finished_run.needed_tries(task) == 1
    assert seen[task] == finished_run.xcom(task) == record
    assert record["ended_at"]


@pytest.mark.parametrize("task", ["deferred", "poked", "got", "got_early", "placed", "fails", "late"])
def test_a_task_has_a_button_that_opens_its_call(finished_run: FinishedRun, task: str) -> None:
    """In the sandbox, whose connection says where."""
    url = finished_run.links(task)["Call"] or ""

    assert url.startswith(f"{finished_run.sandbox.url}/#call=")
    known = {"fails": "failed", "late": "in_progress"}.get(task) or finished_run.record(SUCCEED[task])[
        "status"
    ]
    assert finished_run.sandbox.call(url.partition("=")[2])["status"] == known


def test_a_call_that_has_ended_needs_no_trigger(finished_run: FinishedRun) -> None:
    """It is read once; the wait for a call in progress is handed over to the triggerer."""
    assert "is completed." in finished_run.log("got_early")
    assert "DEFERRED" not in finished_run.log("got_early")
    assert "DEFERRED" in finished_run.log("got")


def test_branch_and_follow_up(finished_run: FinishedRun) -> None:
    """The branch depends on the status, and the follow-up works with the record."""
    assert finished_run.state("talked_deferred") == finished_run.state("call_again_got") == "success"
    assert finished_run.state("call_again_deferred") == finished_run.state("talked_got") == "skipped"
    assert finished_run.xcom("talked_deferred") == finished_run.record("completed")["summary_text"]
    assert finished_run.xcom("call_again_got") == finished_run.record("no_answer")["sip_status_code"]


def test_the_current_record(finished_run: FinishedRun, seen: dict[str, Any]) -> None:
    """Without waiting, the operator gets the record of a call in progress."""
    assert finished_run.state("got_now") == "success"
    assert seen["got_now"]["id"] == finished_run.calls["no_answer"]
    assert seen["got_now"]["status"] == "dialing"


def test_record_fields(finished_run: FinishedRun, seen: dict[str, Any]) -> None:
    """Only the wanted fields are in XCom."""
    record = finished_run.record("completed")

    assert seen["cut"] == {name: record[name] for name in ("id", "status", "duration")}


@pytest.mark.parametrize("task", ["fails", "fails_poked", "fails_rescheduled", "got_fails"])
def test_fail_on(finished_run: FinishedRun, seen: dict[str, Any], task: str) -> None:
    """The task fails at its first try of three, and downstream tasks get the record."""
    record = finished_run.record("failed")

    assert finished_run.state(task) == "failed"
    assert finished_run.needed_tries(task) == 1
    assert seen[task] == record
    assert "The call ended with failed (SIP 503), which is in `fail_on`" in finished_run.log(task)


@pytest.mark.parametrize("task", ["skips", "skips_poked", "skips_rescheduled", "got_skips"])
def test_skip_on(finished_run: FinishedRun, seen: dict[str, Any], task: str) -> None:
    """The task is skipped, and downstream tasks get the record."""
    assert finished_run.state(task) == "skipped"
    assert seen[task] == finished_run.record("busy")
    assert "ended with busy, which is in `skip_on`" in finished_run.log(task)


def test_downstream_tasks_that_need_a_successful_wait(finished_run: FinishedRun) -> None:
    """According to Airflow's default rule a task doesn't run after a wait that failed or was skipped."""
    assert finished_run.state("after_a_failed_wait") == "upstream_failed"
    assert finished_run.state("after_a_skipped_wait") == "skipped"


@pytest.mark.parametrize("task", ["late", "late_poked", "got_late"])
def test_timeout(finished_run: FinishedRun, task: str) -> None:
    """The task fails when its timeout is over, not before, at its first try, and reports the last status."""
    instance = finished_run.tasks[task]
    started, ended = (datetime.fromisoformat(instance[name]) for name in ("start_date", "end_date"))

    assert instance["state"] == "failed"
    assert finished_run.needed_tries(task) == 1
    assert (ended - started).total_seconds() > 6
    assert re.search(
        r"timeout of 6 s was over; it was last seen in_progress, for [\d.]+ s", finished_run.log(task)
    )
    with pytest.raises(requests.HTTPError, match="404"):
        finished_run.xcom(task)


def test_timeout_of_a_rescheduled_task(finished_run: FinishedRun) -> None:
    """Its timeout counts from its first poll: otherwise one shorter than the interval would never be over."""
    log = finished_run.log("late_rescheduled")

    assert finished_run.state("late_rescheduled") == "failed"
    assert finished_run.needed_tries("late_rescheduled") == 1
    assert log.count("is in_progress.") == 2
    assert "timeout of 6 s was over; it was last seen in_progress." in log


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("late_softly", "The call had not ended when the timeout of 6 s"),
        ("got_late_softly", "The call had not ended when the timeout of 6 s"),
        ("fails_softly", "The call ended with failed"),
    ],
)
def test_soft_fail(finished_run: FinishedRun, seen: dict[str, Any], task: str, reason: str) -> None:
    """A timeout or an outcome in `fail_on` skips the task if the user wants that, and the log says why."""
    assert finished_run.state(task) == "skipped"
    assert f"Skipped instead of failed (soft_fail): {reason}" in finished_run.log(task)
    if task == "fails_softly":
        assert seen[task] == finished_run.record("failed")


def test_refusals(finished_run: FinishedRun) -> None:
    """A request that the API refuses fails the task, and the log says what to do."""
    assert finished_run.state("refused") == finished_run.state("wrong_secret") == "failed"
    assert "The API refused the request (400)" in finished_run.log("refused")
    assert "refused the client credentials" in finished_run.log("wrong_secret")


def test_mapped_waits(finished_run: FinishedRun) -> None:
    """Each mapped task has its own call's record, in order, at its first try."""
    truth = [finished_run.sandbox.call(call_id) for call_id in finished_run.mapped]
    tasks = [f"mapped[{index}]" for index in range(len(truth))]

    assert finished_run.xcom("collect") == truth
    assert {record["status"] for record in truth} == set(MAPPED_ENDINGS)
    assert {(finished_run.state(task), finished_run.needed_tries(task)) for task in tasks} == {("success", 1)}


@pytest.mark.parametrize("task", ["deferred", "poked"])
def test_the_log_has_each_change_once(finished_run: FinishedRun, task: str) -> None:
    """One line for each change, in order, whichever process saw it; not one for each poll."""
    call_id = finished_run.calls["completed"]
    lines = [line for line in finished_run.log(task).splitlines() if re.match(f"Call {call_id}(:| is)", line)]

    assert [re.sub(r"\d+\.\d s", "N s", line.removeprefix(f"Call {call_id}")) for line in lines] == [
        " is queued.",
        ": queued → dialing after N s.",
        ": dialing → in_progress after N s.",
        ": in_progress → completed after N s.",
    ]


def test_the_log_of_a_rescheduled_task(finished_run: FinishedRun) -> None:
    """Each poll is a process of its own, with a line of its own."""
    statuses = re.findall(r"^Call \S+ is (\w+)\.", finished_run.log("rescheduled"), re.MULTILINE)

    assert len(statuses) >= 2
    assert statuses[-1] == "completed"
    assert "completed" not in statuses[:-1]


def test_metrics(finished_run: FinishedRun) -> None:
    """A real triggerer emits them like Airflow's own: waits, requests, and how late ends are detected."""
    metrics = finished_run.metrics
    waits, lags = metrics.values("telzino.waits"), metrics.values("telzino.detection_lag")

    assert max(waits) >= len(finished_run.mapped)
    assert waits[-1] == 0
    assert len(lags) >= len(finished_run.mapped)
    assert min(lags) >= 0
    assert len(metrics.values("telzino.requests")) > len(lags) / 100
    assert metrics.values("ti_successes")  # one of Airflow's own: the server receives all of them
