"""One disposable Airflow: its home, its database, its components."""

from __future__ import annotations

import json
import secrets
import sys
from typing import TYPE_CHECKING, Any

import requests

from airflow_provider_telzino.sandbox import CLIENT_ID, CLIENT_SECRET, DEFAULT_AGENT_ID
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

COMPONENTS: dict[str, list[str]] = {
    "api-server": ["api-server"],
    # Their log servers would listen on all interfaces. All processes share the log folder, so none is needed.
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
}
"""The components of every Airflow, and the arguments that start each."""

CELERY_WORKER = {"worker": ["celery", "worker", "--skip-serve-logs"]}

FINISHED_RUN_STATES = ("success", "failed")


class AirflowInstance:
    """A real Airflow, for one ``with`` block.

    Components that are started under another name than their own are more of the same kind: two triggerers
    are ``start("triggerer")`` and ``start("triggerer-2", "triggerer")``.

    Args:
        home: Folder for everything that it writes; created if missing, and kept.
        dags_folder: Folder with the DAG files.
        executor: Its name, as in ``[core] executor``.
        sql_alchemy_conn: The database's URL; without one, SQLite in ``home``.
        extra_env: More environment variables for all its processes, such as ``AIRFLOW__...`` settings.
        family: The family that its processes belong to; without one, a new family.
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
        port = free_port()
        self.base_url = f"http://{LOOPBACK}:{port}"
        self.username = ADMIN
        self.password = secrets.token_urlsafe(12)
        self.family = family or ProcessFamily()
        self.api = AirflowApi(self.base_url, self.username, self.password)
        write_home(self.home, self.password)
        self.env = airflow_environment(
            self.home,
            dags_folder=dags_folder.resolve(),
            port=port,
            executor=executor,
            sql_alchemy_conn=sql_alchemy_conn,
            extra=extra_env or {},
        )

    def __enter__(self) -> AirflowInstance:
        """Return the instance, of which nothing runs yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every process of this instance and its family."""
        self.api.close()
        self.family.stop()

    # --- Processes ---

    def log_of(self, name: str) -> Path:
        """Return the file with the output of a component or command."""
        return self.home / "logs" / f"{name}.log"

    def process(self, name: str) -> Child:
        """Return a component's process, to crash or terminate it."""
        return self.family.children[name]

    def start(self, name: str, component: str | None = None, *options: str) -> Child:
        """Start a component, for the first time or after its end; returns at once."""
        return self._start(name, [*(COMPONENTS | CELERY_WORKER)[component or name], *options])

    def _start(self, name: str, arguments: list[str], *, may_end: bool = False) -> Child:
        command = [sys.executable, "-m", "airflow", *arguments]
        log = self.log_of(name)
        return self.family.start(name, command, env=self.env, log=log, cwd=self.home, may_end=may_end)

    def migrate(self) -> None:
        """Create the tables in the database."""
        migration = self._start("db-migrate", ["db", "migrate"], may_end=True)
        if code := migration.wait(120):
            output = migration.log.read_text(errors="replace")[-3000:]
            raise ProcessDiedError(f"airflow db migrate: exit code {code}\n{output}")

    def start_all(self, timeout: float = 90.0) -> None:
        """Create the tables, start every component, and wait until all are healthy."""
        self.migrate()
        for name in COMPONENTS:
            self.start(name)
        self.wait_until(self._is_healthy, "all components healthy", timeout)

    def _is_healthy(self) -> bool:
        try:
            return set(self.api.health().values()) == {"healthy"}
        except requests.RequestException:
            return False

    # --- What is in it ---

    def add_connection(self, conn_id: str, conn_type: str, **fields: Any) -> None:
        """Add a connection, as the web interface does."""
        body = {"connection_id": conn_id, "conn_type": conn_type, **fields}
        self.api.request("POST", "/connections", json=body)

    def add_telzino_connection(
        self, host: str, conn_id: str = "telzino_default", **credentials: str | None
    ) -> None:
        """Add a connection to a sandbox, by default with its client credentials."""
        given = credentials or {"login": CLIENT_ID, "password": CLIENT_SECRET}
        extra = json.dumps({"agent_id": DEFAULT_AGENT_ID, "call_url": f"{host}/#call={{call_id}}"})
        self.add_connection(conn_id, "telzino", host=host, extra=extra, **given)

    # --- Waiting ---

    def wait_until(self, ready: Callable[[], object], what: str, timeout: float) -> None:
        """Wait until a condition holds; fail at once when a component ends by itself meanwhile."""
        self.family.wait_until(ready, what, timeout)

    def wait_for_dag(self, dag_id: str, timeout: float = 60.0) -> None:
        """Wait until the DAG can be triggered; fail at once if a DAG file has an error."""

        def is_known() -> bool:
            if errors := self.api.import_errors():
                raise RuntimeError("Airflow can't parse a DAG file: " + "\n".join(errors))
            return self.api.has_dag(dag_id)

        self.wait_until(is_known, f"the DAG {dag_id}", timeout)

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float) -> str:
        """Wait until a DAG run has finished and return its state."""

        def is_finished() -> bool:
            return self.api.run_state(dag_id, run_id) in FINISHED_RUN_STATES

        self.wait_until(is_finished, f"the end of DAG run {run_id}", timeout)
        return self.api.run_state(dag_id, run_id)
