"""What depends on the version of Airflow and isn't in ``common.compat``: all of it is in this file."""

from __future__ import annotations

import contextlib
import importlib
from datetime import datetime, timedelta
from typing import Any

try:
    from airflow.providers.common.compat.sdk import Stats
except ImportError:  # an older common.compat, which comes with an older Airflow
    from airflow.stats import Stats

stats: Any = Stats
"""Airflow's metrics."""

TRIGGER_FAILED = "__fail__"
"""The method name by which Airflow resumes a task whose trigger failed or timed out."""

TRIGGER_TIMEOUTS = ("Trigger timeout", "Trigger/execution timeout")
"""The reason that Airflow gives when a trigger timed out; the second one is Airflow 2.11's."""


def triggers_can_run_tasks() -> bool:
    """Whether a trigger can do a worker's part: render templates, read and write XComs (Airflow 3.3 on)."""
    from airflow.triggers.base import BaseTrigger  # not at DAG parse, unless a task asks

    return hasattr(BaseTrigger, "render_template_fields")  # All of that came with the same release.


def due_date(dag_run: Any) -> datetime | None:
    """Return when a DAG run was due: its ``run_after`` (Airflow 3), or the end of its data interval (2)."""
    due = getattr(dag_run, "run_after", None) or getattr(dag_run, "data_interval_end", None)
    return due if isinstance(due, datetime) else None


def task_state_store(context: Any) -> Any:
    """Return what Airflow keeps for this task between its tries (3.3 on); ``None`` on an older one."""
    return context.get("task_state_store")


def task_state_retention() -> timedelta:
    """Return the retention with which the task's state never expires (3.3 on)."""
    from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # its stub lacks it

    retention: timedelta = NEVER_EXPIRE
    return retention


def mask_secret(secret: str) -> None:
    """Mask a secret in Airflow's logs. Airflow has moved the function twice."""
    for module in ("airflow.sdk.log", "airflow.sdk.execution_time.secrets_masker"):
        with contextlib.suppress(ImportError, AttributeError):
            importlib.import_module(module).mask_secret(secret)
            return
    importlib.import_module("airflow.utils.log.secrets_masker").mask_secret(secret)
