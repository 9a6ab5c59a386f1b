"""Placing calls on a whole Airflow whose workers are killed: the sandbox counts the calls."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from airflow_provider_telzino.sandbox import (
    CLIENT_ID,
    CLIENT_SECRET,
    DEFAULT_AGENT_ID,
    MAGIC_NUMBERS,
    Sandbox,
)
from devtools.airflow_instance import AirflowInstance
from tests.integration.stage import CONN_ID, DAGS_FOLDER

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("placing")]

COMPLETED = MAGIC_NUMBERS["completed"]
LIST_LAG = 5.0  # seconds
SPEED = 10.0  # of calls, and of the clock that the lag follows
RUN_TIMEOUT = 240.0
TASK = "place"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A Telzino whose list shows a call 5 real seconds late."""
    with Sandbox(SPEED, list_lag=LIST_LAG * SPEED) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """An Airflow that soon looks for tasks whose scheduler is gone."""
    home = tmp_path_factory.mktemp("placing") / "airflow"
    patience = {"AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5"}
    with AirflowInstance(home, dags_folder=DAGS_FOLDER / "placing", extra_env=patience) as instance:
        instance.migrate()
        instance.add_connection(
            CONN_ID,
            *("--conn-type", "telzino"),
            *("--conn-host", sandbox.url),
            *("--conn-login", CLIENT_ID),
            *("--conn-password", CLIENT_SECRET),
            *("--conn-extra", json.dumps({"agent_id": DEFAULT_AGENT_ID})),
        )
        instance.start_all()
        instance.wait_until_healthy()
        yield instance


