"""Keeps Airflow running while a test crashes its components: those that end by themselves are restarted."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from random import Random
from typing import TYPE_CHECKING

import psutil

from devtools.airflow_instance import COMPONENTS
from devtools.processes import MARK, descendants, send

if TYPE_CHECKING:
    from devtools.airflow_instance import AirflowInstance
    from tests.support.integration.crashes.ledger import Ledger, RunningTask

SETTINGS = {
    "scheduler": {
        "scheduler_heartbeat_sec": 1,
        "scheduler_health_check_threshold": 10,
        "orphaned_tasks_check_interval": 2,
        "task_instance_heartbeat_timeout": 12,
        "task_instance_heartbeat_timeout_detection_interval": 2,
    },
    "triggerer": {"triggerer_health_check_threshold": 6},
    "workers": {"min_heartbeat_interval": 2},
}
"""How soon a dead component is noticed and replaced. Airflow's defaults are in docs/crashes.md."""
POLL_INTERVAL = 0.1  # seconds
PATIENCE = 180.0  # seconds that Airflow has to do what is waited for
RESTART_AFTER = 3.0  # seconds after which a component that ended by itself is started again


class Supervisor:
    """Restarts components, as systemd does, and waits for conditions.

    Args:
        airflow: The Airflow.
        ledger: What its database has.
        random: Draws what is random.
    """

    def __init__(self, airflow: AirflowInstance, ledger: Ledger, random: Random) -> None:
        self.airflow = airflow
        self.ledger = ledger
        self.random = random
        self.ended_by_themselves: Counter[str] = Counter()
        self.events: list[str] = []
        """What happened, and when, for the report of a failure."""
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

        What the crash left of it is ended first, as systemd does. Otherwise a wait may hang: see
        docs/crashes.md on a scheduler whose workers outlive it.
        """
        send(signal.SIGKILL, self._left_behind.pop(name, []))
        self._killed.discard(name)
        self.airflow.start(name, component_of(name))
        self.note(f"{name} is started")

    def tend(self) -> None:
        """Restart what ended by itself."""
        for name, child in list(self.airflow.family.children.items()):
            if component_of(name) not in COMPONENTS or name in self._killed or child.running:
                self._start_at.pop(name, None)
            elif name not in self._start_at:
                self.note(f"{name} ended by itself")
                self.ended_by_themselves[name] += 1
                self._start_at[name] = time.monotonic() + RESTART_AFTER
            elif time.monotonic() > self._start_at[name]:
                self.start(name)

    def start_job(self, name: str) -> int:
        """Start a component, wait until it works, and return its job id."""
        job_type = f"{component_of(name).title()}Job"
        before = self.ledger.newest_job(job_type)
        self.start(name)
        self.until(lambda: self.ledger.newest_job(job_type) > before, f"{name} works")
        return self.ledger.newest_job(job_type)

    def kill_worker(self, task: RunningTask) -> bool:
        """Crash a task's process, alone or with the worker that supervises it; return whether it ran."""
        try:
            process = psutil.Process(task.pid)
            worker = process.parent()
            with_worker = worker is not None and self.random.random() < 0.5
            victims = [worker, process] if worker is not None and with_worker else [process]
            if not all(victim.environ().get(MARK) == self.airflow.family.mark for victim in victims):
                return False  # It has ended, and its id was reused.
            for victim in victims:
                victim.kill()
        except psutil.NoSuchProcess:
            return False
        self.note(f"{task} crashes{' with its worker' * with_worker}")
        return True

    # --- Time ---

    def pause(self, least: float, most: float) -> None:
        """Wait for a random time, in seconds."""
        self.pause_until(time.monotonic() + self.random.uniform(least, most))

    def pause_until(self, moment: float) -> None:
        """Wait until a moment of the monotonic clock."""
        while time.monotonic() < moment:
            self.tend()
            time.sleep(POLL_INTERVAL)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds; ``TimeoutError`` if it doesn't."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.tend()
            if time.monotonic() > deadline:
                events = "\n".join(self.events)
                raise TimeoutError(f"Waited {PATIENCE:.0f} s for this: {what}. What happened:\n{events}")
            time.sleep(POLL_INTERVAL)


def now() -> datetime:
    """Return the current time, as Airflow writes it."""
    return datetime.now(timezone.utc)


def component_of(name: str) -> str:
    """Return which component it is: ``triggerer`` for ``triggerer-2``."""
    return re.sub(r"-\d+$", "", name)
