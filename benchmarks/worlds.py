"""The server in a process of its own, and the requests with which a run controls it."""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from devtools.airflow_instance.environment import inherited_environment
from devtools.processes import ROOT, ProcessFamily

TOKEN = "bench-token"  # noqa: S105  # the server accepts any

_numbers = itertools.count(1)


@dataclass(frozen=True)
class WorldHandle:
    """A world on the server."""

    url: str
    agents: list[str]
    calls: list[tuple[str, str, float]]
    """Agent, call and end of each call that is waited for."""

    def summary(self, start: float, end: float, width: float = 0) -> dict[str, float]:
        """Summarise the requests between two times; see ``RequestLog.summary``."""
        limits = {"start": start, "end": end, "width": width}
        summary: dict[str, float] = _send("GET", self.url, params=limits)
        return summary

    def placed(self) -> dict[str, float]:
        """Summarise the calls that were placed; see ``Placed.summary``."""
        summary: dict[str, float] = _send("GET", f"{self.url}/placed")
        return summary

    def wait_for_request(self) -> None:
        """Return after the first request."""
        while not self.summary(0, time.time())["requests"]:
            time.sleep(0.1)

    def begin_outage(self, seconds: float) -> None:
        """Answer 503 to everything for a while."""
        _send("POST", f"{self.url}/outage", json={"seconds": seconds})


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run the server in a process of its own; yield its address."""
    with tempfile.TemporaryDirectory(prefix="telzino-bench-") as folder, ProcessFamily() as family:
        log = Path(folder) / "server.log"
        command = [sys.executable, "-m", "benchmarks.server"]
        family.start("server", command, env=inherited_environment(), log=log, cwd=ROOT)
        family.wait_until(lambda: log.read_text().endswith("\n"), "the server", timeout=60, interval=0.05)
        yield f"http://127.0.0.1:{log.read_text().strip()}"


@contextlib.contextmanager
def world(url: str, **what: Any) -> Iterator[WorldHandle]:
    """Create a world for one run, and drop it at the end."""
    world_url = f"{url}/worlds/{next(_numbers)}"
    created = _send("POST", world_url, json=what)
    try:
        yield WorldHandle(world_url, created["agents"], [tuple(call) for call in created["calls"]])
    finally:
        with contextlib.suppress(requests.RequestException):  # After Ctrl-C the server has ended, too.
            _send("DELETE", world_url)


def _send(method: str, url: str, **options: Any) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, url, timeout=120, **options)
        answer.raise_for_status()
        return answer.json()
