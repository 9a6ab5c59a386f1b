"""Operators for one call: ``TelzinoGetCallOperator`` gets its record."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_telzino.operators.waiting import CallWaiter
from airflow_provider_telzino.waiting import (
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    OutcomePolicy,
    seconds,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class TelzinoGetCallOperator(CallWaiter, BaseOperator):
    """Push a call's final record to XCom; wait for it if the call hasn't ended.

    With Airflow's ``multiple_outputs=True``, each field of the record is an XCom of its own, too.

    Args:
        call_id: The call (UUID), or a record that has an ``id``, such as ``place.output``. Templated.
        agent_id: The agent that made the call (UUID); by default the record's or the connection's. Templated.
        telzino_conn_id: The Airflow connection, of type ``telzino``. Templated.
        wait_for_completion: Wait until the call has ended. ``False`` pushes the record as it is now, whatever
            the status: then none of the arguments below but ``record_fields`` matters.
        fail_on: Statuses that fail the task, without retries: a call's outcome doesn't change. The record is
            pushed first.
        skip_on: Statuses that skip the task. The record is pushed first.
        record_fields: Push only these fields of the record, to keep personal data out of the database.
        deferrable: Wait in the triggerer, at almost no cost. ``False`` waits on the worker.
        poll_interval: Seconds between two looks, or a ``timedelta``.
        timeout: Seconds until the wait gives up, or a ``timedelta``; counted from the task's start.
        soft_fail: Skip the task instead of failing it.

    Raises:
        TelzinoCallEndedBadlyError: The call ended in a status of ``fail_on``.
        TelzinoTimeoutError: The call had not ended when ``timeout`` was over.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    ui_color = "#e6f1f2"

    def __init__(
        self,
        *,
        call_id: str | Mapping[str, Any],
        agent_id: str | None = None,
        telzino_conn_id: str = "telzino_default",
        wait_for_completion: bool = True,
        fail_on: Collection[str] = ("failed",),
        skip_on: Collection[str] = (),
        record_fields: Collection[str] | None = None,
        deferrable: bool = True,
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL,
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        soft_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.call_id = call_id
        self.agent_id = agent_id
        self.telzino_conn_id = telzino_conn_id
        self.wait_for_completion = wait_for_completion
        self.policy = OutcomePolicy.checked(fail_on, skip_on, record_fields)
        self.deferrable = deferrable
        self.poll_interval = seconds("poll_interval", poll_interval)
        self.timeout = seconds("timeout", timeout)
        self.soft_fail = soft_fail

    @property
    def wait_interval(self) -> float:
        """Seconds between two looks."""
        return self.poll_interval

    @property
    def wait_timeout(self) -> float:
        """Seconds until the wait gives up."""
        return self.timeout

    def execute(self, context: Context) -> Any:
        """Get the record, waiting if need be.

        Returns:
            The record, for XCom.
        """
        if not self.wait_for_completion:
            with self._softly(), self.hook() as hook:
                return self.policy.cut(hook.get_call(self.call_id))
        if self.deferrable:
            return self.look_then_defer(context)
        return self.wait_here(context)
