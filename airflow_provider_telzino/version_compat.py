"""What depends on the version of Airflow and isn't in ``common.compat``: all of it is in this file.

``tests/test_version_compat.py`` states for each supported version what these functions and constants give.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

try:
    from airflow.providers.common.compat.sdk import Stats
except ImportError:  # an older common.compat, which comes with an older Airflow
    from airflow.stats import Stats

try:
    from airflow.sdk.definitions._internal.mixins import ResolveMixin as ResolveMixin
except ImportError:  # Airflow 2
    from airflow.utils.mixins import ResolveMixin as ResolveMixin  # type: ignore[no-redef, import-not-found]

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

stats: Any = Stats
"""Airflow's metrics."""

TRIGGER_FAILED = "__fail__"
"""The method name by which Airflow resumes a task whose trigger has failed or was stopped at its timeout."""

TRIGGER_TIMEOUTS = ("Trigger timeout", "Trigger/execution timeout")
"""The reason that Airflow gives when it stopped a trigger at its timeout: in Airflow 3, and in 2.11."""


def is_trigger_timeout(next_kwargs: Mapping[str, Any] | None) -> bool:
    """Whether Airflow resumes a task by ``TRIGGER_FAILED`` because it stopped the trigger at its timeout."""
    return (next_kwargs or {}).get("error") in TRIGGER_TIMEOUTS


def triggers_can_run_tasks() -> bool:
    """Whether a trigger can begin and end a task: render templates, read and write XComs (from 3.3)."""
    from airflow.triggers.base import BaseTrigger  # not at DAG parse, unless a task asks

    return hasattr(BaseTrigger, "render_template_fields")  # All of that came with the same release.


def event_trigger_base() -> Any:
    """Return the base class of the triggers that an ``AssetWatcher`` takes.

    Airflow 2 has neither. There it is the base class of all triggers, so that the module can be imported.
    """
    from airflow.triggers import base  # not at DAG parse, unless a watcher asks

    return getattr(base, "BaseEventTrigger", base.BaseTrigger)


def asset_state_stores(trigger: Any) -> list[Any]:
    """Return what Airflow keeps for each asset that a trigger watches (from 3.3); empty on an older one.

    A trigger that several assets have belongs to all of them. Airflow lists them nowhere in public.
    """
    accessors = getattr(trigger, "asset_state_store", None)
    return [] if accessors is None else list(accessors._by_name.values())


def due_date(dag_run: Any) -> datetime | None:
    """Return when a DAG run was due: its ``run_after`` (Airflow 3), or the end of its data interval (2)."""
    due = getattr(dag_run, "run_after", None) or getattr(dag_run, "data_interval_end", None)
    return due if isinstance(due, datetime) else None


def is_unmapped_copy(task: Any) -> bool:
    """Whether a task is the copy that a worker makes of a mapped one. Airflow keeps that in private."""
    return bool(getattr(task, "_BaseOperator__from_mapped", False))


def was_given(task: Any, argument: str) -> bool:
    """Whether a task was given an argument, even if as ``None``. Airflow keeps that in private."""
    return argument in getattr(task, "_BaseOperator__init_kwargs", {})


def share_api_of_dag_tests() -> None:
    """Let all tasks that ``dag.test()`` runs in this process share an API server, as from Airflow 3.3 on.

    Airflow 3.0 to 3.2 make another one for each run of a task, which takes seconds.
    """
    try:
        from airflow.sdk.execution_time import supervisor
    except ImportError:  # Airflow 2 has none
        return
    if not hasattr(supervisor.in_process_api_server, "cache_info"):
        supervisor.in_process_api_server = functools.lru_cache(maxsize=1)(supervisor.in_process_api_server)


def returns_dag_result(task: Any) -> bool:
    """Whether the DAG's own result is this task's output (from 3.3)."""
    return bool(getattr(task, "returns_dag_result", False))


def set_xcom(key: str, value: Any, *, is_dag_result: bool, **place: Any) -> None:
    """Write an XCom in a trigger, through the user's XCom backend (from 3.3)."""
    from airflow.providers.common.compat.sdk import XCom

    XCom.set(key, value, dag_result=is_dag_result, **place)


