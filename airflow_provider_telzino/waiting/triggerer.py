"""Tasks that begin or end in the triggerer: what is settled when the DAG is parsed.

Airflow can do it from 3.3 on. Elsewhere such a task runs the ordinary way, and says so in its log.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.providers.common.compat.sdk import XComArg

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.rules.waiting import OutcomePolicy, longest_deferral
from airflow_provider_telzino.version_compat import triggers_can_run_tasks
from airflow_provider_telzino.xcom import TaskEnd, forget_earlier_xcoms

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context
    from airflow.triggers.base import StartTriggerArgs
else:
    # A mixin: Airflow's metaclass would give a subclass of BaseOperator an __init__ that hides the sensor's.
    BaseOperator = object

START_TRIGGER = "airflow_provider_telzino.triggers.start.TelzinoCallStartTrigger"
NEEDS = "needs Airflow 3.3"


class StartArguments:
    """What Airflow needs to start a task in the triggerer: ``None`` for a task that starts on a worker.

    It is made whenever Airflow asks, since a DAG may change a task after it was made. Mapped tasks, which
    start on a worker, ask the class.
    """

    def __get__(self, task: TriggererUser | None, kind: type[TriggererUser]) -> StartTriggerArgs | None:
        return None if task is None or not task.start_from_trigger else _start_arguments(task)


def _start_arguments(task: TriggererUser) -> StartTriggerArgs:
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


def readable_arguments(task: TriggererUser) -> dict[str, Any]:
    """Return a task's arguments as a trigger can read them: as they are, or whose output they are.

    Raises:
        TelzinoConfigurationError: An argument is given in a way that a trigger can't read.
    """
    literals: dict[str, Any] = {}
    outputs: dict[str, list[str]] = {}
    for name in ("call_id", "agent_id", "telzino_conn_id"):
        value = getattr(task, name)
        if _is_plain_output(value):
            outputs[name] = [value.operator.task_id, value.key]
            literals[name] = None
            continue
        literals[name] = _kept(value)
        if _takes_an_xcom(literals[name]):
            raise TelzinoConfigurationError(
                f"`{name}` of task {task.task_id} takes an XCom by a template, or from a changed, nested or "
                "mapped output, which a task with `start_from_trigger` can't. Give the output itself: "
                f'`{name}=place.output` or `{name}=place.output["key"]`, or leave out `start_from_trigger`.'
            )
        if not _is_text(literals[name]):
            raise TelzinoConfigurationError(
                f"`{name}` of task {task.task_id} is of type {type(value).__name__}, which a task with "
                "`start_from_trigger` can't take. Give text, or a template such as `{{ params.NAME }}`."
            )
    return {**literals, "outputs": outputs}


class TriggererUser(BaseOperator):
    """A task that may begin and end in the triggerer. What waits for a call mixes it in."""

    policy: OutcomePolicy
    end_from_trigger = False
    wants_start_from_trigger = False
    can_start_in_triggerer = True
    start_trigger_args = StartArguments()

    @property
    def wait_interval(self) -> float:
        """Seconds between two looks."""
        raise NotImplementedError

    @property
    def wait_timeout(self) -> float:
        """Seconds until the wait gives up."""
        raise NotImplementedError

    @property
    def defers(self) -> bool:
        """Whether the task waits in the triggerer."""
        raise NotImplementedError

    def use_triggerer(self) -> None:
        """Settle, last of all in ``__init__``, how much of the task runs in the triggerer.

        Raises:
            TelzinoConfigurationError: An argument is given in a way that a trigger can't read.
        """
        self.end_from_trigger = self.end_from_trigger and self.defers
        self.wants_start_from_trigger = self.wants_start_from_trigger and self.defers
        # The copies that a worker makes of a mapped task: they are no tasks that could start otherwise.
        self._is_mapped_copy = getattr(self, "_BaseOperator__from_mapped", False)
        if self._is_mapped_copy:
            return
        if self._ends_in_triggerer() and (what := left_out(self)):
            warnings.warn(what, stacklevel=2)
        may_start = self.wants_start_from_trigger and self.can_start_in_triggerer
        if may_start and self.get_closest_mapped_task_group() is None:
            readable_arguments(self)  # on any Airflow, so that a DAG doesn't break by an upgrade
            self.start_from_trigger = triggers_can_run_tasks()

    def tell_what_needs_a_worker(self) -> None:
        """Log, at the task's start on a worker, which wish for the triggerer isn't granted."""
        for flag, wanted in (
            ("start_from_trigger", self.wants_start_from_trigger),
            ("end_from_trigger", self.end_from_trigger),
        ):
            if wanted and not triggers_can_run_tasks():
                self.log.info("`%s` %s: a worker does it.", flag, NEEDS)
        if self.wants_start_from_trigger and triggers_can_run_tasks():
            self.log.info(
                "`start_from_trigger` is not for mapped tasks, for placing a call, nor under `dag.test()`: a "
                "worker starts."
            )
        # Airflow doesn't make a mapped task when it parses the DAG: it could not be warned of there.
        if self._is_mapped_copy and self._ends_in_triggerer() and (what := left_out(self)):
            self.log.warning("%s", what)

    def task_end(self) -> dict[str, Any] | None:
        """Say how the trigger ends the task; ``None`` if a worker has to."""
        if not self._ends_in_triggerer() or (not self._is_mapped_copy and is_mapped_over(self)):
            return None
        return TaskEnd(
            self.policy,
            do_xcom_push=bool(self.do_xcom_push),
            multiple_outputs=bool(self.multiple_outputs),
            is_dag_result=bool(getattr(self, "returns_dag_result", False)),
        ).to_json()

    def _ends_in_triggerer(self) -> bool:
        return self.end_from_trigger and triggers_can_run_tasks()

    def _forget_earlier_run(self, context: Context) -> None:
        """Delete what a run before a clear has pushed. Airflow does so when a task starts on a worker."""
        try:
            forget_earlier_xcoms(context["ti"], keys=self.multiple_outputs)
        # An XCom backend may raise anything; old values are no reason to lose the new one.
        except Exception as error:
            self.log.warning("An earlier run's XComs could not be deleted (%s).", type(error).__name__)


def is_mapped_over(task: Any) -> bool:
    """Whether a mapped task reads the output: Airflow must know its length, which a trigger can't say."""
    return task.get_dag() is not None and next(task.iter_mapped_dependants(), None) is not None


