"""``TelzinoCallSensor``: waits until a call has ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_provider_telzino.api.retry import RETRY_FOR
from airflow_provider_telzino.exceptions import TelzinoSensorTimeoutError
from airflow_provider_telzino.rules.waiting import (
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    MIN_POLL_INTERVAL,
    OutcomePolicy,
    Wait,
    seconds,
)
from airflow_provider_telzino.waiting.call_waiter import CallWaiter

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import TelzinoHook


class TelzinoCallSensor(CallWaiter, BaseSensorOperator):
    """Wait until a call has ended, and push its final record to XCom as ``return_value``.

    Args:
        call_id: The call (UUID), or a record that has an ``id``, such as ``place.output``. Templated.
        agent_id: The agent that made the call (UUID); by default the record's or the connection's. Templated.
        telzino_conn_id: The Airflow connection, of type ``telzino``. Templated.
        fail_on: Statuses that fail the task, without retries: a call's outcome doesn't change. The record is
            pushed first.
        skip_on: Statuses that skip the task. The record is pushed first.
        record_fields: Push only these fields of the record, to keep personal data out of the database.
        deferrable: Wait in the triggerer, at almost no cost. ``False`` waits in Airflow's ``mode``: ``poke``
            or ``reschedule``.
        poke_interval: Seconds between two looks, or a ``timedelta``.
        timeout: Seconds until the wait gives up, or a ``timedelta``; counted from the task's start.
        end_from_trigger: End the task in the triggerer if the call ends well, without another worker (Airflow
            3.3 on; see docs/without_workers.md).
        start_from_trigger: Begin the task in the triggerer, without a worker (Airflow 3.3 on, if the task
            isn't mapped).
        kwargs: Anything else that Airflow's sensors take. ``soft_fail`` skips the task instead of failing it,
            in all modes alike.

    Raises:
        TelzinoCallEndedBadlyError: The call ended in a status of ``fail_on``.
        TelzinoSensorTimeoutError: The call had not ended when ``timeout`` was over.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    timeout_error = TelzinoSensorTimeoutError

    def __init__(
        self,
        *,
        call_id: str | Mapping[str, Any],
        agent_id: str | None = None,
        telzino_conn_id: str = "telzino_default",
        fail_on: Collection[str] = ("failed",),
        skip_on: Collection[str] = (),
        record_fields: Collection[str] | None = None,
        deferrable: bool = True,
        poke_interval: float | timedelta = DEFAULT_POLL_INTERVAL,
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        end_from_trigger: bool = False,
        start_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        # The floor holds for Airflow's own modes, too: an interval of 0 would be a busy loop.
        interval = max(seconds("poke_interval", poke_interval), MIN_POLL_INTERVAL)
        super().__init__(poke_interval=interval, timeout=seconds("timeout", timeout), **kwargs)
        self.call_id = call_id
        self.agent_id = agent_id
        self.telzino_conn_id = telzino_conn_id
        self.policy = OutcomePolicy.checked(fail_on, skip_on, record_fields)
        self.deferrable = deferrable
        self._poking: tuple[TelzinoHook, Wait] | None = None
        self.end_from_trigger = end_from_trigger
        self.wants_start_from_trigger = start_from_trigger
        self.use_triggerer()

    @property
    def defers(self) -> bool:
        """Whether the task waits in the triggerer."""
        return self.deferrable

    @property
    def wait_interval(self) -> float:
        """Seconds between two looks."""
        return float(self.poke_interval)

    @property
    def wait_timeout(self) -> float:
        """Seconds until the wait gives up."""
        return float(self.timeout)

    def execute(self, context: Context) -> Any:
        """Wait, in the way that the task asks for.

        Returns:
            The final record, for XCom.
        """
        if self.deferrable:
            return self.look_then_defer(context)
        with self._softly():
            hook, wait = self.hook(), self.new_wait()
        with hook:
            self._poking = hook, wait  # one session and one token for all looks of this process
            try:
                record = super().execute(context)
            except AirflowSensorTimeout as error:
                raise self.timed_out(wait) from error
            except AirflowSkipException as skip:
                if skip.__cause__ is None:  # Airflow's own: soft_fail, and the time is over
                    raise AirflowSkipException(str(self.timed_out(wait))) from skip
                raise
            finally:
                self._poking = None
        return self.finish(context, record)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look at the call once, for Airflow's modes ``poke`` and ``reschedule``.

        An outage that outlasts a look's own retries is waited out, like a call that hasn't ended.
        """
        with self._softly():
            hook, wait = self._poking or (self.hook(), self.new_wait())
            retry_for = min(RETRY_FOR, wait.time_left())
            record = self.try_look(hook, wait, retry_for=retry_for, not_found_is_final=True)
            return record is not None and PokeReturnValue(wait.saw(record), record)
