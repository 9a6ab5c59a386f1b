"""Keeps Airflow running while a test crashes its parts: what ends of itself is started again and counted."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from random import Random
from typing import TYPE_CHECKING

from devtools.airflow_instance import COMPONENTS
from devtools.process_mark import descendants, send

if TYPE_CHECKING:
    import psutil

    from devtools.airflow_instance import AirflowInstance

LOOK_INTERVAL = 0.1  # seconds
PATIENCE = 180.0  # seconds for Airflow to do what it's waited for
RESTART_AFTER = 3.0  # seconds after which what ended of itself is started again


class Supervisor:
    """Starts components again, as systemd does, and waits for what shall happen.

    Args:
        airflow: The Airflow.
        random: Decides what is left to chance.
    """

    def __init__(self, airflow: AirflowInstance, random: Random) -> None:
        self.airflow = airflow
        self.random = random
        self.ended_of_themselves: Counter[str] = Counter()
        self.events: list[str] = []
        """What happened when, for the report of a failure."""
        self._killed: set[str] = set()
        self._start_at: dict[str, float] = {}
        self._left_behind: dict[str, list[psutil.Process]] = {}

    def note(self, event: str) -> None:
        """Remember an event."""
        self.events.append(f"{now():%H:%M:%S.%f} {event}")

    # --- Crashes ---

    def kill(self, name: str) -> None:
        """Crash a component: alone, or with its descendants as when its container dies."""
        child = self.airflow.process(name)
        crash = self.random.choice([child.kill, child.kill_tree])
        self.note(f"{name} crashes: {crash.__name__}")
        self._killed.add(name)
        self._left_behind[name] = descendants(child.pid)
        crash()

    def start(self, name: str) -> None:
        """Start a component after a crash.

        What the crash left of it is ended before, as systemd does. Without that, a wait may hang: see
        docs/crashes.md on a scheduler whose workers outlive it.
        """
        for process in self._left_behind.pop(name, []):
            send(process, signal.SIGKILL)
        self._killed.discard(name)
        self.airflow.start(name, component_of(name))
        self.note(f"{name} is started")

    def tend(self) -> None:
        """Start again what ended of itself."""
        for name, child in list(self.airflow.family.children.items()):
            if component_of(name) not in COMPONENTS or name in self._killed or child.running:
                self._start_at.pop(name, None)
            elif name not in self._start_at:
                self.note(f"{name} ended of itself")
                self.ended_of_themselves[name] += 1
                self._start_at[name] = time.monotonic() + RESTART_AFTER
            elif time.monotonic() > self._start_at[name]:
                self.start(name)

    # --- Time ---

    def pause(self, least: float, most: float) -> None:
        """Let a random time pass, in seconds."""
        self.pause_until(time.monotonic() + self.random.uniform(least, most))

    def pause_until(self, moment: float) -> None:
        """Let time pass until a moment of the monotonic clock."""
        while time.monotonic() < moment:
            self.tend()
            time.sleep(LOOK_INTERVAL)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something holds; ``TimeoutError`` if it doesn't."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.tend()
            if time.monotonic() > deadline:
                events = "\n".join(self.events)
                raise TimeoutError(f"Waited {PATIENCE:.0f} s for this: {what}. What happened:\n{events}")
            time.sleep(LOOK_INTERVAL)


def now() -> datetime:
    """Return the time, as Airflow writes it."""
    return datetime.now(timezone.utc)


def component_of(name: str) -> str:
    """Return which component it is: ``triggerer`` for ``triggerer-2``."""
    return re.sub(r"-\d+$", "", name)
