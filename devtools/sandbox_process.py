"""The sandbox as a child process, and the few requests that a developer's tool sends to it."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import requests

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, DEFAULT_AGENT_ID
from devtools.airflow_instance.environment import passed_on_environment
from devtools.processes import ROOT, ProcessFamily

if TYPE_CHECKING:
    from pathlib import Path

START_TIMEOUT = 60.0
REQUEST_TIMEOUT = 10.0


class SandboxProcess:
    """A sandbox on a free port of loopback, running until its family is stopped.

    :param speed: how many times faster than real calls its calls go
    :param seed: makes the calls' outcomes the same every time
    """

    def __init__(self, family: ProcessFamily, home: Path, *, speed: float, seed: int) -> None:
        self.log = home / "logs" / "sandbox.log"
        command = [sys.executable, "-m", "airflow_provider_telzino.sandbox"]
        options = ["--port", "0", "--speed", str(speed), "--seed", str(seed)]
        env = passed_on_environment()
        family.start("sandbox", [*command, *options], env=env, log=self.log, cwd=ROOT)
        self.url = self._wait_for_address(family)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {ACCESS_TOKEN}"

    def _wait_for_address(self, family: ProcessFamily) -> str:
        """Return the address that it prints when it listens."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if address := re.search(r"http://127\.0\.0\.1:\d+", self.log.read_text(errors="replace")):
                return address.group()
            family.check()
            time.sleep(0.1)
        raise TimeoutError(f"The sandbox did not print its address within {START_TIMEOUT:.0f} s")

    def connection_options(self) -> list[str]:
        """Return the options with which ``airflow connections add`` makes a connection to it."""
        return [
            *("--conn-type", "telzino"),
            *("--conn-host", self.url),
            *("--conn-login", CLIENT_ID),
            *("--conn-password", CLIENT_SECRET),
            *("--conn-extra", json.dumps({"agent_id": DEFAULT_AGENT_ID})),
        ]

    def place_call(self, to_number: str, call_context: str, metadata: dict[str, Any]) -> str:
        """Place a call (``POST /v1/agents/{agentId}/outbound-calls``) and return its id."""
        body = {"to_number": to_number, "call_context": call_context, "metadata": metadata}
        return str(self._request("POST", "", json=body)["id"])

    def call_record(self, call_id: str) -> dict[str, Any]:
        """Return a call's record as it is now."""
        record: dict[str, Any] = self._request("GET", f"/{call_id}")
        return record

    def newest_calls(self) -> list[dict[str, Any]]:
        """Return the calls that were placed last, as the list has them, newest first."""
        calls: list[dict[str, Any]] = self._request("GET", "")["data"]
        return calls

    def calls_of_task(self, run_id: str, task_id: str) -> list[str]:
        """Return the ids of all calls that a task of a DAG run has placed."""
        found = []
        page, has_next = 1, True
        while has_next:
            answer = self._request("GET", "", params={"page": page, "limit": 100})
            for record in answer["data"]:
                identity = (record["request_metadata"] or {}).get("airflow", {})
                if (identity.get("run_id"), identity.get("task_id")) == (run_id, task_id):
                    found.append(record["id"])
            page, has_next = page + 1, answer["pagination"]["hasNext"]
        return found

    def _request(self, method: str, path: str, **options: Any) -> Any:
        url = f"{self.url}/v1/agents/{DEFAULT_AGENT_ID}/outbound-calls{path}"
        answer = self._session.request(method, url, timeout=REQUEST_TIMEOUT, **options)
        answer.raise_for_status()
        return answer.json()
