"""``WaitingOperator``: the arguments that all operators share which can wait for a call."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_telzino.rules.waiting import (
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    OutcomePolicy,
    seconds,
)
from airflow_provider_telzino.waiting.call_waiter import CallWaiter


class WaitingOperator(CallWaiter, BaseOperator):
    """Base of the operators that wait until a call has ended, if they are asked to.

    Args:
        agent_id: The agent (UUID); by default the connection's. Templated.
        telzino_conn_id: The Airflow connection, of type ``telzino``. Templated.
        wait_for_completion: Wait until the call has ended. With ``False`` none of the arguments below matters
            but ``record_fields``.
        fail_on: Statuses that fail the task. The record is pushed first.
        skip_on: Statuses that skip the task. The record is pushed first.
        record_fields: Push only these fields of the record, to keep personal data out of the database.
        deferrable: Wait in the triggerer, at almost no cost. ``False`` waits on the worker.
        poll_interval: Seconds between two looks, or a ``timedelta``.
        timeout: Seconds until the wait gives up, or a ``timedelta``; counted from the task's start.
        soft_fail: Skip the task instead of failing it.
        end_from_trigger: End the task in the triggerer if the call ends well, without another worker (Airflow
            3.3 on; see docs/without_workers.md).
        start_from_trigger: Begin the task in the triggerer, without a worker (Airflow 3.3 on, if the task
            isn't mapped and doesn't place a call).
    """

    ui_color = "#e6f1f2"

    def __init__(
        self,
        *,
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
        end_from_trigger: bool = False,
        start_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.agent_id = agent_id
        self.telzino_conn_id = telzino_conn_id
        self.wait_for_completion = wait_for_completion
        self.policy = OutcomePolicy.checked(fail_on, skip_on, record_fields)
        self.deferrable = deferrable
        self.poll_interval = seconds("poll_interval", poll_interval)
        self.timeout = seconds("timeout", timeout)
        self.soft_fail = soft_fail
        self.end_from_trigger = end_from_trigger
        self.wants_start_from_trigger = start_from_trigger

    @property
    def defers(self) -> bool:
        """Whether the task waits in the triggerer."""
        return self.deferrable and self.wait_for_completion

    @property
    def wait_interval(self) -> float:
        """Seconds between two looks."""
        return self.poll_interval

    @property
    def wait_timeout(self) -> float:
        """Seconds until the wait gives up."""
        return self.timeout
