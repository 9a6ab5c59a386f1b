"""Reads from Airflow's context what placing a call needs to know about the task instance."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from airflow_provider_telzino.rules.identity import LOOP_INDEX, MAP_INDEX, TaskRun
from airflow_provider_telzino.rules.search import CLOCK_MARGIN
from airflow_provider_telzino.version_compat import due_date, loop_index


def read_task_run(context: Mapping[str, Any]) -> TaskRun:
    """Read the task instance and its DAG run."""
    ti, dag_run = context["ti"], context.get("dag_run")
    map_index = getattr(ti, "map_index", None)
    map_index = -1 if map_index is None else map_index
    try_number, max_tries = getattr(ti, "try_number", None), getattr(ti, "max_tries", None)
    retries = getattr(getattr(ti, "task", None), "retries", None)
    iteration = loop_index(context)
    run_was_cleared = dag_run is None or bool(getattr(dag_run, "clear_number", None))
    return TaskRun(
        identity={
            "dag_id": ti.dag_id,
            "run_id": ti.run_id,
            "task_id": ti.task_id,
            MAP_INDEX: map_index,
            **({} if iteration is None else {LOOP_INDEX: iteration}),
        },
        since=_earliest_start(dag_run),
        # The try number grows whenever Airflow schedules the task again. A deferred task that resumes keeps
        # it, and `CallPlacer` knows that it resumes.
        is_first=try_number == 1 and not run_was_cleared,
        # A clear sets `max_tries` to the tries so far plus the task's retries. Nothing else changes it, not
        # even an edit of the task's `retries`. A clear of a loop may replace an iteration, in another region.
        generation=max_tries if iteration is None else f"{max_tries} in {ti.region_id}",
        # `clear_number` does not count a clear that leaves the DAG run's own state alone.
        was_cleared=run_was_cleared or max_tries is None or retries is None or max_tries > retries,
        # Of a retry, Airflow's id is younger than the task instance, unless the first try has stored its age.
        expanded_at=_created_at(ti.id) if map_index >= 0 and hasattr(ti, "id") else None,
    )


def _earliest_start(dag_run: Any) -> datetime | None:
    """Return the earliest time at which the run may have started.

    Its ``start_date`` alone is not enough, since a clear resets it.
    """
    due = due_date(dag_run)
    if due is None or due > datetime.now(timezone.utc):
        return None  # Airflow 2 can be configured to run DAG runs that are not due yet.
    started = getattr(dag_run, "start_date", None)  # before the due date, if the run was not due then
    return min(due, started if isinstance(started, datetime) else due) - CLOCK_MARGIN


def _created_at(task_instance_id: object) -> datetime | None:
    """Return when Airflow made a task instance: from 3.0 its id is a UUID of version 7, which says so."""
    try:
        made = UUID(str(task_instance_id))
    except ValueError:
        return None
    return datetime.fromtimestamp((made.int >> 80) / 1000, timezone.utc) if made.version == 7 else None
