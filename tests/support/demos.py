"""Demos as make starts them, for tests of what they show and of what they leave behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from devtools.processes import MARK, ROOT, is_alive, marked
from devtools.stage import WORK

StartDemo = Callable[..., subprocess.Popen[str]]

DEMO_TIMEOUT = 240.0
"""Seconds: several times what it needs, since other tests run at the same time."""


@contextlib.contextmanager
def demos() -> Iterator[StartDemo]:
    """Yield a function that starts a demo as make does, but in a session of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, module: str = "devtools.demo") -> subprocess.Popen[str]:
        demo = subprocess.Popen(
            [sys.executable, "-m", module, *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(demo)
        return demo

    try:
        yield start
    finally:
        for demo in started:
            if demo.poll() is None:  # The test failed.
                demo.terminate()
            demo.communicate(timeout=60)


def processes_of(demo: subprocess.Popen[str]) -> tuple[str, list[psutil.Process]]:
    """Return the mark of all that the demo starts, and what it has started so far, its guard included."""
    children = psutil.Process(demo.pid).children(recursive=True)
    marks = set()
    for child in children:
        with contextlib.suppress(psutil.Error):  # A task that has just ended can't be read.
            marks |= {child.environ()[MARK]} if MARK in child.environ() else set()
    assert len(marks) == 1
    return marks.pop(), children


def assert_nothing_left(demo: subprocess.Popen[str], mark: str, seen: list[psutil.Process]) -> None:
    """No process that was seen, none that came later, and no folder."""
    assert [process for process in seen if is_alive(process)] == []
    assert marked(mark) == []
    assert list(WORK.glob(f"demo-{demo.pid}-*")) == []


def read_until(demo: subprocess.Popen[str], text: str) -> str:
    """Read the output up to the line with this text."""
    assert demo.stdout is not None
    output = ""
    for line in demo.stdout:
        output += line
        if text in line:
            return output
    pytest.fail(f"No {text!r} in:\n{output}")
