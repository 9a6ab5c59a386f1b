"""Reads from Airflow's context what placing a call needs to know about the task instance."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from airflow_provider_telzino.rules.dialling import CLOCK_MARGIN, TaskRun
from airflow_provider_telzino.version_compat import due_date


def read_task_run(context: Mapping[str, Any]) -> TaskRun:
    """Read the task instance and its DAG run."""
    ti, dag_run = context["ti"], context.get("dag_run")
    map_index = getattr(ti, "map_index", None)
    try_number, max_tries = getattr(ti, "try_number", None), getattr(ti, "max_tries", None)
    retries = getattr(getattr(ti, "task", None), "retries", None)
    run_was_cleared = dag_run is None or bool(getattr(dag_run, "clear_number", None))
    return TaskRun(
        identity={
            "dag_id": ti.dag_id,
            "run_id": ti.run_id,
            "task_id": ti.task_id,
            "map_index": -1 if map_index is None else map_index,
        },
        since=_earliest_start(dag_run),
        # The try number grows whenever Airflow schedules the task again, for whatever reason. A deferred task
        # that resumes keeps it, but a resumed task does not dial.
        is_first=try_number == 1 and not run_was_cleared,
        # A clear sets `max_tries` to the tries so far plus the task's retries. Nothing else changes it, not
        # even an edit of the task's `retries`.
        generation=max_tries,
        # `clear_number` does not count a clear that leaves the DAG run's own state alone.
        was_cleared=run_was_cleared or max_tries is None or retries is None or max_tries > retries,
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
