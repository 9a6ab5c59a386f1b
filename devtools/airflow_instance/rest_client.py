"""A small client of Airflow's own REST API, version 2: what the demo and the tests need of it."""

from __future__ import annotations

from typing import Any

import requests

REQUEST_TIMEOUT = 120.0
"""Seconds for one request: a busy machine's API server is slow, not dead."""

NOT_SHOWN_IN_LOGS = frozenset(
    [
        *("event", "timestamp", "level", "error_detail"),
        *("logger", "chan", "filename", "lineno", "loc"),
        *("dag_id", "run_id", "task_id", "map_index", "try_number", "ti_id"),
    ]
)
"""What the web interface doesn't show of a log line by default, or not as ``name=value``."""


class AirflowApi:
    """Trigger DAG runs and read what became of them.

    Logs in at the first request. Failures are ``requests`` exceptions, with Airflow's explanation in them.
    """

    def __init__(self, base_url: str, username: str, password: str) -> None:
        self.base_url = base_url
        self._login = {"username": username, "password": password}
        self._session = requests.Session()
        self._session.trust_env = False  # No proxy, no .netrc: this is loopback.

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send a request to a path below ``/api/v2`` and return its JSON answer."""
        if "Authorization" not in self._session.headers:
            login = self._session.post(
                f"{self.base_url}/auth/token", json=self._login, timeout=REQUEST_TIMEOUT
            )
            login.raise_for_status()
            self._session.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        answer = self._session.request(
            method, f"{self.base_url}/api/v2{path}", timeout=REQUEST_TIMEOUT, **options
        )
        if not answer.ok:
            raise requests.HTTPError(
                f"{method} {path}: {answer.status_code}: {answer.text[:1000]}", response=answer
            )
        return answer.json() if answer.content else None

    def health(self) -> dict[str, str | None]:
        """Return the state of each component: ``healthy``, ``unhealthy``, or None when it was never seen."""
        answer = self._session.get(f"{self.base_url}/api/v2/monitor/health", timeout=REQUEST_TIMEOUT)
        answer.raise_for_status()
        return {name: (part or {}).get("status") for name, part in answer.json().items()}

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return what Airflow knows of a DAG, or None as long as it hasn't read its file."""
        try:
            dag: dict[str, Any] = self.request("GET", f"/dags/{dag_id}")
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code == requests.codes.not_found:
                return None
            raise
        return dag

    def import_errors(self) -> list[str]:
        """Return the tracebacks of DAG files that could not be read."""
        errors = self.request("GET", "/importErrors")["import_errors"]
        return [f"{error['filename']}:\n{error['stack_trace']}" for error in errors]

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, run_id: str | None = None) -> str:
        """Start a DAG run and return its run id."""
        body: dict[str, Any] = {"logical_date": None, "conf": conf or {}}
        if run_id:
            body["dag_run_id"] = run_id
        answer = self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)
        return str(answer["dag_run_id"])

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a DAG run; its ``state`` is queued, running, success or failed."""
        run: dict[str, Any] = self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        return run

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a DAG run, mapped ones too, in the order in which they started."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.request(
                "GET",
                f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances",
                params={"limit": 100, "offset": len(found)},
            )
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return sorted(found, key=lambda task: task["start_date"] or "9999")

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task; a mapped one is named like ``task_id[3]``."""
        return {_task_name(task): task["state"] for task in self.task_instances(dag_id, run_id)}

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return an XCom's value as it is in the database; ``requests.HTTPError`` when there is none."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.request("GET", path, params={"map_index": map_index})["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return a task's log as the web interface shows it: the messages, a line each."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        lines: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self.request("GET", path, params={"map_index": map_index, **token})
            lines += [_log_line(line) for line in page["content"]]
            if not page["content"] or not page["continuation_token"]:
                return "\n".join(lines)
            token = {"token": page["continuation_token"]}


def _log_line(line: str | dict[str, Any]) -> str:
    if isinstance(line, str):
        return line
    details = [f"{name}={value}" for name, value in line.items() if name not in NOT_SHOWN_IN_LOGS]
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail") or []]
    return " ".join([line["event"], *details, *errors])


def _task_name(task: dict[str, Any]) -> str:
    index = task["map_index"]
    return task["task_id"] if index < 0 else f"{task['task_id']}[{index}]"
