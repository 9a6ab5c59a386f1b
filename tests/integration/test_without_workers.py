"""Tasks that begin and end in the triggerer, on a whole Airflow: their outcome, and where they ran."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator

import pytest
import requests

from airflow_provider_telzino.sandbox import CLIENT_SECRET
from tests.conftest import ReportCount
from tests.support.integration.run_without_workers import (
    DAG_ID,
    TIMEOUT,
    TO_NUMBER,
    RunWithoutWorkers,
    run_without_workers,
)
from tests.support.programs import needs

pytestmark = pytest.mark.integration

SEED = int(os.environ.get("TELZINO_CRASH_SEED", "5"))
KILLS = 8
KILLED_WAITS = 12  # as in the DAG, and as many mapped ones

WORKER_RUNS = {
    **dict.fromkeys(
        ("by_param", "by_conf", "by_variable", "by_output", "by_keys", "got", "cut", "silent"), 0
    ),
    # What fails, is skipped, or needs code of a worker, ends on a worker.
    **dict.fromkeys(("fails", "skips", "late", "late_softly", "wrong_secret", "bad_id", "mapped_over"), 1),
    # Tasks with one of the two flags, and tasks that can't begin in the triggerer.
    **dict.fromkeys(("end_only", "start_only", "place", "mapped[0]", "mapped[1]", "mapped[2]"), 1),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("sqlite", marks=[pytest.mark.xdist_group("without workers"), pytest.mark.nightly]),
        pytest.param(
            "postgresql",
            marks=[
                pytest.mark.xdist_group("without workers on PostgreSQL"),
                needs("initdb", "postgres"),
            ],
        ),
    ],
)
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunWithoutWorkers]:
    """A finished DAG run."""
    home = tmp_path_factory.mktemp(request.param) / "airflow"
    with run_without_workers(home, request.param, frozenset(WORKER_RUNS)) as finished:
        yield finished


def test_worker_runs(run: RunWithoutWorkers) -> None:
    """None with both flags, one with one of them, one for a bad end: according to Airflow's audit log."""
    runs = run.worker_runs(DAG_ID, run.run_id)

    assert {task: runs[task] for task in WORKER_RUNS} == WORKER_RUNS
    assert runs["seen"] == runs["placed"] == 1


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("by_param", "completed"),
        ("by_conf", "no_answer"),
        ("by_variable", "completed"),
        ("by_output", "completed"),
        ("by_keys", "completed"),
        ("got", "completed"),
        ("end_only", "completed"),
        ("start_only", "completed"),
        ("mapped_over", "completed"),
        ("fails", "failed"),
        ("skips", "busy"),
    ],
)
def test_downstream_tasks_get_the_final_record(run: RunWithoutWorkers, task: str, name: str) -> None:
    """A dict, field by field the API's, whoever pushed it, and however the call was passed."""
    assert run.seen[task] == run.sandbox.call(run.calls[name])
    assert run.seen[task]["status"] == name


def test_states(run: RunWithoutWorkers) -> None:
    """Each outcome ends its task as it would without the flags."""
    others = {
        "fails": "failed",
        "skips": "skipped",
        "late": "failed",
        "late_softly": "skipped",
        "wrong_secret": "failed",
        "bad_id": "failed",
    }

    assert {task: run.states[task] for task in WORKER_RUNS} == dict.fromkeys(WORKER_RUNS, "success") | others


def test_what_is_pushed(run: RunWithoutWorkers) -> None:
    """Some fields, separate XComs, or nothing, as the task is configured."""
    record = run.sandbox.call(run.calls["completed"])
    one_field = run.airflow.api.request(
        "GET", f"/dags/{DAG_ID}/dagRuns/{run.run_id}/taskInstances/got/xcomEntries/duration"
    )

    assert run.seen["cut"] == {"id": record["id"], "status": "completed"}
    assert "The record has no field x" in run.log("cut")
    assert run.has_file_backend or one_field["value"] == record["duration"]
    with pytest.raises(requests.HTTPError, match="404"):
        run.airflow.api.xcom(DAG_ID, run.run_id, "silent")
    for task in ("late", "late_softly", "wrong_secret", "bad_id"):
        assert run.seen[task] is None


def test_mapped_tasks(run: RunWithoutWorkers) -> None:
    """Each has its own call's record."""
    assert run.seen["mapped"] == [run.sandbox.call(call_id) for call_id in run.mapped]
    assert "a worker starts" in run.log("mapped", map_index=0)


