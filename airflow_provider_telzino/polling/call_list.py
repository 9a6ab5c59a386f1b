"""Polls of an agent's list of calls, for all who watch it: each poll sends a request at most once."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.api.answers import ListPage
from airflow_provider_telzino.exceptions import (
    TelzinoBadRequestError,
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoTransientError,
)
from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook
from airflow_provider_telzino.polling.channel import Channel, ConnectionUnusableError
from airflow_provider_telzino.rules.ended_calls import EndedCall, EndedCalls
from airflow_provider_telzino.rules.waiting import JITTER

REFUSED_PAUSE = 300.0  # seconds until the next poll after a refusal, which only a person can end
MAX_KEPT_PAGES = 20  # in memory: a watch that continues after days may read thousands

log = logging.getLogger(__name__)
T = TypeVar("T")
_uniform = random.SystemRandom().uniform


class ListPoll:
    """One poll of an agent's list. Whoever watches the agent asks it for what they need.

    An outage is waited out: requests are sent again until the API answers.

    Args:
        channel: Sends the requests.
        agent_id: The agent; by default the connection's.
    """

    def __init__(self, channel: Channel, agent_id: str | None) -> None:
        self._channel = channel
        self._agent_id = agent_id
        self._pages: dict[int, ListPage] = {}
        self._records: dict[str, dict[str, Any] | None] = {}
        self._turn = asyncio.Lock()

    async def page(self, number: int) -> ListPage:
        """Return a page of the list, from 1.

        Raises:
            TelzinoError: The API refuses it.
            ConnectionUnusableError: No request can succeed on this connection.
        """
        async with self._turn:
            if number not in self._pages:
                self._pages[number] = await self._read_page(number)
                if len(self._pages) > MAX_KEPT_PAGES:
                    del self._pages[next(iter(self._pages))]
            return self._pages[number]

    async def record(self, call_id: str) -> dict[str, Any] | None:
        """Return a call's record; ``None`` if the API doesn't give it.

        Raises:
            ConnectionUnusableError: No request can succeed on this connection.
        """
        async with self._turn:
            if call_id not in self._records:
                self._records[call_id] = await self._read_record(call_id)
            return self._records[call_id]

    async def _read_page(self, number: int) -> ListPage:
        try:
            return await self._send(lambda hook: hook.get_calls_page(number, self._agent_id, retry_for=0))
        except (TelzinoNotFoundError, TelzinoBadRequestError):
            if number == 1:
                raise
            return ListPage([], total=0, is_last=True, is_certain=True)  # Some lists end like this.

    async def _read_record(self, call_id: str) -> dict[str, Any] | None:
        try:
            return await self._send(lambda hook: hook.get_call(call_id, self._agent_id, retry_for=0))
        except TelzinoError as error:
            log.debug("Call %s can't be read: %s", call_id, error)
            return None

    async def _send(self, request: Callable[[TelzinoAsyncHook], Awaitable[T]]) -> T:
        for attempt in itertools.count(1):
            try:
                return await self._channel.send(request)
            except TelzinoTransientError:  # The channel logs it.
                await asyncio.sleep(retry.backoff(attempt, floor=retry.BACKOFF_BASE, time_left=math.inf))
        raise AssertionError("unreachable: count() has no end")


async def list_polls(conn_id: str, agent_id: str | None, interval: float) -> AsyncGenerator[ListPoll, None]:
    """Poll an agent's list for ever.

    A refusal doesn't end it: Airflow would start the trigger again at once. It is logged, and the next poll
    comes after ``REFUSED_PAUSE``, with the Airflow connection as it is then.

    Args:
        conn_id: The Airflow connection.
        agent_id: The agent; by default the connection's.
        interval: Seconds between two polls.

    Yields:
        Each poll, as soon as it has read the first page.
    """
    channel = Channel.of(asyncio.get_running_loop(), conn_id)
    try:
        while True:
            poll = ListPoll(channel, agent_id)
            try:
                await poll.page(1)
            except (TelzinoError, ConnectionUnusableError) as error:
                log.error(
                    "The calls of %s can't be watched: %s Trying again in %.0f s.",
                    *(agent_name(agent_id), error, REFUSED_PAUSE),
                )
                await asyncio.sleep(REFUSED_PAUSE)
                continue
            yield poll
            await asyncio.sleep(interval * _uniform(1 - JITTER, 1 + JITTER))
    finally:
        await channel.release()


def agent_name(agent_id: str | None) -> str:
    """Name an agent in a log."""
    return f"agent {agent_id}" if agent_id else "the connection's agent"


async def ended_in(poll: ListPoll, watch: EndedCalls) -> AsyncIterator[EndedCall]:
    """Read what a watch needs of a poll.

    Yields:
        The calls that have ended since the watch's last poll.

    Raises:
        TelzinoError: The API refuses a page. The watch reports what is left at the next poll.
        ConnectionUnusableError: No request can succeed on this connection; also then.
    """
    watch.start_poll()
    for number in itertools.count(1):
        if not watch.wants_page:
            break
        page = await poll.page(number)
        for ended in watch.add_page(page.items, is_last=page.is_last):
            yield ended
    for call_id in watch.unseen():
        record = await poll.record(call_id)
        if record is None:
            if watch.not_found(call_id, asyncio.get_running_loop().time()):
                log.warning("Call %s can't be read any more: there will be no event for it.", call_id)
        elif single := watch.add_record(record):
            yield single
    if forgotten := watch.end_poll():
        log.warning("%s live calls are too many to watch: there may be no event for them.", forgotten)
