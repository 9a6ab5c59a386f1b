"""Placing calls on a whole Airflow whose workers are killed: the sandbox counts the calls."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from devtools.airflow_instance import AirflowInstance
from tests.support.installed_airflow import INSTALLED
from tests.support.integration.placing_dag_run import TASK, PlacingDagRun
from tests.support.integration.running_airflow import running_airflow

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("placing")]

StartRun = Callable[..., PlacingDagRun]

COMPLETED = MAGIC_NUMBERS["completed"]
LIST_LAG = 5.0  # seconds
SPEED = 10.0  # of calls, and of the clock that the lag follows


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A Telzino whose list shows a call 5 real seconds late."""
    with Sandbox(SPEED, list_lag=LIST_LAG * SPEED) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """An Airflow that soon finds tasks whose scheduler is gone."""
    settings = {"AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5"}
    home = tmp_path_factory.mktemp("placing") / "airflow"
    with running_airflow(home, "placing", extra_env=settings) as instance:
        instance.add_telzino_connection(sandbox.url)
        yield instance


@pytest.fixture
def start(airflow: AirflowInstance, sandbox: Sandbox) -> Iterator[StartRun]:
    """Start a run of a DAG; no fault outlives the test."""

    def start_run(dag_id: str, to_number: str = COMPLETED) -> PlacingDagRun:
        return PlacingDagRun(airflow, sandbox, dag_id, to_number)

    yield start_run
    sandbox.faults.clear()


def test_the_worker_dies_while_it_dials(sandbox: Sandbox, start: StartRun) -> None:
    """The call is placed, but its answer is never read: the retry finds it in a list that lags."""
    sandbox.faults.next("POST", "outbound-calls$", delay=20)
    run = start("place_once")

    run.kill_the_process_that_dials()
    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert f"call {run.calls[0]['id']}: it " in run.logs(2)  # waiting for it, or ending with it


def test_the_worker_dies_before_its_request_arrives(sandbox: Sandbox, start: StartRun) -> None:
    """Nothing was placed: the retry waits until a call would be listed, and then dials."""
    sandbox.faults.next("POST", "outbound-calls$", hang=True)
    run = start("place_once")

    run.kill_the_process_that_dials()
    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert run.task["try_number"] >= 2


def test_the_machine_dies_while_it_dials(airflow: AirflowInstance, sandbox: Sandbox, start: StartRun) -> None:
    """Scheduler and workers at once: whatever Airflow does about it, only one call is placed."""
    sandbox.faults.next("POST", "outbound-calls$", delay=20)
    run = start("place_once")
    run.wait(lambda: run.requests("POST"), "the POST")

    airflow.process("scheduler").kill_tree()
    airflow.start("scheduler")
    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert run.task["try_number"] >= 2


def test_the_triggerer_dies_during_the_wait(airflow: AirflowInstance, start: StartRun) -> None:
    """The next triggerer resumes the wait; nobody dials."""
    run = start("place_once")
    run.wait(lambda: run.task["state"] == "deferred", "the deferral")

    airflow.process("triggerer").kill()
    airflow.start("triggerer")
    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert run.requests("POST") == 1


@pytest.mark.parametrize("after_commit", [True, False])
def test_the_answer_is_lost(sandbox: Sandbox, start: StartRun, after_commit: bool) -> None:
    """Placed: found in the same try. Not placed: the try fails and says why, and the next one dials."""
    sandbox.faults.next("POST", "outbound-calls$", status=500, after_commit=after_commit)
    run = start("place_once")

    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert ("the task doesn't dial" in run.log(1)) is not after_commit


