"""``TelzinoCallSensor``: waits until a call has ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_telzino.api.arguments import check_literals, checked_call_id
from airflow_provider_telzino.api.retry import RETRY_FOR
from airflow_provider_telzino.exceptions import TelzinoSensorTimeoutError, TelzinoTransientError
from airflow_provider_telzino.rules.waiting import DEFAULT_POLL_INTERVAL, Wait
from airflow_provider_telzino.waiting.arguments import WaitingTask
from airflow_provider_telzino.waiting.poking import PokingSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import TelzinoHook


class TelzinoCallSensor(PokingSensor, WaitingTask, BaseSensorOperator):
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
        self.use_mode(mode, poke_interval)
        self._poking: tuple[TelzinoHook, Wait] | None = None
        self.check_template_fields()
        self.use_triggerer()

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        super().check_arguments(given)
        check_literals(given, call_id=checked_call_id)

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
                record = self.poke_until_done(context, lambda: self.timed_out(wait))
            finally:
                self._poking = None
        return self.finish(context, record)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Request the call once, for Airflow's modes ``poke`` and ``reschedule``.

        An outage that lasts longer than the request's own retries is waited out, like a call that is live.
        """
        with self._softly():
            hook, wait = self._poking or (self.hook(), self.new_wait())
            self.retry_after = 0.0
            try:
                record = hook.get_call(wait.call_id, retry_for=min(RETRY_FOR, wait.time_left()))
            except TelzinoTransientError as error:
                self.log.warning("%s", error)
                self.retry_after = min(error.retry_after or 0.0, wait.time_left())
                return False
            return PokeReturnValue(wait.observe(record), record)
