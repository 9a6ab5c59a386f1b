"""``TelzinoCallTrigger``: waits in the triggerer until a call has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_telzino.exceptions import TelzinoTimeoutError
from airflow_provider_telzino.hooks.telzino import DEFAULT_CONN_ID
from airflow_provider_telzino.polling.channel import Channel
from airflow_provider_telzino.polling.ended_call import fetch_ended, wait_until_ended
from airflow_provider_telzino.rules.waiting import DEFAULT_POLL_INTERVAL, CallEvent, Wait
from airflow_provider_telzino.triggers.base import TelzinoTrigger
from airflow_provider_telzino.xcom import TaskEnd


class TelzinoCallTrigger(TelzinoTrigger):
    """Wait until a call has ended. It only reads, so it may safely run twice at the same time.

    Args:
        call_id: The call (UUID).
        deadline: When to give up, in seconds since the epoch.
        agent_id: The agent that made the call (UUID); by default the connection's.
        telzino_conn_id: The Airflow connection. Only its id is stored, never the token.
        poll_interval: Seconds between two polls.
        status: The status that a worker observed last.
        status_since: When the worker first observed that status, in seconds since the epoch.
        end: How the trigger ends the task if the call ends well; ``None`` resumes it on a worker.
    """

    began_task = False
    """Whether the task began in the triggerer, and has not been on a worker since."""

    def __init__(
        self,
        call_id: str,
        deadline: float,
        agent_id: str | None = None,
        telzino_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        status: str | None = None,
        status_since: float | None = None,
        end: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's isn't typed
        self.call_id = call_id
        self.deadline = deadline
        self.agent_id = agent_id
        self.telzino_conn_id = telzino_conn_id
        self.poll_interval = poll_interval
        self.status = status
        self.status_since = status_since
        self.end = end

    def what_continues(self) -> str:
        """Return a sentence for the log about what isn't stopped with the task."""
        return f"call {self.call_id} continues"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: a :class:`CallEvent`, or Airflow's own that ends the task."""
        yield await self._event()

    async def _event(self) -> TriggerEvent:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        self.logger()  # creates one for the class, for `log` to use: one for each trigger takes a kilobyte
        wait = Wait(
            self.call_id.lower(),  # as the API and its lists write it
            deadline=self.deadline,
            poll_interval=self.poll_interval,
            log=self.log,
            status=self.status,
            since=self.status_since,
        )
        outcome: Literal["ended", "timeout", "refused"] = "ended"
        error_class = None
        # One session and one token, for the final record as well.
        channel = Channel.of(loop, self.telzino_conn_id)
        try:
            await wait_until_ended(wait, telzino_conn_id=self.telzino_conn_id, agent_id=self.agent_id)
            if await self._end_task(wait, channel):
                return TaskSuccessEvent()
        except TelzinoTimeoutError as error:
            outcome = "timeout"
            self.log.warning("The wait for call %s timed out: %s", self.call_id, error)
        except AirflowException as error:
            outcome, error_class = "refused", type(error).__name__
            self.log.warning("The wait for call %s can't continue: %s", self.call_id, error)
        finally:
            await channel.release()
        if not self.began_task:
            await self.stay_deferred(began_at)
        event = CallEvent(
            outcome=outcome,
            call_id=self.call_id,
            agent_id=self.agent_id,
            status=wait.status,
            status_since=wait.since,
            error=error_class,
            deadline=self.deadline,
        )
        return TriggerEvent(event.payload())

    async def _end_task(self, wait: Wait, channel: Channel) -> bool:
        """Push the final record of a call that ended well. If that fails, a worker does it."""
        # `dag.test()` sets no task instance.
        if self.end is None or self.task_instance is None:
            return False
        try:
            end = TaskEnd.from_json(self.end)
            if not end.policy.is_success(wait.status):
                return False
            record = await fetch_ended(wait, channel, self.agent_id)
            # The record is authoritative: the status in a list may have been outdated.
            if not end.policy.is_success(record["status"]):
                return False
            await end.push(record, self.task_instance, self.log, began_here=self.began_task)
        # An XCom backend may raise anything; and nothing is lost, since a worker resumes from the event.
        except Exception as error:
            # Only its class: its message may contain the value.
            self.log.warning(
                "The task can't end in the triggerer (%s): it resumes on a worker.", type(error).__name__
            )
            return False
        return True
