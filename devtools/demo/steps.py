"""Say what is going on: a spinner for a person, plain lines for a log file."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

SIGN_OF_LIFE_INTERVAL = 10.0
"""Seconds between two lines of a long step, where no spinner can be shown."""


class Steps:
    """The steps of a story, each with what it does and how long it took."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show that a step runs, and its duration when it's done."""
        started = time.monotonic()
        waiting = self._spinner(title) if self.console.is_terminal else self._lines(title)
        try:
            with waiting:
                yield
        except Exception:
            self.console.print(f"[red]✗[/] {title} [dim]({time.monotonic() - started:.1f} s)[/]")
            raise
        self.console.print(f"[green]✓[/] {title} [dim]({time.monotonic() - started:.1f} s)[/]")

    @contextmanager
    def _spinner(self, title: str) -> Iterator[None]:
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=self.console, transient=True) as progress:
            progress.add_task(f"{title} ...")
            yield

    @contextmanager
    def _lines(self, title: str) -> Iterator[None]:
        done = threading.Event()
        started = time.monotonic()

        def show_life() -> None:
            while not done.wait(SIGN_OF_LIFE_INTERVAL):
                self.console.print(f"  still at it after {time.monotonic() - started:.0f} s")

        self.console.print(f"  {title} ...")
        thread = threading.Thread(target=show_life, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
