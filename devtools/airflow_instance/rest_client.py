"""A small client of Airflow's own REST API, version 2."""

from __future__ import annotations

from typing import Any

import requests

REQUEST_TIMEOUT = 120.0
"""Seconds for one request: a busy machine's API server is slow, not dead."""

HIDDEN_LOG_FIELDS = frozenset(
    [
        *("event", "timestamp", "level", "error_detail", "logger", "chan", "filename", "lineno", "loc"),
        *("dag_id", "run_id", "task_id", "map_index", "try_number", "ti_id"),
    ]
)
"""What the web interface doesn't show of a log line by default, or not as ``name=value``."""


class AirflowApi:
    """Triggers DAG runs and reads their outcome.

    Logs in at the first request. Failures are ``requests`` exceptions that include Airflow's explanation.
    """

    def __init__(self, base_url: str, username: str, password: str) -> None:
        self.base_url = base_url
        self._login = {"username": username, "password": password}
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc: this is loopback

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send a request to a path below ``/api/v2`` and return its JSON answer."""
        if "Authorization" not in self._session.headers:
            token = self._send("POST", "/auth/token", json=self._login)["access_token"]
            self._session.headers["Authorization"] = f"Bearer {token}"
        return self._send(method, f"/api/v2{path}", **options)

    def _send(self, method: str, path: str, **options: Any) -> Any:
        answer = self._session.request(method, self.base_url + path, timeout=REQUEST_TIMEOUT, **options)
        if not answer.ok:
            explanation = f"{method} {path}: {answer.status_code}: {answer.text[:1000]}"
            raise requests.HTTPError(explanation, response=answer)
        return answer.json() if answer.content else None

    def health(self) -> dict[str, str | None]:
        """Return the health by component: ``healthy``, ``unhealthy``, or None before its first heartbeat."""
        components = self._send("GET", "/api/v2/monitor/health")
        return {name: (component or {}).get("status") for name, component in components.items()}

    def has_dag(self, dag_id: str) -> bool:
        """Return whether Airflow has parsed a DAG already."""
        dags = self.request("GET", "/dags", params={"limit": 100})["dags"]
        return dag_id in {dag["dag_id"] for dag in dags}

    def import_errors(self) -> list[str]:
        """Return the tracebacks of DAG files that could not be parsed."""
        errors = self.request("GET", "/importErrors")["import_errors"]
        return [f"{error['filename']}:\n{error['stack_trace']}" for error in errors]

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, run_id: str | None = None) -> str:
        """Start a DAG run and return its run id."""
        body: dict[str, Any] = {"logical_date": None, "conf": conf or {}}
        if run_id:
            body["dag_run_id"] = run_id
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return a DAG run's state: queued, running, success or failed."""
        return str(self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a DAG run, mapped ones too, in the order in which they started."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            page = self.request("GET", path, params={"limit": 100, "offset": len(found)})
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return sorted(found, key=lambda task: task["start_date"] or "9999")

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task; a mapped one is named like ``task_id[3]``."""
        return {task_name(task): task["state"] for task in self.task_instances(dag_id, run_id)}

    def needed_tries(self, task: dict[str, Any]) -> int:
        """Return how many tries a task instance has needed, without those after Airflow's mistakes.

        On a busy machine it considers some tasks dead that resume soon, and retries them (docs/crashes.md).
        If such a task ends before Airflow gets to that, no retry follows.
        """
        names = {"dag_id": "dag_id", "run_id": "dag_run_id", "task_id": "task_id", "map_index": "map_index"}
        about = {filter_name: task[name] for filter_name, name in names.items()}
        mistakes = self.request("GET", "/eventLogs", params={**about, "event": "state mismatch"})
        retried = {mistake["try_number"] for mistake in mistakes["event_logs"]} - {task["try_number"]}
        return int(task["try_number"]) - len(retried)

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return an XCom's value as it is in the database; ``requests.HTTPError`` when there is none."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.request("GET", path, params={"map_index": map_index})["value"]

    def links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
        """Return the buttons of a task in the web interface, and where they lead."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/links"
        links: dict[str, str | None] = self.request("GET", path)["extra_links"]
        return links

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return a task's log as the web interface shows it by default: the messages, a line each."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        lines: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self.request("GET", path, params={"map_index": map_index, **token})
            lines += map(log_line, page["content"])
            if not page["content"] or not page["continuation_token"]:
                return "\n".join(lines)
            token = {"token": page["continuation_token"]}


def log_line(line: str | dict[str, Any]) -> str:
    """Return a line of a task's log as the web interface shows it."""
    if isinstance(line, str):
        return line
    details = [f"{name}={value}" for name, value in line.items() if name not in HIDDEN_LOG_FIELDS]
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail") or []]
    return " ".join([line["event"], *details, *errors])


def task_name(task: dict[str, Any]) -> str:
    """Return a task instance's name: its task id, with the index if it is mapped."""
    index = task["map_index"]
    return task["task_id"] if index < 0 else f"{task['task_id']}[{index}]"
