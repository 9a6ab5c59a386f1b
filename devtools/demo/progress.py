"""The live view: the call's way through its statuses, beside the states of the tasks that wait for it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import Console, RenderableType

CALL_LOOK_INTERVAL = 0.1
"""Seconds between two looks at the call."""

STYLES = {
    "completed": "green",
    "success": "green",
    "failed": "red",
    "upstream_failed": "red",
    "busy": "yellow",
    "no_answer": "yellow",
    "in_progress": "cyan",
    "running": "cyan",
    "deferred": "magenta",
    "skipped": "dim",
}
"""How call statuses and task states look; the others have no style."""


def styled(state: str | None) -> Text:
    """Return a status or state in its colour; tasks that Airflow didn't look at yet have none."""
    return Text(state or "waiting", style=STYLES.get(state or "", "dim" if state is None else ""))


@dataclass
class Progress:
    """What was seen so far: at which second the call took a status, and each task a state."""

    call: list[tuple[float, str]] = field(default_factory=list)
    tasks: dict[str, list[tuple[float, str | None]]] = field(default_factory=dict)

    def see_call(self, second: float, status: str) -> list[str]:
        """Take a look at the call into account and return a line if its status changed."""
        if self.call and self.call[-1][1] == status:
            return []
        self.call.append((second, status))
        return [f"call: {status}"]

    def see_tasks(self, second: float, states: Mapping[str, str | None]) -> list[str]:
        """Take a look at the tasks into account and return a line for each that changed its state."""
        changes = []
        for task_id, state in states.items():
            seen = self.tasks.setdefault(task_id, [])
            if not seen or seen[-1][1] != state:
                seen.append((second, state))
                changes.append(f"task {task_id}: {state or 'waiting'}")
        return changes

    def render(self, second: float) -> RenderableType:
        """Draw it: the call on the left, the tasks on the right."""
        call = Table("at", "call", box=None, pad_edge=False, min_width=24)
        for at, status in self.call:
            call.add_row(f"{at:4.0f} s", styled(status))
        tasks = Table("task", "state", "before", box=None, pad_edge=False)
        for task_id, seen in self.tasks.items():
            before = Text(" → ").join(styled(state) for _, state in seen[:-1] if state)
            tasks.add_row(task_id, styled(seen[-1][1]), before)
        both = Table.grid(padding=(0, 4))
        both.add_row(call, tasks)
        both.add_row(Text(f"{second:.0f} s since the DAG was triggered", style="dim"))
        return both


class LiveProgress:
    """Shows progress as it comes: redrawn in a terminal, line by line elsewhere.

    The call is looked at in a thread of its own: Airflow's API server may take seconds on a busy machine.

    :param look_at_call: returns the call's status as it is now, or None as long as there is no call
    """

    def __init__(self, console: Console, look_at_call: Callable[[], str | None]) -> None:
        self._console = console
        self._look_at_call = look_at_call
        self._progress = Progress()
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while the block runs. The last picture stays on the screen."""
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch_call, args=(ended,), daemon=True)
        with Live(console=self._console) if self._console.is_terminal else nullcontext() as live:
            self._live = live
            watcher.start()
            try:
                yield
            finally:
                ended.set()
                watcher.join()

    def see_tasks(self, states: Mapping[str, str | None]) -> None:
        """Take a look at the tasks into account."""
        with self._lock:
            self._show(self._progress.see_tasks(self._second, states))

    @property
    def _second(self) -> float:
        return time.monotonic() - self._started

    def _watch_call(self, ended: threading.Event) -> None:
        while True:
            last_look = ended.is_set()
            # The sandbox may be stopping already, or have failed, which others notice.
            with suppress(requests.RequestException):
                status = self._look_at_call()
                if status is not None:
                    with self._lock:
                        self._show(self._progress.see_call(self._second, status))
            if last_look:
                return
            ended.wait(CALL_LOOK_INTERVAL)

    def _show(self, changes: list[str]) -> None:
        if self._live is not None:
            self._live.update(self._progress.render(self._second))
            return
        for change in changes:
            self._console.print(f"  {self._second:5.1f} s  {change}")
