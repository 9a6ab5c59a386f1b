"""Tasks that begin or end in the triggerer: what is decided when the DAG is parsed, or at a worker's start.

Airflow supports it from 3.3. On an older one such a task runs the ordinary way, and logs that it does.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.providers.common.compat.sdk import XComArg

from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.rules.waiting import longest_deferral
from airflow_provider_telzino.version_compat import (
    is_unmapped_copy,
    returns_dag_result,
    triggers_can_run_tasks,
)
from airflow_provider_telzino.waiting.outcome_task import OutcomeTask
from airflow_provider_telzino.xcom import TaskEnd, delete_earlier_xcoms

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import StartTriggerArgs

START_TRIGGER = "airflow_provider_telzino.triggers.start.TelzinoCallStartTrigger"
WARNING_LEVEL = (
    4  # frames from a warning to the DAG file: this module, the task's __init__, Airflow's around it
)


class StartArguments:
    """What Airflow needs to start a task in the triggerer: ``None`` for a task that starts on a worker.

    Computed whenever Airflow reads it, since a DAG may change a task after its creation. Of mapped tasks,
    which start on a worker, Airflow reads it from the class.
    """

    def __get__(self, task: TriggererTask | None, kind: type[TriggererTask]) -> StartTriggerArgs | None:
        return None if task is None or not task.start_from_trigger else _start_arguments(task)


def _start_arguments(task: TriggererTask) -> StartTriggerArgs:
    from airflow.triggers.base import StartTriggerArgs

    longest = longest_deferral(task.wait_timeout, task.wait_interval)
    airflow_timeout = min(longest, task.execution_timeout or longest)
    return StartTriggerArgs(
        trigger_cls=START_TRIGGER,
        trigger_kwargs={
            **readable_arguments(task),
            "poll_interval": task.wait_interval,
            "timeout": task.wait_timeout,
            "airflow_timeout": airflow_timeout.total_seconds(),
            "end": task.task_end(),
        },
        next_method="execute_complete",
        timeout=longest,
    )


def readable_arguments(task: TriggererTask) -> dict[str, Any]:
    """Return a task's arguments in a form that a trigger can read: literals, and the outputs of other tasks.

    Raises:
        TelzinoArgumentError: An argument is given in a way that a trigger can't read.
    """
    literals: dict[str, Any] = {}
    outputs: dict[str, list[str]] = {}
    for name in ("call_id", "agent_id", "telzino_conn_id"):
        value = getattr(task, name)
        if _is_plain_output(value):
            outputs[name] = [value.operator.task_id, value.key]
            literals[name] = None
            continue
        literals[name] = _without_personal_data(value)
        if _uses_an_xcom(literals[name]):
            raise TelzinoArgumentError(
                f"`{name}` of task {task.task_id} uses an XCom in a template, or a changed, nested or mapped "
                "output, which a task with `start_from_trigger` can't read. Give the output itself: "
                f'`{name}=place.output` or `{name}=place.output["key"]`, or leave out `start_from_trigger`.'
            )
        if not _is_text(literals[name]):
            raise TelzinoArgumentError(
                f"`{name}` of task {task.task_id} is of type {type(value).__name__}, which a task with "
                "`start_from_trigger` can't read. Give text, or a template such as `{{ params.NAME }}`."
            )
    return {**literals, "outputs": outputs}


class TriggererTask(OutcomeTask):
    """A task that may begin and end in the triggerer. A mixin of all that wait for a call."""

    end_from_trigger = False
    wants_start_from_trigger = False
    can_start_in_triggerer = True
    start_trigger_args = StartArguments()

    @property
    def defers(self) -> bool:
        """Whether the task waits in the triggerer."""
        raise NotImplementedError

    def use_triggerer(self) -> None:
        """Decide how much of the task runs in the triggerer. To be called at the end of ``__init__``.

        Raises:
            TelzinoArgumentError: An argument is given in a way that a trigger can't read.
        """
        self.end_from_trigger = self.end_from_trigger and self.defers
        self.wants_start_from_trigger = self.wants_start_from_trigger and self.defers
        if is_unmapped_copy(self):  # it runs on a worker already
            return
        if self._ends_in_triggerer() and (warning := omitted_at_end(self)):
            warnings.warn(warning, stacklevel=WARNING_LEVEL)
        may_start = self.wants_start_from_trigger and self.can_start_in_triggerer
        if may_start and self.get_closest_mapped_task_group() is None:
            readable_arguments(self)  # on any Airflow, so that an upgrade breaks no DAG
            self.start_from_trigger = triggers_can_run_tasks()

    def log_what_needs_a_worker(self) -> None:
        """Log, at the task's start on a worker, what of it can't run in the triggerer as requested."""
        for flag, wanted in (
            ("start_from_trigger", self.wants_start_from_trigger),
            ("end_from_trigger", self.end_from_trigger),
        ):
            if wanted and not triggers_can_run_tasks():
                self.log.info("`%s` needs Airflow 3.3: a worker does it.", flag)
        if self.wants_start_from_trigger and triggers_can_run_tasks():
            self.log.info(
                "`start_from_trigger` does not apply to mapped tasks, to placing a call, nor under "
                "`dag.test()`: a worker starts."
            )
        # Airflow doesn't create a mapped task when it parses the DAG, so it could not warn then.
        if is_unmapped_copy(self) and self._ends_in_triggerer() and (warning := omitted_at_end(self)):
            self.log.warning("%s", warning)

    def task_end(self) -> dict[str, Any] | None:
        """Return how the trigger ends the task; ``None`` if a worker has to end it."""
        if not self._ends_in_triggerer() or (not is_unmapped_copy(self) and is_mapped_over(self)):
            return None
        return TaskEnd(
            self.policy,
            do_xcom_push=bool(self.do_xcom_push),
            multiple_outputs=bool(self.multiple_outputs),
            is_dag_result=returns_dag_result(self),
        ).to_json()

    def delete_earlier_xcoms(self, context: Context) -> None:
        """Delete what an earlier try has pushed. Airflow does so itself when a task starts on a worker."""
        try:
            delete_earlier_xcoms(context["ti"], keys=self.multiple_outputs)
        # An XCom backend may raise anything; and old values are no reason to lose the new one.
        except Exception as error:
            self.log.warning("The XComs of an earlier try could not be deleted (%s).", type(error).__name__)

    def _ends_in_triggerer(self) -> bool:
        return self.end_from_trigger and triggers_can_run_tasks()


def is_mapped_over(task: Any) -> bool:
    """Whether a mapped task reads the output: Airflow must know its length, which a trigger can't report."""
    return task.get_dag() is not None and next(task.iter_mapped_dependants(), None) is not None