async def get_connection(conn_id: str) -> Connection:
    """Ask Airflow for a connection, in an event loop that must not block.

    ``dag.test()``, ``airflow dags test`` and ``airflow tasks test`` run a trigger in the task's own process,
    with a supervisor that answers synchronously only: from 3.1, Airflow's asynchronous function can't use it
    and reports each connection in the database as missing (seen on 3.3.2).
    """
    from airflow.providers.common.compat.connection import get_async_connection

    if not _has_synchronous_supervisor():
        return await get_async_connection(conn_id)
    from airflow.providers.common.compat.sdk import BaseHook
    from asgiref.sync import sync_to_async

    return await sync_to_async(BaseHook.get_connection)(conn_id)


def _has_synchronous_supervisor() -> bool:
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    supervisor = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return supervisor is not None and not hasattr(supervisor, "asend")


def loop_index(context: Mapping[str, Any]) -> int | None:
    """Return the iteration of the task loop that the task is in; ``None`` outside of loops, which 3.4 added.

    Not its ``region_id`` and ``region_index``: mapped tasks have a region, too, and the index of that is the
    map index.
    """
    loop = context.get("loop")
    return None if loop is None else int(loop.index)


def clears_delete_task_state(task_instance: Any) -> bool:
    """Whether this Airflow deletes the state of a task that is cleared, by default (from 3.4)."""
    return hasattr(task_instance, "region_id")  # It came with the same release.


def current_state(context: Any) -> str | None:
    """Ask Airflow for the state of the task that runs, which a person may have marked.

    Returns:
        ``None`` if it can't tell: in a task loop, the iterations have one name.
    """
    task_instance = context["ti"]
    if loop_index(context) is not None:
        return None
    if hasattr(task_instance, "get_task_states"):  # from 3.0 on
        states = task_instance.get_task_states(
            dag_id=task_instance.dag_id,
            map_index=task_instance.map_index,
            task_ids=[task_instance.task_id],
            run_ids=[task_instance.run_id],
        )
        return next(iter(states.get(task_instance.run_id, {}).values()), None)
    if hasattr(task_instance, "current_state"):
        state: str | None = task_instance.current_state()
        return state
    return None


def time_trigger(moment: datetime) -> Any:
    """Return Airflow's own trigger that fires at a moment. It moved to a provider with Airflow 3."""
    try:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger
    except ImportError:
        from airflow.triggers.temporal import DateTimeTrigger  # type: ignore[no-redef, import-not-found]
    return DateTimeTrigger(moment)


def task_state_store(context: Any) -> Any:
    """Return what Airflow keeps for this task between its tries (from 3.3); ``None`` on an older one."""
    return context.get("task_state_store")


def task_state_retention() -> timedelta:
    """Return the retention with which the task's state never expires (from 3.3)."""
    from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # its stub lacks it

    retention: timedelta = NEVER_EXPIRE
    return retention


def text_environment(task: Any) -> Any:
    """Return the Jinja environment of a task that renders text, also if its DAG renders native objects."""
    dag = task.get_dag()
    return dag.get_template_env(force_sandboxed=True) if dag else task.get_template_env()


def render_to_text(template: Any, context: Any) -> str:
    """Render a Jinja template as Airflow does: without evaluating what the template doesn't use."""
    try:
        from airflow.sdk.definitions.context import render_template_to_string
    except ImportError:  # Airflow 2.11 and 3.0
        from airflow.utils.helpers import render_template_to_string  # type: ignore[no-redef]
    text: str = render_template_to_string(template, context)
    return text


def named_in_context(function: Callable[..., Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """Return those parts of Airflow's context that the parameters of a DAG author's function name."""
    try:
        from airflow.providers.common.compat.sdk import determine_kwargs
    except ImportError:  # an older common.compat, which comes with an older Airflow
        from airflow.utils.operator_helpers import determine_kwargs  # type: ignore[attr-defined]
    return dict(determine_kwargs(function, (), context))


def mask_secret(secret: str) -> None:
    """Mask a secret in Airflow's logs. Airflow has moved the function twice."""
    for module in ("airflow.sdk.log", "airflow.sdk.execution_time.secrets_masker"):
        with contextlib.suppress(ImportError, AttributeError):
            importlib.import_module(module).mask_secret(secret)
            return
    importlib.import_module("airflow.utils.log.secrets_masker").mask_secret(secret)


def form_widgets(fields: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Create the connection form's widgets for the extra fields, for Airflow 2.11 to 3.1.

    From 3.2, Airflow draws the form from the provider info.
    """
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from wtforms import StringField

    return {
        name: StringField(each["label"], widget=BS3TextFieldWidget(), description=each["description"])
        for name, each in fields.items()
    }
