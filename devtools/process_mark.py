"""Find processes by a mark in their environment, and end them by process id.

Airflow's components start processes of their own, some in process groups of their own (every task is one),
and those outlive a parent that was killed. So the ids and groups that we know are not enough, but every
descendant inherits the environment.

``python -m devtools.process_mark MARK`` is a guard: it ends the marked processes when its standard input
closes, which happens at the latest when the process that started the guard dies, in whatever way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

MARK = "TELZINO_DEV_FAMILY"
"""The environment variable."""

GRACE = 3.0
"""Seconds that a process has to end itself after SIGTERM, before SIGKILL: nothing of it is needed later."""


def marked(mark: str) -> list[psutil.Process]:
    """Return all living processes whose environment has this mark."""
    found = []
    for process in psutil.process_iter():
        # Those that are gone by now, and other users', can't be read.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and lives(process):
                found.append(process)
    return found


def descendants(pid: int) -> list[psutil.Process]:
    """Return all living descendants of a process, the youngest generation first."""
    try:
        return psutil.Process(pid).children(recursive=True)[::-1]
    except psutil.NoSuchProcess:
        return []


def lives(process: psutil.Process) -> bool:
    """Whether it runs. A zombie doesn't: it only waits for its parent to take note of its end."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(processes: Iterable[psutil.Process], timeout: float) -> None:
    """Wait until none of them lives, or until the timeout."""
    deadline = time.monotonic() + timeout
    while any(lives(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal, unless the process is gone (psutil notices when its id was given to another)."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def stop_marked(mark: str, grace: float = GRACE) -> None:
    """Send SIGTERM to all marked processes, and after the grace time SIGKILL to those still there."""
    members = marked(mark)
    for process in members:
        send(process, signal.SIGCONT)
        send(process, signal.SIGTERM)
    wait_until_gone(members, grace)
    while members := marked(mark):  # Again and again: one may have just started another.
        for process in members:
            send(process, signal.SIGKILL)
        wait_until_gone(members, timeout=1)


def guard(mark: str) -> None:
    """Wait for the end of standard input, then end the marked processes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop_marked(mark)


if __name__ == "__main__":
    guard(sys.argv[1])