class OneRun:
    """A run of one of the DAGs, with the calls that it has placed."""

    def __init__(self, airflow: AirflowInstance, sandbox: Sandbox, dag_id: str, to_number: str) -> None:
        self.airflow = airflow
        self.sandbox = sandbox
        self.dag_id = dag_id
        airflow.wait_for_dag(dag_id)
        sandbox.requests.clear()
        self.run_id = airflow.api.trigger(dag_id, {"to_number": to_number})

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The run's calls, oldest first."""
        return [call for call in self.sandbox.calls if self._identity(call)["run_id"] == self.run_id]

    @property
    def task(self) -> dict[str, Any]:
        """The task instance."""
        return self.airflow.api.task_instances(self.dag_id, self.run_id)[0]

    @property
    def record(self) -> Any:
        """What the task pushed."""
        return self.airflow.api.xcom(self.dag_id, self.run_id, TASK)

    def wait(self, ready: Callable[[], object], what: str, timeout: float = 60.0) -> None:
        """Wait for something, looking often: what is killed then is to be caught in the act."""
        end = time.monotonic() + timeout
        while not ready():
            assert time.monotonic() < end, f"waited in vain for {what}"
            time.sleep(0.02)

    def finish(self) -> str:
        """Wait for the run's end and return its state."""
        return str(self.airflow.wait_for_run(self.dag_id, self.run_id, RUN_TIMEOUT)["state"])

    def log(self, try_number: int = 1) -> str:
        """Return a try's log, as the web interface shows it."""
        return self.airflow.api.log(self.dag_id, self.run_id, TASK, try_number)

    def logs(self, first: int = 1) -> str:
        """Return the logs of all tries from one on. There may be more than the test has caused.

        On a busy machine Airflow may take a task that resumes at once for one that was killed, and retry it.
        """
        return "".join(self.log(number) for number in range(first, self.task["try_number"] + 1))

    def clear(self) -> None:
        """Clear the finished task, as a person does in the web interface."""
        body = {
            "dry_run": False,
            "dag_run_id": self.run_id,
            "task_ids": [TASK],
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.airflow.api.request("POST", f"/dags/{self.dag_id}/clearTaskInstances", json=body)

    def requests(self, method: str) -> int:
        """How many requests for the list or to it there were."""
        return sum(
            each.method == method and each.path.endswith("outbound-calls") for each in self.sandbox.requests
        )

    def kill_the_process_that_dials(self) -> None:
        """``kill -9`` for the process that has sent the POST, and waits for its answer."""
        self.wait(lambda: self.requests("POST"), "the POST")
        (post,) = (each for each in self.sandbox.requests if each.method == "POST" and "calls" in each.path)
        assert post.client is not None
        owner = next(each for each in psutil.net_connections("tcp") if each.laddr == post.client)
        assert owner.pid in {process.pid for process in self.airflow.family.members()}
        os.kill(owner.pid, signal.SIGKILL)

    @staticmethod
    def _identity(call: dict[str, Any]) -> dict[str, Any]:
        identity: dict[str, Any] = call["request_metadata"]["airflow"]
        return identity


@pytest.fixture
def start(airflow: AirflowInstance, sandbox: Sandbox) -> Iterator[Callable[..., OneRun]]:
    """Start a run of a DAG; no fault outlives the test."""

    def start_run(dag_id: str, to_number: str = COMPLETED) -> OneRun:
        return OneRun(airflow, sandbox, dag_id, to_number)

    yield start_run
    sandbox.faults.clear()


def test_the_worker_dies_while_it_dials(sandbox: Sandbox, start: Callable[..., OneRun]) -> None:
    """The call is placed, but the answer never read: the retry finds it in a list that lags."""
    sandbox.faults.next("POST", "outbound-calls$", delay=20)
    run = start("place_once")

    run.kill_the_process_that_dials()
    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert f"Continuing with call {run.calls[0]['id']}, which this task has placed" in run.logs(2)


def test_the_worker_dies_before_its_request_arrives(sandbox: Sandbox, start: Callable[..., OneRun]) -> None:
    """Nothing was placed: the retry waits until a call would show up, and then dials."""
    sandbox.faults.next("POST", "outbound-calls$", hang=True)
    run = start("place_once")

    run.kill_the_process_that_dials()
    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert run.task["try_number"] >= 2


def test_the_machine_dies_while_it_dials(
    airflow: AirflowInstance, sandbox: Sandbox, start: Callable[..., OneRun]
) -> None:
    """Scheduler and workers at once: whatever Airflow makes of it, the call is only one."""
    sandbox.faults.next("POST", "outbound-calls$", delay=20)
    run = start("place_once")
    run.wait(lambda: run.requests("POST"), "the POST")

    airflow.process("scheduler").kill_tree()
    airflow.start("scheduler")
    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert run.task["try_number"] >= 2


def test_the_triggerer_dies_during_the_wait(airflow: AirflowInstance, start: Callable[..., OneRun]) -> None:
    """The wait goes on in the next one; nobody dials."""
    run = start("place_once")
    run.wait(lambda: run.task["state"] == "deferred", "the deferral")

    airflow.process("triggerer").kill()
    airflow.start("triggerer")
    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert run.requests("POST") == 1


@pytest.mark.parametrize("after_commit", [True, False])
def test_the_answer_is_lost(sandbox: Sandbox, start: Callable[..., OneRun], after_commit: bool) -> None:
    """Placed: found in the same try. Not placed: the try fails and says why, and the next one dials."""
    sandbox.faults.next("POST", "outbound-calls$", status=500, after_commit=after_commit)
    run = start("place_once")

    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert ("the task doesn't dial" in run.log(1)) is not after_commit


def test_a_cleared_task_goes_on_with_its_call(start: Callable[..., OneRun]) -> None:
    """It pushes the same record again. Airflow has kept the id, so that no list is searched."""
    run = start("place_once")
    assert run.finish() == "success"
    record, searches, tries = run.record, run.requests("GET"), run.task["try_number"]

    run.clear()
    run.wait(lambda: run.task["try_number"] > tries, "the next try")
    state = run.finish()

    assert state == "success"
    assert run.record == record
    assert len(run.calls) == 1
    assert run.requests("GET") == searches


def test_without_reattach_a_cleared_task_calls_again(start: Callable[..., OneRun]) -> None:
    """That is what it is for."""
    run = start("place_again_on_clear")
    assert run.finish() == "success"
    first, tries = run.record, run.task["try_number"]

    run.clear()
    run.wait(lambda: run.task["try_number"] > tries, "the next try")
    state = run.finish()

    assert state == "success"
    assert run.calls == [first, run.record]


def test_a_timeout_is_retried_and_waits_on(sandbox: Sandbox, start: Callable[..., OneRun]) -> None:
    """The wait is shorter than the call: retries go on, with the same call, until it has ended."""
    run = start("wait_on", MAGIC_NUMBERS["long_call"])
    run.wait(lambda: run.task["try_number"] > 1, "a second try")
    sandbox.finish(run.calls[0]["id"])

    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert run.task["try_number"] > 1
    assert "a retry of the task goes on waiting for it" in run.logs()


def test_redial_by_airflows_own_retry_policy(start: Callable[..., OneRun]) -> None:
    """No answer twice, then somebody: three calls, each after the end of the one before."""
    run = start("redial", MAGIC_NUMBERS["no_answer_twice_then_completed"])

    state = run.finish()

    assert state == "success"
    assert [call["status"] for call in run.calls] == ["no_answer", "no_answer", "completed"]
    assert run.record == run.calls[-1]
    assert run.calls[0]["ended_at"] <= run.calls[1]["created_at"]
    assert run.calls[1]["ended_at"] <= run.calls[2]["created_at"]


def test_the_policy_stops_where_it_says_so(start: Callable[..., OneRun]) -> None:
    """A call that could not be put through: no retry, though some are left. The record is in XCom."""
    run = start("redial", MAGIC_NUMBERS["no_such_number"])

    state = run.finish()

    assert state == "failed"
    assert run.task["try_number"] == 1
    assert [run.record] == run.calls


def test_killing_the_task_says_that_the_call_goes_on(
    airflow: AirflowInstance, sandbox: Sandbox, start: Callable[..., OneRun]
) -> None:
    """Somebody marks the task as failed while it dials: nothing hangs up, and its log says so."""
    sandbox.faults.next("POST", "outbound-calls$", delay=30)
    run = start("place_once")
    run.wait(lambda: run.requests("POST"), "the POST")

    path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{TASK}"
    airflow.api.request("PATCH", path, json={"new_state": "failed"})
    with contextlib.suppress(TimeoutError):
        airflow.wait_until(lambda: "no way to hang up" in run.log(1), "the log line", timeout=60)

    assert "no way to hang up" in run.log(1)
    assert len(run.calls) == 1