def omitted_at_end(task: TriggererTask) -> str | None:
    """Describe what the task has, but Airflow omits when a task ends in the triggerer."""
    names = [name for name in ("outlets", "on_success_callback") if getattr(task, name)]
    if not names:
        return None
    return (
        f"Task {task.task_id} has `{'` and `'.join(names)}`, which Airflow omits when a task ends in the "
        "triggerer. Leave out `end_from_trigger` if they matter."
    )


def _is_plain_output(value: Any) -> bool:
    """Whether an argument is one XCom of one task: its output, or ``output["key"]``."""
    is_plain = isinstance(value, XComArg) and isinstance(getattr(value, "key", None), str)
    return is_plain and not hasattr(value.operator, "partial_kwargs")  # which mapped tasks have


def _without_personal_data(value: Any) -> Any:
    """Return what the trigger needs of a literal: of a record only the ids, since Airflow stores it all."""
    if isinstance(value, Mapping):
        return {name: _without_personal_data(value[name]) for name in ("id", "agent_id") if name in value}
    return str(value) if isinstance(value, UUID) else value


def _uses_an_xcom(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_uses_an_xcom, value.values()))
    return isinstance(value, XComArg) or (isinstance(value, str) and "xcom_pull" in value)


def _is_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_text, value.values()))
    return value is None or isinstance(value, str)
