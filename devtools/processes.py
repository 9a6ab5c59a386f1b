"""Child processes that surely end, with all that they started, even if we are killed ourselves."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from devtools.process_mark import GRACE, MARK, descendants, marked, send, stop_marked, wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent


class ProcessDiedError(Exception):
    """A process failed, or ended that should go on running."""


class Child:
    """One process of a family, with its log file.

    :param may_end: it ends by itself, as a command does; a component's end is a failure, unless we caused it
    """

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path, may_end: bool) -> None:
        self.name = name
        self.log = log
        self.may_end = may_end
        self._popen = popen

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it still runs; asking reaps it when it doesn't."""
        return self._popen.poll() is None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code (negative: the signal that ended it)."""
        return self._popen.wait(timeout)

    def kill(self) -> None:
        """Crash it: ``kill -9`` for this process alone. Returns when it is gone."""
        self.may_end = True
        self._popen.kill()
        self._popen.wait()

    def kill_tree(self) -> None:
        """Crash it and its descendants together, as when the machine or container dies."""
        self.may_end = True
        self.freeze()  # So that none starts another meanwhile.
        tree = descendants(self.pid)
        for process in tree:
            send(process, signal.SIGKILL)
        self.kill()
        wait_until_gone(tree, GRACE)

    def terminate(self, timeout: float = 30.0) -> None:
        """Ask it to end itself (SIGTERM), as an orderly restart does, and wait for that."""
        self.may_end = True
        self._popen.terminate()
        self._popen.wait(timeout)

    def freeze(self) -> None:
        """Make it and its descendants hang (SIGSTOP): they neither work nor die."""
        self._send_to_tree(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after ``freeze``."""
        self._send_to_tree(signal.SIGCONT)

    def _send_to_tree(self, number: signal.Signals) -> None:
        if self.running:
            for process in [psutil.Process(self.pid), *descendants(self.pid)]:
                send(process, number)


class ProcessFamily:
    """Processes that belong together: they share a mark in their environment, and end together."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.children: dict[str, Child] = {}
        # The children don't inherit its standard input, so that our death alone closes it.
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "devtools.process_mark", self.mark],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

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
        """Start a process; its output is appended to ``log``.

        It gets a session of its own: a Ctrl-C reaches only us, and we stop it in order. A name may be used
        again when the former process of that name is gone. ``user`` is the system user that it shall run as;
        by default ours.
        """
        if name in self.children and self.children[name].running:
            raise ValueError(f"{name} runs already, as process {self.children[name].pid}")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [*command],
                env={**env, MARK: self.mark},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
            )
        child = self.children[name] = Child(name, popen, log, may_end)
        return child

    def check(self) -> None:
        """Raise ``ProcessDiedError`` if one has ended by itself that should go on running."""
        for child in self.children.values():
            if not child.may_end and not child.running:
                raise ProcessDiedError(f"{child.name} ended by itself, with exit code {child.wait()}")

    def members(self) -> list[psutil.Process]:
        """Return every living process of the family, grandchildren and orphans included."""
        return marked(self.mark)

    def stop(self, grace: float = GRACE) -> None:
        """End all members, politely at first, and return when none is left. May be called again."""
        for child in self.children.values():
            child.may_end = True
        stop_marked(self.mark, grace)
        for child in self.children.values():
            if child.running:  # one that wrote over its environment
                child.kill()
            child.wait()  # Reap it, or a zombie stays until we end ourselves.
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait()
