"""Sensors in Airflow's modes ``poke`` and ``reschedule``, which poll on a worker."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException

from airflow_provider_telzino.api.arguments import check_literals, naming_the_task
from airflow_provider_telzino.exceptions import TelzinoTimeoutError
from airflow_provider_telzino.rules.waiting import MIN_POLL_INTERVAL, flag, seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseSensorOperator, Context
else:
    BaseSensorOperator = object  # a mixin, as `OutcomeTask`

WARNING_LEVEL = (
    4  # frames from a warning to the DAG file: this module, the task's __init__, Airflow's around it
)


class PokingSensor(BaseSensorOperator):
    """A sensor that polls in Airflow's modes if it doesn't defer. A mixin of all sensors."""

    deferrable: bool
    retry_after = 0.0
    """Seconds that the API has asked to wait at the last poke."""

    def use_mode(self, mode: str | None, poke_interval: float | timedelta) -> None:
        """Check how the sensor polls. To be called by ``__init__``.

        Raises:
            TelzinoArgumentError: An argument is invalid. The message names it and the task.
        """
        with naming_the_task(self.task_id):
            # The minimum holds for Airflow's own modes, too: an interval of 0 would be a busy loop.
            self.poke_interval = max(seconds("poke_interval", poke_interval), MIN_POLL_INTERVAL)
            flag("soft_fail", self.soft_fail)
        if mode is not None and self.deferrable:
            warnings.warn(
                f"Task {self.task_id} has `mode={mode!r}`, which is ignored, since the task waits in the "
                f"triggerer. Add `deferrable=False` to wait in that mode, or leave out `mode`.",
                stacklevel=WARNING_LEVEL,
            )

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        super().check_arguments(given)  # type: ignore[misc]  # of `ParseChecks`
        check_literals(
            given,
            poke_interval=functools.partial(seconds, "poke_interval"),
            soft_fail=functools.partial(flag, "soft_fail"),
        )

    @property
    def defers(self) -> bool:
        """Whether the task waits in the triggerer."""
        return self.deferrable

    @property
    def wait_interval(self) -> float:
        """Seconds between two polls."""
        return float(self.poke_interval)

    def poke_until_done(self, context: Context, timed_out: Callable[[], TelzinoTimeoutError]) -> Any:
        """Poke in Airflow's mode.

        Args:
            context: Airflow's context.
            timed_out: Creates the error for a timeout, which says more than Airflow's.

        Returns:
            The value of the last poke.
        """
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            raise timed_out() from error
        except AirflowSkipException as skip:
            if skip.__cause__ is None:  # Airflow's own: soft_fail, and the deadline has passed
                raise AirflowSkipException(str(timed_out())) from skip
            raise

    def _get_next_poke_interval(self, *args: Any, **kwargs: Any) -> float:
        """Return the pause after a poke: at least as long as the API has asked for."""
        interval: float = super()._get_next_poke_interval(*args, **kwargs)
        return max(interval, self.retry_after)
