"""``TelzinoCallSensor``: waits until a call has ended."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_provider_telzino.api.arguments import check_literals, checked_call_id, naming_the_task
from airflow_provider_telzino.api.retry import RETRY_FOR
from airflow_provider_telzino.exceptions import TelzinoSensorTimeoutError, TelzinoTransientError
from airflow_provider_telzino.rules.waiting import (
    DEFAULT_POLL_INTERVAL,
    MIN_POLL_INTERVAL,
    Wait,
    flag,
    seconds,
)
from airflow_provider_telzino.waiting.arguments import WaitingTask

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import TelzinoHook


class TelzinoCallSensor(WaitingTask, BaseSensorOperator):
    """Wait until a call has ended, and push its final record to XCom as ``return_value``.

    Besides the arguments below, the sensor takes the parameters that all waits share: ``agent_id``,
    ``telzino_conn_id``, ``fail_on``, ``skip_on``, ``record_fields``, ``deferrable``, ``timeout``,
    ``end_from_trigger`` and ``start_from_trigger``. They are documented with
    :class:`~airflow_provider_telzino.waiting.arguments.WaitingTask`, and in docs/waiting.md.

    Args:
        call_id: The call (UUID), or a record that has an ``id``, such as ``place.output``. Templated.
        poke_interval: Seconds between two polls, or a ``timedelta``.
        mode: How to wait with ``deferrable=False``: ``poke`` (the default) or ``reschedule``.
        kwargs: The parameters that all waits share, and those of Airflow's sensors. ``soft_fail`` skips the
            task instead of failing it, in all modes alike.

    Raises:
        TelzinoCallEndedBadlyError: The call ended in a status of ``fail_on``. Not retried: a call's outcome
            doesn't change.
        TelzinoSensorTimeoutError: The call had not ended when ``timeout`` was over.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    timeout_error = TelzinoSensorTimeoutError

    def __init__(
        self,
        *,
        call_id: str | Mapping[str, Any],
        poke_interval: float | timedelta = DEFAULT_POLL_INTERVAL,
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs if mode is None else {**kwargs, "mode": mode})
        self.call_id = call_id
        with naming_the_task(self.task_id):
            # The minimum holds for Airflow's own modes, too: an interval of 0 would be a busy loop.
            self.poke_interval = max(seconds("poke_interval", poke_interval), MIN_POLL_INTERVAL)
            flag("soft_fail", self.soft_fail)
        if mode is not None and self.deferrable:
            warnings.warn(
                f"Task {self.task_id} has `mode={mode!r}`, which is ignored, since the task waits in the "
                f"triggerer. Add `deferrable=False` to wait in that mode, or leave out `mode`.",
                stacklevel=2,  # the DAG file: Airflow itself adds the frames of its metaclass
            )
        self._poking: tuple[TelzinoHook, Wait] | None = None
        self._retry_after = 0.0  # seconds that the API has asked to wait
        self.check_template_fields()
        self.use_triggerer()

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        super().check_arguments(given)
        check_literals(
            given,
            call_id=checked_call_id,
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

    def execute(self, context: Context) -> Any:
        """Wait, in the triggerer or in Airflow's ``mode``.

        Returns:
            The final record, for XCom.
        """
        if self.deferrable:
            return self.wait_for_call(context)
        with self._softly():
            hook, wait = self.hook(), self.new_wait()
        with hook:
            self._poking = hook, wait  # one session and one token for all polls of this process
            try:
                record = super().execute(context)
            except AirflowSensorTimeout as error:
                raise self.timed_out(wait) from error
            except AirflowSkipException as skip:
                if skip.__cause__ is None:  # Airflow's own: soft_fail, and the deadline has passed
                    raise AirflowSkipException(str(self.timed_out(wait))) from skip
                raise
            finally:
                self._poking = None
        return self.finish(context, record)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Request the call once, for Airflow's modes ``poke`` and ``reschedule``.

        An outage that lasts longer than the request's own retries is waited out, like a call that is live.
        """
        with self._softly():
            hook, wait = self._poking or (self.hook(), self.new_wait())
            self._retry_after = 0.0
            try:
                record = hook.get_call(wait.call_id, retry_for=min(RETRY_FOR, wait.time_left()))
            except TelzinoTransientError as error:
                self.log.warning("%s", error)
                self._retry_after = min(error.retry_after or 0.0, wait.time_left())
                return False
            return PokeReturnValue(wait.observe(record), record)

    def _get_next_poke_interval(self, *args: Any, **kwargs: Any) -> float:
        """Return the pause after a poke, for Airflow's modes: at least as long as the API has asked for."""
        interval: float = super()._get_next_poke_interval(*args, **kwargs)
        return max(interval, self._retry_after)