def test_a_placed_call(run: RunWithoutWorkers) -> None:
    """A worker dials it, once; no other worker run is needed for the wait and its end."""
    (call,) = run.placed_calls()

    assert run.seen["place"] == call
    assert call["status"] == "completed"


def test_what_the_log_says(run: RunWithoutWorkers) -> None:
    """The reason of a bad end, as without the flags; each change of status."""
    assert "The call ended with failed (SIP 503), which is in `fail_on`" in run.log("fails")
    assert "ended with busy, which is in `skip_on`" in run.log("skips")
    assert "timeout of 6 s was over; it was last seen in_progress" in run.log("late")
    assert "Skipped instead of failed (soft_fail)" in run.log("late_softly")
    assert "refused the client credentials" in run.log("wrong_secret")
    assert "`call_id` should be a UUID, but is text of 12 characters" in run.log("bad_id")
    assert re.search(r"in_progress → completed after [\d.]+ s", run.log("by_param"))


def test_timeouts_count_from_the_start(run: RunWithoutWorkers) -> None:
    """The wait has its own timeout, not the longer one of Airflow's deferral."""
    (late,) = (
        task for task in run.airflow.api.task_instances(DAG_ID, run.run_id) if task["task_id"] == "late"
    )

    assert late["duration"] >= 6
    assert late["state"] == "failed"


def test_airflow_runs_no_success_callback(run: RunWithoutWorkers) -> None:
    """Airflow 3.3.2 requests the callback, and then doesn't run it: the docs and a warning say so."""
    refusal = re.compile(r"not a failure callback.*by_param")
    logs = run.airflow.home / "logs" / "dag_processor"

    run.airflow.wait_until(
        lambda: any(refusal.search(log.read_text()) for log in logs.rglob("*.log") if log.is_file()),
        "the refusal of by_param's callback",
        TIMEOUT,
    )

    assert not (run.airflow.home / "success of by_param").exists()


def test_no_personal_data(run: RunWithoutWorkers) -> None:
    """No log contains anything of the record."""
    record = run.sandbox.call(run.calls["completed"])
    written = "".join(path.read_text(errors="replace") for path in (run.airflow.home / "logs").rglob("*.log"))

    assert run.calls["completed"] in written
    for private in (record["to_number"], record["summary_text"].split("\n")[0], TO_NUMBER, CLIENT_SECRET):
        assert private not in written


def test_the_triggerer_is_killed(run: RunWithoutWorkers, report_count: ReportCount) -> None:
    """At random moments, also between push and end: every wait ends with its record, without a worker."""
    moments = random.Random(SEED)
    calls = [str(run.sandbox.add_call("in_progress")["id"]) for _ in range(2 * KILLED_WAITS)]
    run_id = run.airflow.api.trigger("killed_waits", {"calls": calls})

    def all_wait() -> bool:
        states = run.airflow.api.task_states("killed_waits", run_id)
        waits = [state for task, state in states.items() if task != "others"]
        return len(waits) == 2 * KILLED_WAITS and set(waits) == {"deferred"}

    run.airflow.wait_until(all_wait, "all tasks wait in the triggerer", TIMEOUT)
    share = len(calls) // KILLS
    for kill in range(KILLS):
        for call_id in calls[kill * share : (kill + 1) * share]:
            run.sandbox.finish(call_id, "completed")
        time.sleep(moments.uniform(0, 3))
        run.airflow.process("triggerer").kill_tree()
        run.airflow.start("triggerer")
        time.sleep(moments.uniform(5, 12))
    run.airflow.wait_for_run("killed_waits", run_id, TIMEOUT)

    tasks = run.airflow.api.task_instances("killed_waits", run_id)
    waits = [task for task in tasks if task["task_id"] != "others"]
    runs = run.worker_runs("killed_waits", run_id)
    right = 0
    for task in waits:
        mapped = task["map_index"] >= 0
        call_id = calls[KILLED_WAITS + task["map_index"] if mapped else int(task["task_id"].split("_")[1])]
        where = "killed_waits", run_id, task["task_id"]
        assert run.xcom(*where, map_index=task["map_index"]) == run.sandbox.call(call_id)
        right += task["state"] == "success"
    report_count(f"{KILLS} kills of the triggerer: {right} of {len(waits)} waits without workers right")
    assert right == len(waits) == 2 * KILLED_WAITS
    assert sum(count for task, count in runs.items() if task.startswith("wait_")) == 0
    assert sum(count for task, count in runs.items() if task.startswith("mapped")) == KILLED_WAITS
