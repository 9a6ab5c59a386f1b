"""Polls for all waits: those for one agent's calls, in one triggerer, share their polls.

A wait joins its agent's poller, is ended by it when its call has ended, and leaves. When the last wait has
left, the poller ends; the last poller of a connection closes the session.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from operator import attrgetter
from typing import ClassVar

from airflow_provider_telzino.polling.channel import Channel, ConnectionUnusableError
from airflow_provider_telzino.polling.page_plan import CallPositions
from airflow_provider_telzino.polling.poll_requests import PollRequests
from airflow_provider_telzino.polling.schedule import Schedule
from airflow_provider_telzino.polling.watched_call import Waiter, WatchedCall

MAX_SLEEP = 86_400.0  # seconds for one timer of the event loop
BATCH = 100  # waits that are ended in one step of the event loop

_DUE, _INTERVAL = attrgetter("due"), attrgetter("interval")

log = logging.getLogger(__name__)


class AgentPoller:
    """Polls all calls of one agent that are waited for, in one event loop.

    Args:
        key: The loop, the connection's id and the agent; without an agent it is the connection's.
    """

    _pollers: ClassVar[dict[tuple[asyncio.AbstractEventLoop, str, str | None], AgentPoller]] = {}

    @classmethod
    def of(cls, conn_id: str, agent_id: str | None) -> AgentPoller:
        """Return the running loop's poller for a connection and agent; a new one if there is none."""
        key = (asyncio.get_running_loop(), conn_id, agent_id.lower() if agent_id else None)
        if key not in cls._pollers:
            cls._pollers[key] = cls(key)
        return cls._pollers[key]

    def __init__(self, key: tuple[asyncio.AbstractEventLoop, str, str | None]) -> None:
        self._key = key
        self._loop, conn_id, self.agent_id = key
        self.channel = Channel.of(self._loop, conn_id)
        self.calls: dict[str, WatchedCall] = {}
        self._positions = CallPositions()
        self._schedule = Schedule()
        self._rescheduled = asyncio.Event()
        self._has_logged_pages = False
        # Not in the context of the first wait: what is logged here belongs to no task.
        self._task = contextvars.Context().run(self._loop.create_task, self._run())

    def join(self, waiter: Waiter) -> None:
        """Poll a wait's call from now on."""
        call_id, interval = waiter.call_id, waiter.poll_interval
        call = self.calls.get(call_id)
        if call is None:
            call = self.calls[call_id] = WatchedCall(call_id, interval)
            self._positions.add(call_id)
        call.waiters.append(waiter)
        call.known_status = None
        call.interval = min(call.interval, interval)
        self.channel.waits += 1
        if self._schedule.add_interval(interval, self._loop.time()):
            self._rescheduled.set()

    async def leave(self, waiter: Waiter) -> None:
        """Forget a wait. The last one ends the poller."""
        call = self.calls[waiter.call_id]
        call.waiters.remove(waiter)
        self.channel.waits -= 1
        if call.waiters:
            call.interval = min(each.poll_interval for each in call.waiters)
        else:
            del self.calls[call.call_id]
            self._positions.remove(call.call_id)
        if not self.calls:
            self._retire()
            self._task.cancel()
            # Continues even if the trigger that leaves is cancelled once more.
            await asyncio.shield(self._loop.create_task(self._close()))

    def _retire(self) -> None:
        """Make later waits start a new poller."""
        if self._pollers.get(self._key) is self:
            del self._pollers[self._key]

    async def _close(self) -> None:
        await asyncio.wait([self._task])
        await self.channel.release()

    async def _run(self) -> None:
        try:
            while self.calls:  # A cancellation may get lost in aiohttp, which uses it for its timeouts.
                await self._sleep()
                await self._poll()
        except ConnectionUnusableError as error:
            await self._end_all(error.reason)
        except Exception as error:  # A wait that nobody polls for would never end.
            log.exception("The poller for the calls of agent %s failed. Its waits end.", self.agent_id)
            await self._end_all(error)

    async def _sleep(self) -> None:
        """Sleep until the next poll, which a new wait may move forward."""
        while (pause := self._schedule.next_poll_at - self._loop.time()) > 0:
            self._rescheduled.clear()
            alarm = self._loop.call_later(min(pause, MAX_SLEEP), self._rescheduled.set)
            try:
                await self._rescheduled.wait()
            finally:
                alarm.cancel()

    async def _poll(self) -> None:
        poll = self._schedule.start_poll(min(map(_INTERVAL, self.calls.values())), self._loop.time())
        requests = PollRequests(
            poll, self.calls, self._positions, agent_id=self.agent_id, channel=self.channel
        )
        await requests.send()
        self.channel.emit_waits()
        if requests.pages and not self._has_logged_pages:
            self._has_logged_pages = True
            log.info(
                "Polling %s calls of agent %s with %s list pages and %s single requests.",
                *(len(self.calls), self.agent_id or "of the connection", requests.pages, requests.singles),
            )
        self._schedule.end_poll(
            earliest_due=min(map(_DUE, self.calls.values()), default=float("inf")),
            recovered_at=self.channel.backoff.recovered_at,
            now=self._loop.time(),
        )

    async def _end_all(self, problem: Exception) -> None:
        self._retire()
        for index, call in enumerate(list(self.calls.values())):
            call.end(problem)
            if index % BATCH == BATCH - 1:
                await asyncio.sleep(0)
