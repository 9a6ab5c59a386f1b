"""The client of Airflow's REST API, against a server that answers as Airflow does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import requests

from devtools.airflow_instance.rest_client import AirflowApi

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS = [
    {"task_id": "late", "map_index": -1, "state": None, "start_date": None},
    {"task_id": "mapped", "map_index": 3, "state": "deferred", "start_date": "2026-01-02"},
    {"task_id": "first", "map_index": -1, "state": "success", "start_date": "2026-01-01"},
]


class FakeAirflow(BaseHTTPRequestHandler):
    """Two task instances a page, one DAG, one XCom."""

    def do_POST(self) -> None:
        """Log in or trigger."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/auth/token":
            return self._answer(201, {"access_token": "t" if body["password"] == "right" else ""})
        return self._answer(200, {"dag_run_id": body.get("dag_run_id", "manual"), "conf": body["conf"]})

    def do_GET(self) -> None:
        """Answer with what the path asks for."""
        path, _, query = self.path.partition("?")
        if self.headers.get("Authorization") != "Bearer t":
            return self._answer(401, {"detail": "who are you?"})
        if path == "/api/v2/dags/d/dagRuns/r/taskInstances":
            offset = int(query.rpartition("offset=")[2])
            return self._answer(200, {"task_instances": TASKS[offset : offset + 2], "total_entries": 3})
        if path.endswith("/taskInstances/t/xcomEntries/return_value"):
            return self._answer(200, {"value": {"id": "1"}})
        return self._answer(404, {"detail": "not found"})

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def base_url() -> Iterator[str]:
    """Yield the address of a running fake."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeAirflow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def api(base_url: str) -> Iterator[AirflowApi]:
    """Yield a client with the right password."""
    api = AirflowApi(base_url, "admin", "right")
    yield api
    api.close()


def test_task_states_come_from_all_pages(api: AirflowApi) -> None:
    """In the order of their starts; a mapped task is named with its index."""
    assert api.task_states("d", "r") == {"first": "success", "mapped[3]": "deferred", "late": None}


def test_xcom_is_the_bare_value(api: AirflowApi) -> None:
    """Not the entry around it."""
    assert api.xcom("d", "r", "t") == {"id": "1"}


def test_trigger_returns_the_run_id(api: AirflowApi) -> None:
    """Airflow's, or the one that was asked for."""
    assert api.trigger("d") == "manual"
    assert api.trigger("d", {"call_id": "1"}, run_id="mine") == "mine"


def test_an_unknown_dag_is_none(api: AirflowApi) -> None:
    """It may yet come: Airflow hasn't read its file."""
    assert api.dag("d") is None


def test_other_failures_come_with_airflows_explanation(base_url: str) -> None:
    """The status alone says too little."""
    api = AirflowApi(base_url, "admin", "wrong")

    with pytest.raises(requests.HTTPError, match=r"401.*who are you"):
        api.dag("d")

    api.close()
