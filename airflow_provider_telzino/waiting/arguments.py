"""The parameters of a wait, declared once: the base classes of the sensor and of the operators."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_telzino.api.arguments import check_literals, checked_optional_agent_id, naming_the_task
from airflow_provider_telzino.rules.waiting import (
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    MIN_POLL_INTERVAL,
    OutcomePolicy,
    flag,
    seconds,
)
from airflow_provider_telzino.waiting.deferral import DeferrableWait
from airflow_provider_telzino.waiting.parse_checks import ParseChecks


class WaitArguments(ParseChecks, BaseOperator):
    """Base of every task that waits, for one call or many. It has the parameters that they all share.

    Args:
        agent_id: The agent that makes the call (UUID); by default that of the call's record, if the task is
            given one, or the connection's. Templated.
        telzino_conn_id: The Airflow connection, of type ``telzino``. Templated.
        fail_on: Statuses that fail the task. The record is pushed first. ``"unknown"`` means any status
            that a call has ended in and that Telzino doesn't document.
        skip_on: Statuses that skip the task, as in ``fail_on``. The record is pushed first.
        record_fields: Push only these fields of the record, to keep personal data out of Airflow's database.
        deferrable: Wait in the triggerer, at almost no cost. ``False`` waits on a worker; a sensor does so in
            Airflow's ``mode``: ``poke`` or ``reschedule``.
        timeout: Seconds until the wait gives up, or a ``timedelta``; counted from the task's start.
        kwargs: The parameters of Airflow's own base class.

    Raises:
        TelzinoConfigurationError: An argument is invalid. The message names it and the task.
    """

    ui_color, ui_fgcolor = "#c4dcfa", "#0b3a6e"  # blue: it waits

    # It must have an `__init__` of its own: otherwise Airflow's metaclass would give it BaseOperator's, which
    # would hide that of BaseSensorOperator from the sensor.
    def __init__(
        self,
        *,
        agent_id: str | None = None,
        telzino_conn_id: str = "telzino_default",
        fail_on: Collection[str] = ("failed",),
        skip_on: Collection[str] = (),
        record_fields: Collection[str] | None = None,
        deferrable: bool = True,
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.agent_id = agent_id
        self.telzino_conn_id = telzino_conn_id
        with naming_the_task(self.task_id):
            self.policy = OutcomePolicy.checked(fail_on, skip_on, record_fields)
            self.deferrable = flag("deferrable", deferrable)
            self.timeout = seconds("timeout", timeout)

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        OutcomePolicy.checked(given.get("fail_on", ()), given.get("skip_on", ()), given.get("record_fields"))
        check_literals(
            given,
            agent_id=checked_optional_agent_id,
            timeout=functools.partial(seconds, "timeout"),
            deferrable=functools.partial(flag, "deferrable"),
        )


class WaitingTask(DeferrableWait, WaitArguments):
    """Base of every task that waits for one call.

    Args:
        end_from_trigger: End the task in the triggerer if the call ends well, without another worker (from
            Airflow 3.3; see docs/without_workers.md).
        start_from_trigger: Begin the task in the triggerer, without a worker (from Airflow 3.3, if the task
            isn't mapped and doesn't place a call).
        kwargs: The parameters of :class:`WaitArguments`, and those of Airflow's own base class.
    """

    def __init__(
        self, *, end_from_trigger: bool = False, start_from_trigger: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        with naming_the_task(self.task_id):
            self.end_from_trigger = flag("end_from_trigger", end_from_trigger)
            self.wants_start_from_trigger = flag("start_from_trigger", start_from_trigger)

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        super().check_arguments(given)
        check_literals(
            given,
            end_from_trigger=functools.partial(flag, "end_from_trigger"),
            start_from_trigger=functools.partial(flag, "start_from_trigger"),
        )


class WaitingOperator(WaitingTask):
    """Base of the operators that wait until a call has ended, if they are asked to.

    Args:
        wait_for_completion: Wait until the call has ended. With ``False``, only ``record_fields`` matters of
            the other parameters of a wait.
        poll_interval: Seconds between two polls, or a ``timedelta``.
        soft_fail: Skip the task instead of failing it, whatever the error.
        kwargs: The parameters of :class:`WaitingTask`, and those of Airflow's ``BaseOperator``.
    """

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL,
        soft_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with naming_the_task(self.task_id):
            self.wait_for_completion = flag("wait_for_completion", wait_for_completion)
            self.poll_interval = max(seconds("poll_interval", poll_interval), MIN_POLL_INTERVAL)
            self.soft_fail = flag("soft_fail", soft_fail)

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        super().check_arguments(given)
        check_literals(
            given,
            wait_for_completion=functools.partial(flag, "wait_for_completion"),
            poll_interval=functools.partial(seconds, "poll_interval"),
            soft_fail=functools.partial(flag, "soft_fail"),
        )

    @property
    def defers(self) -> bool:
        """Whether the task waits in the triggerer."""
        return self.deferrable and self.wait_for_completion

    @property
    def wait_interval(self) -> float:
        """Seconds between two polls."""
        return self.poll_interval
