"""``TelzinoCallTrigger``: waits in the triggerer until a call has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, TypedDict

from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_telzino.exceptions import TelzinoTimeoutError
from airflow_provider_telzino.hooks.telzino import DEFAULT_CONN_ID
from airflow_provider_telzino.polling.channel import Channel
from airflow_provider_telzino.polling.poller import fetch_ended, wait_until_ended
from airflow_provider_telzino.rules.waiting import DEFAULT_POLL_INTERVAL, Wait
from airflow_provider_telzino.triggers.base import TelzinoTrigger
from airflow_provider_telzino.xcom import TaskEnd

SHORTEST_DEFERRAL = 5.0
"""Seconds that a task stays deferred at least, before it resumes on a worker.

Airflow's scheduler hears of the end of a task's first process from the executor, and on a busy machine late.
A task that is back in the queue by then is taken for one that was killed: it fails, or is tried anew (in
3.3.2 still: apache/airflow issues 66374, 67287, 72716).
"""


class CallEvent(TypedDict):
    """What the trigger tells the task: ids and statuses only, since Airflow logs and stores it in clear."""

    outcome: Literal["ended", "timeout", "refused"]
    """The call has ended; the deadline is over; or the API, or Airflow's connection, can't be used."""
    call_id: str | None
    """``None`` if the task's ``call_id`` can't be used; then the outcome is ``refused``."""
    agent_id: str | None
    """The agent that made the call; ``None`` if it is the connection's."""
    status: str | None
    """The status that was last seen."""
    status_since: float
    """When it was first seen, in seconds since the epoch."""
    error: str | None
    """The class of the error, for ``refused``."""
    deadline: float
    """When the wait gives up, in seconds since the epoch."""


class TelzinoCallTrigger(TelzinoTrigger):
    """Wait until a call has ended. It only reads, so it may safely run twice at the same time.

    Args:
        call_id: The call (UUID).
        deadline: When to give up, in seconds since the epoch.
        agent_id: The agent that made the call (UUID); by default the connection's.
        telzino_conn_id: The Airflow connection. Only its id travels, never the token.
        poll_interval: Seconds between two looks.
        status: The status that a worker saw last, and
        status_since: when it saw it first, in seconds since the epoch.
        end: How the task ends in the triggerer if the call ends well; ``None`` resumes it on a worker.
    """

    began_task = False
    """Whether the task began in the triggerer, and was on no worker since."""

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

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: a :class:`CallEvent`, or Airflow's own that ends the task."""
        yield await self._event()

    async def _event(self) -> TriggerEvent:
        loop = asyncio.get_running_loop()
        resumable = loop.time() + SHORTEST_DEFERRAL
        self.logger()  # makes one for the class, which `log` is from now on: each of its own takes a kilobyte
        wait = Wait(
            self.call_id.lower(),  # as the API and its lists have it
            deadline=self.deadline,
            poll_interval=self.poll_interval,
            log=self.log,
            status=self.status,
            since=self.status_since,
        )
        outcome: Literal["ended", "timeout", "refused"] = "ended"
        error_class = None
        # One session and one token, also for the final record.
        channel = Channel.of(loop, self.telzino_conn_id)
        try:
            await wait_until_ended(wait, telzino_conn_id=self.telzino_conn_id, agent_id=self.agent_id)
            if await self._end_task(wait, channel):
                return TaskSuccessEvent()
        except TelzinoTimeoutError as error:
            outcome = "timeout"
            self.log.warning("Time is over for call %s: %s", self.call_id, error)
        except AirflowException as error:
            outcome, error_class = "refused", type(error).__name__
            self.log.warning("The wait for call %s ends: %s", self.call_id, error)
        finally:
            await channel.release()
        # Whoever runs triggers without telling whose they are (`dag.test()`) has no executor, either.
        if self.task_instance is not None and not self.began_task:
            await asyncio.sleep(resumable - loop.time())
        return TriggerEvent(
            CallEvent(
                outcome=outcome,
                call_id=self.call_id,
                agent_id=self.agent_id,
                status=wait.status,
                status_since=wait.since,
                error=error_class,
                deadline=self.deadline,
            )
        )

    async def _end_task(self, wait: Wait, channel: Channel) -> bool:
        """Push the final record of a call that ended well. If that can't be done, a worker does it."""
        # `dag.test()` doesn't tell a trigger whose it is.
        if self.end is None or self.task_instance is None:
            return False
        try:
            end = TaskEnd.from_json(self.end)
            if not end.policy.is_success(wait.status):
                return False
            record = await fetch_ended(wait, channel, self.agent_id)
            # The record is the truth, which a list may not have told.
            if not end.policy.is_success(record["status"]):
                return False
            await end.push(record, self.task_instance, self.log, began_here=self.began_task)
        # An XCom backend may raise anything; and nothing is lost, since a worker starts anew from the event.
        except Exception as error:
            # Only its class: its words may hold the value.
            self.log.warning("The task can't end in the triggerer (%s): it goes on.", type(error).__name__)
            return False
        return True
