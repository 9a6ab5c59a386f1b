"""``TelzinoCallStartTrigger``: begins a task in the triggerer, without a worker (Airflow 3.3 on)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_telzino.api.arguments import checked_agent_of, checked_call_id
from airflow_provider_telzino.exceptions import TelzinoConfigurationError, TelzinoError
from airflow_provider_telzino.hooks.telzino import DEFAULT_CONN_ID
from airflow_provider_telzino.rules.waiting import DEFAULT_POLL_INTERVAL, DEFAULT_TIMEOUT, CallEvent
from airflow_provider_telzino.triggers.base import TelzinoTrigger
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from airflow_provider_telzino.xcom import xcom_place


class TelzinoCallStartTrigger(TelzinoTrigger):
    """Do what a worker does at a task's start, and wait until the call has ended.

    Airflow renders the templates in ``call_id``, ``agent_id`` and ``telzino_conn_id`` before it runs. It only
    reads, so it may safely run twice at the same time.

    Args:
        call_id: The call (UUID), or a record that has an ``id``; ``None`` if it is in ``outputs``.
        agent_id: The agent that made the call (UUID); by default the record's or the connection's.
        telzino_conn_id: The Airflow connection. Only its id is stored, never the token.
        outputs: Arguments that are the output of an upstream task: the task's id and the XCom's key.
        poll_interval: Seconds between two polls.
        timeout: Seconds until the wait gives up, counted from the task's start.
        airflow_timeout: Seconds from the task's start to the ``timeout_after`` that Airflow sets.
        end: How the trigger ends the task if the call ends well; ``None`` resumes it on a worker.
    """

    timeout_after: datetime | None = None

    def __init__(
        self,
        call_id: str | Mapping[str, Any] | None = None,
        agent_id: str | None = None,
        telzino_conn_id: str = DEFAULT_CONN_ID,
        outputs: Mapping[str, Sequence[str]] | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        timeout: float = DEFAULT_TIMEOUT,
        airflow_timeout: float = DEFAULT_TIMEOUT,
        end: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's isn't typed
        self.call_id = call_id
        self.agent_id = agent_id
        self.telzino_conn_id = telzino_conn_id
        self.outputs = outputs or {}
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.airflow_timeout = airflow_timeout
        self.end = end
        self._unrendered: Exception | None = None

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Render as Airflow does, but keep an error for :meth:`run`: raised here, it would fail the task."""
        try:
            super().render_template_fields(context, jinja_env)
        except Exception as error:  # a template may raise anything
            self._unrendered = error

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: a :class:`CallEvent`, or Airflow's own that ends the task."""
        deadline = self._deadline()
        try:
            call_id, agent_id, conn_id = await self._arguments()
        # Templates and XCom backends may raise anything; and nothing is lost, since a worker tries again.
        except Exception as error:
            # Of an error that isn't ours only the class: its message may contain a value.
            reason = error if isinstance(error, TelzinoError) else type(error).__name__
            self.log.warning("The wait can't begin in the triggerer (%s): it begins on a worker.", reason)
            refusal = CallEvent("refused", error=type(error).__name__, deadline=deadline)
            yield TriggerEvent(refusal.payload())
            return
        wait = TelzinoCallTrigger(
            call_id, deadline, agent_id, conn_id, poll_interval=self.poll_interval, end=self.end
        )
        wait.task_instance, wait.began_task = self.task_instance, True
        async for event in wait.run():
            yield event

    def _deadline(self) -> float:
        """Count from the task's start, so that a restart doesn't prolong the wait.

        Airflow passes that time only as ``timeout_after``.
        """
        if self.timeout_after is None:
            return time.time() + self.timeout
        stops = self.timeout_after
        stops = stops if stops.tzinfo else stops.replace(tzinfo=timezone.utc)
        return stops.timestamp() - self.airflow_timeout + self.timeout

    async def _arguments(self) -> tuple[str, str | None, str]:
        if self._unrendered is not None:
            raise self._unrendered
        given = {name: getattr(self, name) for name in ("call_id", "agent_id", "telzino_conn_id")}
        for name, (task_id, key) in self.outputs.items():
            given[name] = await asyncio.to_thread(self._output, name, task_id, key)
        return (
            checked_call_id(given["call_id"]),
            checked_agent_of(given["call_id"], given["agent_id"]),
            str(given["telzino_conn_id"]),
        )

    def _output(self, name: str, task_id: str, key: str) -> Any:
        from airflow.providers.common.compat.sdk import XCom

        value = XCom.get_one(key=key, **xcom_place(self.task_instance, task_id))
        if value is None and name == "call_id":
            raise TelzinoConfigurationError(
                f"`{name}` is the output of task {task_id}, which has pushed no XCom {key}."
            )
        return value
