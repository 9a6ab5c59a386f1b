"""Run a task that places a call as Airflow does, try after try, but in this process."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator
from tests.support.waits import Run, TaskInstance

IDENTITY = {"dag_id": "campaign", "run_id": "manual__1", "task_id": "place", "map_index": -1}


@dataclass
class PlacingTaskInstance(TaskInstance):
    """A task instance with its identity and its try number."""

    dag_id: str = IDENTITY["dag_id"]  # type: ignore[assignment]
    run_id: str = IDENTITY["run_id"]  # type: ignore[assignment]
    task_id: str = IDENTITY["task_id"]  # type: ignore[assignment]
    map_index: int | None = -1
    try_number: int = 1
    max_tries: int = 0
    task: Any = None
    id: str = "0190163d-8694-739b-aea5-966c26f8ad91"  # of version 7, as Airflow 3's, but of June 2024


def has_task_state() -> bool:
    """Whether this Airflow has a task state (3.3 on)."""
    try:
        return hasattr(importlib.import_module("airflow.sdk"), "NEVER_EXPIRE")
    except ModuleNotFoundError:
        return False


NEEDS_TASK_STATE = pytest.mark.skipif(not has_task_state(), reason="this Airflow has no task state")
STATES = pytest.mark.parametrize("state", [None, pytest.param("stored", marks=NEEDS_TASK_STATE)])
"""An Airflow without task state, and one with it."""


class TaskStateStore:
    """Airflow 3.3's task state: JSON that outlives a try. Integration tests use the real one."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}
        self.writes: list[tuple[str, timedelta | None]] = []
        self.broken = False
        self.unwritable: set[str] = set()
        """Keys that cannot be written."""
        self.superseded = False
        """Whether another process runs the task now."""

    def get(self, key: str) -> Any:
        """Read, or fail as Airflow does when its API is unavailable."""
        if self.broken:
            raise RuntimeError("API_SERVER_ERROR")
        if self.superseded:
            return None  # Airflow's client treats each 404 as a missing key.
        return json.loads(self.stored[key]) if key in self.stored else None

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """Write, or fail likewise, or because this process no longer runs the task."""
        if self.broken or self.superseded or key in self.unwritable:
            raise RuntimeError("API_SERVER_ERROR")
        self.stored[key] = json.dumps(value)
        self.writes.append((key, retention))


@dataclass
class TaskRuns:
    """All tries of one task in one DAG run: each is a new operator, as in a new process."""

    arguments: dict[str, Any]
    retries: int = 0
    state: TaskStateStore | None = None
    """Airflow's task state; ``None``: this Airflow has none."""
    map_index: int | None = -1
    due: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    """When the DAG run was due."""
    tries: int = 0
    clears: int = 0
    max_tries: int | None = None
    created: datetime | None = None
    """When Airflow created the task instance; ``None``: long ago."""

    def task(self) -> TelzinoPlaceCallOperator:
        """Create the operator, as each process does."""
        defaults: dict[str, Any] = {"task_id": "place", "poll_interval": 0.1, "timeout": 3_600}
        return TelzinoPlaceCallOperator(**(defaults | self.arguments), retries=self.retries)

    def next_try(self) -> PlacingRun:
        """Begin the task's next try."""
        self.tries += 1
        task = self.task()
        ti = PlacingTaskInstance(
            map_index=self.map_index,
            try_number=self.tries,
            max_tries=self.retries if self.max_tries is None else self.max_tries,
            task=task,
        )
        if self.created is not None:  # Airflow gives it another id for each retry
            ti.id = id_of(self.created if self.tries == 1 else datetime.now(timezone.utc))
        return PlacingRun(task, ti, runs=self)

    def same_try(self) -> PlacingRun:
        """Begin the same try again, as `RetryAction.RESCHEDULE` of Airflow 3.4 does."""
        self.tries -= 1
        return self.next_try()

    def clear(self) -> None:
        """Clear the task as Airflow does: the try number continues to grow."""
        self.clears += 1
        self.max_tries = self.tries + self.retries


def id_of(created: datetime) -> str:
    """Create the id of a task instance as Airflow 3 does: a UUID of version 7, which has the time."""
    milliseconds = int(created.timestamp() * 1_000)
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | 1))


@dataclass
class PlacingRun(Run):
    """One try."""

    runs: TaskRuns | None = None

    def step(self, name: str, **arguments: Any) -> Any:
        """Run one method of the task on a worker; a resumption has a process of its own."""
        assert self.runs is not None
        if name != "execute":
            self.task = self.runs.task()
            assert isinstance(self.ti, PlacingTaskInstance)
            self.ti.task = self.task
        return super().step(name, **arguments)

    @property
    def context(self) -> Any:
        """Airflow's context, as far as placing reads it."""
        assert self.runs is not None
        dag_run = SimpleNamespace(run_after=self.runs.due, clear_number=self.runs.clears)
        context = {"ti": self.ti, "dag_run": dag_run}
        return context if self.runs.state is None else context | {"task_state_store": self.runs.state}
