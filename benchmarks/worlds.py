"""The server in a process of its own, and what a run asks of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtools.airflow_instance.environment import passed_on_environment
from devtools.processes import ROOT, ProcessFamily

TOKEN = "bench-token"  # noqa: S105  # the server takes any

_numbers = itertools.count(1)


@dataclass(frozen=True)
class WorldHandle:
    """A world on the server: its calls, and its book."""

    url: str
    name: str
    calls: list[tuple[str, str, float]]

    def read(self, start: float, end: float, width: float = 0) -> dict[str, float]:
        """Sum up its requests between two times; see ``Book.between``."""
        answer: dict[str, float] = _post(self.url, self.name, "read", start=start, end=end, width=width)
        return answer

    def wait_for_request(self) -> None:
        """Return when the first request has come."""
        while not self.read(0, time.time())["requests"]:
            time.sleep(0.1)

    def go_away(self, seconds: float) -> None:
        """Answer 503 to everything for a while."""
        _post(self.url, self.name, "away", seconds=seconds)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run the server in a process of its own; give its address."""
    family = ProcessFamily()
    with tempfile.TemporaryDirectory(prefix="telzino-bench-") as folder:
        log = Path(folder) / "server.log"
        command = [sys.executable, "-m", "benchmarks.server"]
        try:
            family.start("server", command, env=passed_on_environment(), log=log, cwd=ROOT)
            while not (port := log.read_text()).endswith("\n"):
                family.check()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port.strip()}"
        finally:
            family.stop()


@contextlib.contextmanager
def world(url: str, **what: Any) -> Iterator[WorldHandle]:
    """Make a world for one run, and drop it at the end."""
    name = str(next(_numbers))
    calls = [tuple(each) for each in _post(url, name, "make", **what)]
    try:
        yield WorldHandle(url, name, calls)
    finally:
        with contextlib.suppress(OSError):  # The server may have ended, as everything has after Ctrl-C.
            _post(url, name, "drop")


def _post(url: str, name: str, what: str, **body: Any) -> Any:
    request = urllib.request.Request(  # noqa: S310  # loopback
        f"{url}/worlds/{name}/{what}", json.dumps(body).encode(), method="POST"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=120) as answer:
        return json.load(answer)