def test_a_cleared_task_continues_with_its_call(start: StartRun) -> None:
    """It pushes the same record again. Airflow has stored the id, so that no list is searched before 3.4."""
    run = start("place_once")
    assert run.finish() == "success"
    record, searches, tries = run.record, run.requests("GET"), run.task["try_number"]

    run.clear()
    run.wait(lambda: run.task["try_number"] > tries, "the next try")
    state = run.finish()

    assert state == "success"
    assert run.record == record
    assert len(run.calls) == 1
    # From 3.4 on a clear deletes what is stored, and one pass through the list finds the call.
    assert run.requests("GET") == searches + (INSTALLED >= (3, 4))


def test_without_reattach_a_cleared_task_calls_again(start: StartRun) -> None:
    """The record of the second call replaces that of the first."""
    run = start("place_again_on_clear")
    assert run.finish() == "success"
    first, tries = run.record, run.task["try_number"]

    run.clear()
    run.wait(lambda: run.task["try_number"] > tries, "the next try")
    state = run.finish()

    assert state == "success"
    assert run.calls == [first, run.record]


def test_after_a_timeout_a_retry_continues_to_wait(sandbox: Sandbox, start: StartRun) -> None:
    """The wait is shorter than the call: retries continue, with the same call, until it has ended."""
    run = start("wait_on", MAGIC_NUMBERS["long_call"])
    run.wait(lambda: run.task["try_number"] > 1, "a second try")
    sandbox.finish(run.calls[0]["id"])

    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert run.task["try_number"] > 1
    assert "a retry of the task continues to wait for it" in run.logs()


def test_redials_in_one_try(start: StartRun) -> None:
    """No answer twice, then an answer: three calls, each after the end of the previous one."""
    run = start("redial", MAGIC_NUMBERS["no_answer_twice_then_completed"])

    state = run.finish()

    assert state == "success"
    assert [call["status"] for call in run.calls] == ["no_answer", "no_answer", "completed"]
    assert run.record == run.calls[-1]
    assert run.calls[0]["ended_at"] <= run.calls[1]["created_at"]
    assert run.calls[1]["ended_at"] <= run.calls[2]["created_at"]
    assert run.needed_tries == 1


def test_no_retry_follows_the_last_outcome(start: StartRun) -> None:
    """Three calls that could not be connected: no retry, though some are left. The record is in XCom."""
    run = start("redial", MAGIC_NUMBERS["no_such_number"])

    state = run.finish()

    assert state == "failed"
    assert run.needed_tries == 1
    assert len(run.calls) == 3
    assert run.record == run.calls[-1]


def mark_failed(airflow: AirflowInstance, run: PlacingDagRun) -> None:
    """Mark the task as failed, as a person does in the web interface."""
    path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{TASK}"
    airflow.api.request("PATCH", path, json={"new_state": "failed"})


def test_a_deferred_task_that_is_marked_says_so_too(airflow: AirflowInstance, start: StartRun) -> None:
    """The triggerer logs it, and nobody is called again."""
    run = start("redial", MAGIC_NUMBERS["long_call"])
    run.wait(lambda: run.task["state"] == "deferred", "the deferral")
    airflow.wait_until(lambda: "in_progress" in run.log(1), "the first poll of the trigger", timeout=60)

    mark_failed(airflow, run)
    with contextlib.suppress(TimeoutError):
        airflow.wait_until(lambda: "no way to end a call" in run.log(1), "the log line", timeout=60)

    assert f"call {run.calls[0]['id']} continues" in run.log(1)
    assert run.finish() == "failed"
    assert len(run.calls) == 1


def test_killing_the_task_says_that_the_call_continues(
    airflow: AirflowInstance, sandbox: Sandbox, start: StartRun
) -> None:
    """A person marks the task as failed while it dials: nothing hangs up, and its log says so."""
    sandbox.faults.next("POST", "outbound-calls$", delay=30)
    run = start("place_once")
    run.wait(lambda: run.requests("POST"), "the POST")

    mark_failed(airflow, run)
    with contextlib.suppress(TimeoutError):
        airflow.wait_until(lambda: "no way to end a call" in run.log(1), "the log line", timeout=60)

    assert "no way to end a call" in run.log(1)
    assert len(run.calls) == 1
