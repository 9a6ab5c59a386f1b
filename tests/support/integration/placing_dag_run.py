"""A DAG run that places calls on a whole Airflow, to be disturbed by a test."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psutil

from airflow_provider_telzino.sandbox import Sandbox
from devtools.airflow_instance import AirflowInstance

RUN_TIMEOUT = 240.0
TASK = "place"


class PlacingDagRun:
    """A run of a DAG whose task places calls, and the calls that it has placed."""

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
    def needed_tries(self) -> int:
        """How many tries the task has needed."""
        return self.airflow.api.needed_tries(self.task)

    @property
    def record(self) -> Any:
        """What the task pushed."""
        return self.airflow.api.xcom(self.dag_id, self.run_id, TASK)

    def wait(self, ready: Callable[[], object], what: str, timeout: float = 60.0) -> None:
        """Wait for a condition, with frequent checks: what is killed then must be caught in the act."""
        self.airflow.family.wait_until(ready, what, timeout, interval=0.02)

    def finish(self) -> str:
        """Wait for the end of the run and return its state."""
        return self.airflow.wait_for_run(self.dag_id, self.run_id, RUN_TIMEOUT)

    def log(self, try_number: int = 1) -> str:
        """Return the log of a try, as the web interface shows it."""
        return self.airflow.api.log(self.dag_id, self.run_id, TASK, try_number)

    def logs(self, first: int = 1) -> str:
        """Return the logs of all tries from one on. There may be more than the test has caused.

        On a busy machine Airflow may consider a task dead that resumes at once, and retry it.
        """
        return "".join(self.log(number) for number in range(first, self.task["try_number"] + 1))

    def clear(self, task: str = TASK, *, reset_dag_runs: bool = True) -> None:
        """Clear the task, as a person does in the web interface.

        Args:
            task: The task's id.
            reset_dag_runs: Whether the DAG run's own state is cleared, too.
        """
        body = {
            "dry_run": False,
            "dag_run_id": self.run_id,
            "task_ids": [task],
            "only_failed": False,
            "reset_dag_runs": reset_dag_runs,
        }
        self.airflow.api.request("POST", f"/dags/{self.dag_id}/clearTaskInstances", json=body)

    def requests(self, method: str) -> int:
        """Return how many requests there were to the list of calls: POST places one, GET searches it."""
        return sum(
            each.method == method and each.path.endswith("outbound-calls") for each in self.sandbox.requests
        )

    def kill_the_process_that_dials(self) -> None:
        """``kill -9`` for the process that has sent the POST and waits for the answer."""
        self.wait(lambda: self.requests("POST"), "the POST")
        (post,) = (each for each in self.sandbox.requests if each.method == "POST" and "calls" in each.path)
        assert post.client is not None
        # Sockets to other servers may have the same address here, such as those that were closed recently.
        server = urlsplit(self.sandbox.url)
        ends = (post.client, (server.hostname, server.port))
        owner = next(each for each in psutil.net_connections("tcp") if (each.laddr, each.raddr) == ends)
        assert owner.pid in {process.pid for process in self.airflow.family.members()}
        os.kill(owner.pid, signal.SIGKILL)

    @staticmethod
    def _identity(call: dict[str, Any]) -> dict[str, Any]:
        identity: dict[str, Any] = call["request_metadata"]["airflow"]
        return identity
