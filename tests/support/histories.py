"""Calls and task instances for the rules of placing: what was placed before, without network and clock."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_telzino.rules.attempts import Attach, Dial, RedialRules, Step, WaitUntil, next_step
from airflow_provider_telzino.rules.identity import History, TaskRun

NOW = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)
NUMBER, OTHER_NUMBER = "+18135551234", "+18135559999"
TASK = {"dag_id": "d", "run_id": "r", "task_id": "t"}
FIRST_ROUND, AFTER_CLEAR = 2, 5
"""Generations: the task's ``max_tries`` before and after a clear."""

OUTCOMES = ("completed", "no_answer", "busy", "failed")
UNREACHED = ("no_answer", "busy")


def minutes(count: float) -> datetime:
    """Return a time: so many minutes after ``NOW``."""
    return NOW + timedelta(minutes=count)


def task_run(map_index: int = -1, **fields: Any) -> TaskRun:
    """Return a retry of a task that was never cleared."""
    defaults: dict[str, Any] = {
        "identity": {**TASK, "map_index": map_index},
        "since": minutes(-600),
        "is_first": False,
        "generation": FIRST_ROUND,
        "was_cleared": False,
    }
    return TaskRun(**(defaults | fields))


def cleared(map_index: int = -1, **fields: Any) -> TaskRun:
    """Return a task that was cleared after its first round, and has started again now."""
    return task_run(
        map_index, **({"generation": AFTER_CLEAR, "was_cleared": True, "started": minutes(-0.1)} | fields)
    )


def call(
    name: str,
    status: str = "completed",
    *,
    at: float = -60,
    ended: float | None = None,
    map_index: int = -1,
    generation: int = FIRST_ROUND,
    attempt: int = 1,
    **fields: Any,
) -> dict[str, Any]:
    """Return the record of a call that a task has placed.

    Args:
        name: Its id.
        status: Its status. A documented terminal one has an ``ended_at``.
        at: When it was placed, in minutes from ``NOW``.
        ended: When it ended, likewise; half a minute later if it has ended at all.
        map_index: Of the task that has placed it, as for the next two.
        generation: Same.
        attempt: Same.
        fields: Fields of the record that differ.
    """
    is_over = status in ("completed", "no_answer", "busy", "failed")
    end = at + 0.5 if ended is None and is_over else ended
    identity = {**TASK, "map_index": map_index, "generation": generation, "attempt": attempt}
    return {
        "id": name,
        "status": status,
        "to_number": NUMBER,
        "created_at": minutes(at).isoformat(),
        "ended_at": None if end is None else minutes(end).isoformat(),
        "request_metadata": {"airflow": identity},
        **fields,
    }


def rules(
    redial_on: Any = UNREACHED,
    max_attempts: Any = 3,
    redial_delay: Any = timedelta(minutes=30),
    *,
    fail_on: tuple[str, ...] = ("failed",),
    reattach: bool = True,
) -> RedialRules:
    """Return checked rules."""
    return RedialRules.checked(redial_on, max_attempts, redial_delay, fail_on=fail_on, reattach=reattach)


def step_after(
    calls: list[dict[str, Any]],
    run: TaskRun,
    given: RedialRules | None = None,
    *,
    to_number: str = NUMBER,
    now: datetime = NOW,
) -> Step:
    """Decide what follows from calls."""
    return next_step(History.of(calls, run, to_number), run, given or rules(), now)


def brief(step: Step) -> tuple[Any, ...]:
    """Return a step without its reason."""
    if isinstance(step, Dial):
        return ("dial", step.attempt)
    if isinstance(step, WaitUntil):
        return ("wait until", step.moment)
    return ("attach" if isinstance(step, Attach) else "done", step.call["id"])
