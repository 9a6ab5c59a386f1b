"""Tasks that begin or end in the triggerer: what is settled when the DAG is parsed.

Airflow can do it from 3.3 on. Elsewhere such a task runs the ordinary way, and says so in its log.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.providers.common.compat.sdk import XComArg

from airflow_provider_telzino.exceptions import TelzinoConfigurationError

if TYPE_CHECKING:
    from airflow.triggers.base import StartTriggerArgs

    from airflow_provider_telzino.operators.waiting import CallWaiter

START_TRIGGER = "airflow_provider_telzino.triggers.start.TelzinoCallStartTrigger"
NEEDS = "needs Airflow 3.3"


def airflow_can() -> bool:
    """Whether a trigger of this Airflow can do what a worker does: render templates, read and write XComs."""
    from airflow.triggers.base import BaseTrigger  # not at DAG parse, unless a task asks

    return hasattr(BaseTrigger, "render_template_fields")  # All of that came with the same release.


def start_arguments(task: CallWaiter, longest: timedelta, end: Mapping[str, Any] | None) -> StartTriggerArgs:
    """Make what Airflow needs to start a task in the triggerer.

    Args:
        task: The task.
        longest: How long Airflow lets the trigger run.
        end: How the task ends in the triggerer, if it does.

    Raises:
        TelzinoConfigurationError: An argument is given in a way that a trigger can't read.
    """
    from airflow.triggers.base import StartTriggerArgs

    literals: dict[str, Any] = {}
    outputs: dict[str, list[str]] = {}
    for name in ("call_id", "agent_id", "telzino_conn_id"):
        value = getattr(task, name)
        if isinstance(value, XComArg) and isinstance(key := getattr(value, "key", None), str):
            outputs[name] = [value.roots[0].task_id, key]
            literals[name] = None
        elif _is_readable(value):
            literals[name] = _kept(value)
        else:
            raise TelzinoConfigurationError(
                f"`{name}` of task {task.task_id} takes an XCom by a template, or from a changed or nested "
                "output, which a task with `start_from_trigger` can't. Give the output itself: "
                f'`{name}=place.output` or `{name}=place.output["key"]`, or leave out `start_from_trigger`.'
            )
    airflow_timeout = min(longest, task.execution_timeout or longest)
    return StartTriggerArgs(
        trigger_cls=START_TRIGGER,
        trigger_kwargs={
            **literals,
            "outputs": outputs,
            "poll_interval": task.wait_interval,
            "timeout": task.wait_timeout,
            "airflow_timeout": airflow_timeout.total_seconds(),
            "end": end,
        },
        next_method="execute_complete",
        timeout=longest,
    )


def is_mapped_over(task: Any) -> bool:
    """Whether a mapped task reads the output: Airflow must know its length, which a trigger can't say."""
    return task.get_dag() is not None and next(task.iter_mapped_dependants(), None) is not None


def warn_of_what_is_left_out(task: CallWaiter) -> None:
    """Warn of what the task asks for, but Airflow doesn't do when a task ends in the triggerer."""
    left_out = [name for name in ("outlets", "on_success_callback") if getattr(task, name)]
    if left_out:
        warnings.warn(
            f"Task {task.task_id} has `{'` and `'.join(left_out)}`, which Airflow leaves out when a task "
            "ends in the triggerer. Leave out `end_from_trigger` if they matter.",
            stacklevel=2,
        )


def _kept(value: Any) -> Any:
    """Return what the trigger needs of a literal: of a record only the ids, since Airflow stores it all."""
    if isinstance(value, Mapping):
        return {name: _kept(value[name]) for name in ("id", "agent_id") if name in value}
    return str(value) if isinstance(value, UUID) else value


def _is_readable(value: Any) -> bool:
    """Whether a trigger can make an argument of it: text, but for what pulls XComs, also within a record."""
    if isinstance(value, Mapping):
        return all(_is_readable(each) for each in value.values())
    if isinstance(value, str):
        return "xcom_pull" not in value
    return value is None or isinstance(value, (UUID, int, float, list))
