"""One disposable Airflow: its home, its database, its components."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import requests

from devtools.airflow_instance.environment import (
    ADMIN,
    LOOPBACK,
    airflow_environment,
    free_port,
    write_home,
)
from devtools.airflow_instance.rest_client import AirflowApi
from devtools.processes import Child, ProcessDiedError, ProcessFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

COMPONENTS: dict[str, list[str]] = {
    "api-server": ["api-server"],
    # Their log servers listen on all interfaces. All processes share the log folder, so nobody needs them.
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
}
"""The components of every Airflow, and the arguments that start each."""

MORE_COMPONENTS: dict[str, list[str]] = {"worker": ["celery", "worker", "--skip-serve-logs"]}
"""What only some have."""

LOOK_INTERVAL = 0.5
"""Seconds between two looks while waiting for Airflow."""

FINISHED_RUN_STATES = ("success", "failed")


class AirflowInstance:
    """A real Airflow in ``home``, for one ``with`` block.

    :param home: folder for everything that it writes; made if missing, and left there
    :param dags_folder: folder with the DAG files
    :param executor: its name, as in ``[core] executor``
    :param sql_alchemy_conn: database URL; without one, SQLite in ``home``
    :param extra_env: more environment variables for all its processes, such as ``AIRFLOW__...`` settings
    :param family: what its processes shall belong to; without one, a new family

    Components that are started under another name than their own are more of the same kind: two triggerers
    are ``start("triggerer")`` and ``start("triggerer-2", "triggerer")``.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags_folder: Path,
        executor: str = "LocalExecutor",
        sql_alchemy_conn: str | None = None,
        extra_env: Mapping[str, str] | None = None,
        family: ProcessFamily | None = None,
    ) -> None:
        self.home = home.resolve()
        self.port = free_port()
        self.base_url = f"http://{LOOPBACK}:{self.port}"
        self.username = ADMIN
        self.password = secrets.token_urlsafe(12)
        self.family = family or ProcessFamily()
        self.api = AirflowApi(self.base_url, self.username, self.password)
        write_home(self.home, self.password)
        self.env = airflow_environment(
            self.home,
            dags_folder=dags_folder.resolve(),
            port=self.port,
            executor=executor,
            sql_alchemy_conn=sql_alchemy_conn,
            extra=extra_env or {},
        )

    def __enter__(self) -> AirflowInstance:
        """Give itself; nothing runs yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all that was started."""
        self.stop()

    def stop(self) -> None:
        """Stop every process of this instance (and its family)."""
        self.api.close()
        self.family.stop()

    def log_of(self, name: str) -> Path:
        """Return the file with the output of a component or command."""
        return self.home / "logs" / f"{name}.log"

    def process(self, name: str) -> Child:
        """Return a component's process, to kill, freeze or terminate it."""
        return self.family.children[name]

    def start(self, name: str, component: str | None = None, *options: str) -> Child:
        """Start a component, or start it again after its end; returns at once."""
        arguments = {**COMPONENTS, **MORE_COMPONENTS}[component or name]
        command = [sys.executable, "-m", "airflow", *arguments, *options]
        return self.family.start(name, command, env=self.env, log=self.log_of(name), cwd=self.home)

    def run_cli(self, *arguments: str, timeout: float = 120.0) -> str:
        """Run one ``airflow`` command and return its output; ``ProcessDiedError`` if it fails."""
        name = f"airflow-{arguments[0]}-{arguments[1]}"
        log = self.log_of(name)
        offset = log.stat().st_size if log.exists() else 0
        command = [sys.executable, "-m", "airflow", *arguments]
        child = self.family.start(name, command, env=self.env, log=log, cwd=self.home, may_end=True)
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill_tree()
            raise
        output = log.read_bytes()[offset:].decode(errors="replace")
        if code:
            raise ProcessDiedError(
                f"airflow {arguments[0]} {arguments[1]}: exit code {code}\n{output[-3000:]}"
            )
        return output

    def migrate(self) -> None:
        """Make the tables in the database, or bring them up to date."""
        self.run_cli("db", "migrate")

    def add_connection(self, conn_id: str, *options: str) -> None:
        """Create a connection with Airflow's own command line, such as ``"--conn-type", "telzino"``."""
        self.run_cli("connections", "add", conn_id, *options)

    def start_all(self) -> None:
        """Start every component; returns before they're ready. The database must have its tables."""
        for name in COMPONENTS:
            self.start(name)

    def wait_until(self, ready: Callable[[], bool], what: str, timeout: float) -> None:
        """Look again and again until ``ready`` says so; fails at once when a component dies meanwhile."""
        deadline = time.monotonic() + timeout
        while not ready():
            self.family.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"Waited {timeout:.0f} s for this: {what}")
            time.sleep(LOOK_INTERVAL)

    def wait_until_healthy(self, timeout: float = 90.0) -> None:
        """Wait until the API server answers and says that every other component is healthy."""

        def healthy() -> bool:
            try:
                return set(self.api.health().values()) == {"healthy"}
            except requests.RequestException:
                return False

        self.wait_until(healthy, "all components healthy", timeout)

    def wait_for_dag(self, dag_id: str, timeout: float = 60.0) -> None:
        """Wait until the DAG can be triggered; a DAG file with an error fails at once, with its traceback."""

        def known() -> bool:
            if errors := self.api.import_errors():
                raise RuntimeError("Airflow can't read a DAG file: " + "\n".join(errors))
            return self.api.dag(dag_id) is not None

        self.wait_until(known, f"the DAG {dag_id}", timeout)

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float) -> dict[str, Any]:
        """Wait until a DAG run has finished and return it."""
        run: dict[str, Any] = {}

        def finished() -> bool:
            run.update(self.api.dag_run(dag_id, run_id))
            return run["state"] in FINISHED_RUN_STATES

        self.wait_until(finished, f"the end of DAG run {run_id}", timeout)
        return run
