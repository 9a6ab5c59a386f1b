"""Child processes that end together with all that they started, even when this process is killed.

Airflow's components start processes of their own, some in sessions of their own (each task is one), and those
outlive a parent that is killed. So every process of a family carries a mark in its environment, which its
descendants inherit and by which they are found.

``python -m devtools.processes MARK`` is a family's guard: it ends the marked processes once its standard
input closes, which happens at the latest when the process that started it dies, in whatever way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent

MARK = "TELZINO_DEV_FAMILY"
"""The environment variable that marks the processes of a family."""

GRACE = 3.0
"""Seconds that a process has to end after SIGTERM, before SIGKILL."""


class ProcessDiedError(Exception):
    """A process failed, or ended although it should keep running."""


class Child(subprocess.Popen[bytes]):
    """One process of a family; its output is appended to ``log``."""

    def __init__(self, command: Sequence[str | Path], *, log: Path, may_end: bool, **options: object) -> None:
        self.log = log
        self.may_end = may_end
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            super().__init__(  # type: ignore[call-overload]  # options are its own
                [*command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **options
            )

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.poll() is None

    def kill(self) -> None:
        """Crash it: ``kill -9`` for this process alone. Returns when it is gone."""
        self.may_end = True
        super().kill()
        self.wait()

    def kill_tree(self) -> None:
        """Crash it together with its descendants, as when the machine or container dies."""
        self.may_end = True
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(self.pid).suspend()  # so that it starts no other process meanwhile
        tree = descendants(self.pid)
        send(signal.SIGKILL, tree)
        self.kill()
        wait_for_end(tree, GRACE)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), and wait until it has."""
        self.may_end = True
        super().terminate()
        self.wait(30)


class ProcessFamily:
    """Processes that share a mark in their environment, and end together."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.children: dict[str, Child] = {}
        # No child inherits the pipe to the guard: only our own end closes it.
        self._guard = subprocess.Popen(
            [sys.executable, "-m", __name__, self.mark],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> ProcessFamily:
        """Return the family, which has no children yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all members."""
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path,
        may_end: bool = False,
        user: str | None = None,
    ) -> Child:
        """Start a process in a session of its own, so that Ctrl-C reaches only us and we stop it in order.

        Args:
            name: Its name in ``children``; it may be reused once the former process of that name is gone.
            command: The program and its arguments.
            env: Its environment, to which the mark is added.
            log: The file that its output is appended to.
            cwd: Its working directory.
            may_end: Whether it ends by itself, as a command does. A component that ends by itself has failed.
            user: The system user that it runs as; by default ours.
        """
        if name in self.children and self.children[name].running:
            raise ValueError(f"{name} is already running as process {self.children[name].pid}")
        options = {"env": {**env, MARK: self.mark}, "cwd": cwd, "user": user, "start_new_session": True}
        child = self.children[name] = Child(command, log=log, may_end=may_end, **options)
        return child

    def check(self, only: str | None = None) -> None:
        """Raise ``ProcessDiedError`` if a process, or only this one, has ended that should keep running."""
        for name, child in self.children.items():
            if only in (None, name) and not child.may_end and not child.running:
                raise ProcessDiedError(f"{name} ended by itself, with exit code {child.returncode}")

    def wait_until(
        self,
        ready: Callable[[], object],
        what: str,
        timeout: float,
        interval: float = 0.5,
        only: str | None = None,
    ) -> None:
        """Wait until ``ready`` returns something true; fail at once if a process ends meanwhile.

        Args:
            ready: The condition.
            what: Its name, for the ``TimeoutError``.
            timeout: Seconds.
            interval: Seconds between two checks.
            only: The one process that matters; by default all of them.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            self.check(only)
            if time.monotonic() > deadline:
                raise TimeoutError(f"Waited {timeout:.0f} s for this: {what}")
            time.sleep(interval)

    def members(self) -> list[psutil.Process]:
        """Return every living process of the family, including grandchildren and orphans."""
        return marked(self.mark)

    def stop(self, grace: float = GRACE) -> None:
        """End all members, with SIGTERM at first, and return when none is left. May be called repeatedly."""
        for child in self.children.values():
            child.may_end = True
        stop_marked(self.mark, grace)
        for child in self.children.values():
            if child.running:  # It has overwritten its environment.
                child.kill()
            child.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait()


def marked(mark: str) -> list[psutil.Process]:
    """Return all living processes with this mark in their environment."""
    found = []
    for process in psutil.process_iter():
        # Those that have just ended, and other users', can't be read.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and is_alive(process):
                found.append(process)
    return found


def descendants(pid: int) -> list[psutil.Process]:
    """Return all descendants of a process, of which there are none once it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs. A zombie does not: it only waits until its parent has noticed its end."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    """Send a signal to those processes that still exist (psutil notices when an id was reused)."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_for_end(processes: Sequence[psutil.Process], timeout: float) -> None:
    """Wait until all have ended, or until the timeout. ``psutil.wait_procs`` would wait for zombies, too."""
    deadline = time.monotonic() + timeout
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)


def stop_marked(mark: str, grace: float = GRACE) -> None:
    """Send SIGTERM to all marked processes, and after the grace time SIGKILL to those still alive."""
    members = marked(mark)
    send(signal.SIGCONT, members)
    send(signal.SIGTERM, members)
    wait_for_end(members, grace)
    while members := marked(mark):  # Repeatedly: one of them may just have started another.
        send(signal.SIGKILL, members)
        wait_for_end(members, timeout=1)


def guard(mark: str) -> None:
    """Wait for the end of standard input, then end the marked processes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop_marked(mark)


if __name__ == "__main__":
    guard(sys.argv[1])
