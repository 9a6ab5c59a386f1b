"""Checks of a task's arguments when its DAG is parsed, so that a mistake is an import error of the DAG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.api.arguments import naming_the_task
from airflow_provider_telzino.version_compat import is_unmapped_copy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator
else:
    BaseOperator = object  # a mixin, as `OutcomeTask`


class ParseChecks(BaseOperator):
    """A task whose literal arguments are checked when its DAG is parsed. A mixin of all tasks.

    Templates, and what a mapped task is expanded over, are known only when the task runs, and checked then.
    """

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals.

        Args:
            given: The arguments by name, not necessarily all of them.

        Raises:
            TelzinoConfigurationError: An argument is invalid. The message names it.
        """
        raise NotImplementedError

    @classmethod
    def partial(cls, *, task_id: str, **kwargs: Any) -> Any:
        """Begin a mapped task as Airflow does, but check its arguments now.

        Airflow creates the tasks only when they run, so ``__init__`` would find a mistake only then.
        """
        # Before Airflow's own part: an error after it would add a warning that the task was never expanded.
        with naming_the_task(task_id):
            cls.check_arguments(kwargs)
        return super().partial(task_id=task_id, **kwargs)

    def check_template_fields(self) -> None:
        """Check those template fields that are literals. To be called by ``__init__``, which checks the rest.

        Raises:
            TelzinoConfigurationError: An argument is invalid. The message names it and the task.
        """
        # The arguments of a mapped task's copy come from a running DAG: `execute` checks them.
        if is_unmapped_copy(self):
            return
        # A subclass may have fields that it sets later.
        given = {name: getattr(self, name) for name in self.template_fields if hasattr(self, name)}
        with naming_the_task(self.task_id):
            self.check_arguments(given)