def left_out(task: TriggererUser) -> str | None:
    """Say what the task asks for, but Airflow doesn't do when a task ends in the triggerer."""
    names = [name for name in ("outlets", "on_success_callback") if getattr(task, name)]
    if not names:
        return None
    return (
        f"Task {task.task_id} has `{'` and `'.join(names)}`, which Airflow leaves out when a task ends in "
        "the triggerer. Leave out `end_from_trigger` if they matter."
    )


def _is_plain_output(value: Any) -> bool:
    """Whether an argument is one XCom of one task: its output, or ``output["key"]``."""
    is_plain = isinstance(value, XComArg) and isinstance(getattr(value, "key", None), str)
    return is_plain and not hasattr(value.operator, "partial_kwargs")  # which mapped tasks have


def _kept(value: Any) -> Any:
    """Return what the trigger needs of a literal: of a record only the ids, since Airflow stores it all."""
    if isinstance(value, Mapping):
        return {name: _kept(value[name]) for name in ("id", "agent_id") if name in value}
    return str(value) if isinstance(value, UUID) else value


def _takes_an_xcom(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_takes_an_xcom, value.values()))
    return isinstance(value, XComArg) or (isinstance(value, str) and "xcom_pull" in value)


def _is_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_text, value.values()))
    return value is None or isinstance(value, str)
