"""One look for all: the waits for one agent's calls in one triggerer share their looks.

A wait joins its agent's poller, hears when its call has ended, and leaves; the last one that leaves ends the
poller, and the last poller of a connection closes the session.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import ClassVar, TypeVar

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.exceptions import (
    TelzinoBadRequestError,
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoRateLimitError,
    TelzinoTimeoutError,
    TelzinoTransientError,
    TelzinoUnavailableError,
)
from airflow_provider_telzino.hooks.telzino import Record
from airflow_provider_telzino.polling.channel import MAX_IN_FLIGHT, Channel, ConnectionUnusableError
from airflow_provider_telzino.polling.page_plan import Look
from airflow_provider_telzino.polling.watched_call import Waiter, WatchedCall, is_telling
from airflow_provider_telzino.rules.waiting import JITTER, MIN_POLL_INTERVAL, Wait

SLACK = 0.5  # the share of the shortest interval by which a call is looked at early, to share a look
MIN_LOOK_TIME = 5.0  # seconds that a look gets, however short the interval
MAX_PAUSE = 5.0  # seconds until what a look could not see is looked at again, unless the channel pauses
BATCH = 100  # waits that are ended in one step of the event loop,
ENDED_BATCH = 20  # and calls that have ended: each has a line in the log, and wakes its trigger

_DUE, _INTERVAL = attrgetter("due"), attrgetter("interval")

T = TypeVar("T")
log = logging.getLogger(__name__)
_uniform = random.SystemRandom().uniform


async def wait_until_ended(wait: Wait, *, telzino_conn_id: str, agent_id: str | None) -> None:
    """Return when the call has ended; its status is then in ``wait``.

    An outage is waited out, whatever its length, until the deadline.

    Args:
        wait: The wait, with the call and the deadline.
        telzino_conn_id: The Airflow connection.
        agent_id: The agent that made the call; by default the connection's.

    Raises:
        TelzinoTimeoutError: The deadline is over.
        AirflowException: The API, or Airflow, refused for good.
    """
    loop = asyncio.get_running_loop()
    waiter = Waiter(wait, loop.create_future())
    poller = AgentPoller.of(telzino_conn_id, agent_id)
    poller.join(waiter)
    timer = loop.call_later(wait.time_left(), waiter.end, TIME_IS_OVER)
    try:
        problem = await waiter.ended
    finally:
        timer.cancel()
        await poller.leave(waiter)
    if problem is TIME_IS_OVER:
        trouble = f" {poller.channel.problem}" if poller.channel.problem else ""
        raise TelzinoTimeoutError(f"The call has not ended; {wait.last_seen()}.{trouble}")
    if problem is not None:
        raise problem.with_traceback(None)  # Many waits raise the same one.


async def fetch_ended(wait: Wait, channel: Channel, agent_id: str | None) -> Record:
    """Fetch the final record of a call that a look found ended; an outage is waited out until the deadline.

    Raises:
        TelzinoTransientError: The deadline is over.
        TelzinoError: The API refused.
    """
    loop = asyncio.get_running_loop()
    missing_since: float | None = None
    for tries in itertools.count(1):
        problem: TelzinoError
        try:
            record = await channel.ask(lambda hook: hook.get_call(wait.call_id, agent_id, retry_for=0))
            if wait.observe(record):
                return record
            problem = TelzinoUnavailableError("The call's own record doesn't say yet that it has ended.")
            missing_since = None
        except TelzinoTransientError as error:
            problem, missing_since = error, None
        except TelzinoNotFoundError as error:
            problem, missing_since = error, loop.time() if missing_since is None else missing_since
            if retry.is_missing_for_good(missing_since, loop.time()):
                raise
        if wait.time_left() <= 0:
            raise problem
        await asyncio.sleep(retry.backoff(tries, floor=retry.BACKOFF_BASE, time_left=wait.time_left()))
    raise AssertionError("unreachable: count() has no end")


TIME_IS_OVER = TelzinoTimeoutError("The deadline is over.")


class AgentPoller:
    """Looks after all calls of one agent that are waited for, in one event loop.

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
        self._shortest = float("inf")
        self._next_look = float("inf")  # at all calls that are due
        self._early_look = float("inf")  # at those that the last look could not see
        self._look_now = asyncio.Event()
        self._started = self._horizon = 0.0  # of the last look that was not an early one
        self._give_up_at = 0.0
        self._total = 0
        self._ways = {"single requests"}  # that have been told of; nobody needs to hear of this one
        # Not in the context of whoever came first: what is logged here belongs to no task.
        self._task = contextvars.Context().run(self._loop.create_task, self._run())

    # --- Who waits ---

    def join(self, waiter: Waiter) -> None:
        """Look after a wait's call from now on."""
        wait = waiter.wait
        call = self.calls.setdefault(wait.call_id, WatchedCall(wait.call_id, wait.poll_interval))
        call.waiters.append(waiter)
        call.known_status = None
        self.channel.waits += 1
        call.interval = min(call.interval, wait.poll_interval)
        if call.interval < self._shortest:
            self._shortest = call.interval
            first = self._loop.time() + _uniform(0, SLACK * call.interval)
            if first < self._next_look:
                self._next_look = first
                self._look_now.set()

    async def leave(self, waiter: Waiter) -> None:
        """Forget a wait. The last one ends the poller."""
        call = self.calls[waiter.wait.call_id]
        call.waiters.remove(waiter)
        self.channel.waits -= 1
        if call.waiters:
            call.interval = min(each.wait.poll_interval for each in call.waiters)
        else:
            del self.calls[call.call_id]
        if not self.calls:
            self._retire()
            self._task.cancel()
            # Goes on even if whoever leaves is cancelled once more.
            await asyncio.shield(self._loop.create_task(self._close()))

    def _retire(self) -> None:
        """Let later waits have a new poller."""
        if self._pollers.get(self._key) is self:
            del self._pollers[self._key]

    async def _close(self) -> None:
        await asyncio.wait([self._task])
        await self.channel.release()

    # --- When to look ---

    async def _run(self) -> None:
        """Look once each shortest interval, at all calls that are due by then or soon after.

        What a look could not see is not left until the next one, but looked at again soon.
        """
        behind = 0  # looks in a row that could not see all
        try:
            while self.calls:  # A cancellation may get lost in aiohttp, which uses it for its timeouts.
                await self._sleep()
                self._begin(self._loop.time())
                await self._look()
                now = self._loop.time()
                self._next_look = max(self._next_look, now + MIN_POLL_INTERVAL)
                if self.channel.well_since > self._started:  # The look was held up: it counts from its end.
                    again = self.channel.well_since + self._shortest * _uniform(1, 1 + JITTER)
                    self._next_look = max(self._next_look, again)
                self._early_look = float("inf")
                # Also a call that was joined meanwhile.
                if min(map(_DUE, self.calls.values()), default=float("inf")) <= self._horizon:
                    behind += 1
                    pause = retry.backoff(behind, floor=retry.BACKOFF_BASE, time_left=MAX_PAUSE)
                    self._early_look = now + max(pause, MIN_POLL_INTERVAL)
                else:
                    behind = 0
        except ConnectionUnusableError as error:
            await self._end_all(error.reason)
        except Exception as error:  # A wait that nobody looks after would wait in vain.
            log.exception("The waits for calls of agent %s end.", self.agent_id)
            await self._end_all(error)

    async def _sleep(self) -> None:
        while (pause := min(self._next_look, self._early_look) - self._loop.time()) > 0:
            self._look_now.clear()
            alarm = self._loop.call_later(min(pause, 86_400.0), self._look_now.set)
            try:
                await self._look_now.wait()
            finally:
                alarm.cancel()

    def _begin(self, now: float) -> None:
        """Begin a look. An early one leaves the others in step, unless they are nearly due themselves."""
        self._shortest = min(map(_INTERVAL, self.calls.values()))
        self._give_up_at = now + max(self._shortest, MIN_LOOK_TIME)
        if now < min(self._next_look, self._started + (1 - JITTER) * self._shortest):
            self._horizon = max(self._horizon, now)
            return
        self._started, self._horizon = now, now + SLACK * self._shortest
        self._next_look = now + self._shortest * _uniform(1 - JITTER, 1 + JITTER)

    async def _end_all(self, problem: Exception) -> None:
        self._retire()
        for index, call in enumerate(list(self.calls.values())):
            call.end(problem)
            if index % BATCH == BATCH - 1:
                await asyncio.sleep(0)

    # --- Looking ---

    async def _look(self) -> None:
        if len(self.calls) == 1:
            await self._fetch(*self.calls.values())
            self._tell(0, 1)
            return
        due = [call for call in self.calls.values() if call.due <= self._horizon]
        due.sort(key=_DUE)  # What an earlier look didn't reach comes first.
        look = Look(due, self._total, self._loop.time())
        pages = 0
        while expected := look.next_pages():
            pages += len(expected)
            await _each(lambda item: self._read_page(look, *item), [*expected.items()])
        self._total = look.total
        rest = look.rest()
        await _each(self._fetch, rest)
        self._tell(pages, len(rest))

    async def _read_page(self, look: Look[WatchedCall], number: int, expected: list[WatchedCall]) -> None:
        if self._loop.time() >= self._give_up_at:
            look.page_failed(expected)
            return
        try:
            page = await self.channel.ask(
                lambda hook: hook.get_calls_page(number, self.agent_id, retry_for=0)
            )
        except TelzinoTransientError as error:
            look.page_failed(expected)
            if not isinstance(error, TelzinoRateLimitError):
                await self._doubt_the_list(expected)
            return
        except (TelzinoNotFoundError, TelzinoBadRequestError) as error:
            if number == 1:
                look.page_refused(expected)
            else:  # Some lists end so.
                log.debug("Page %s of agent %s: %s", number, self.agent_id, error)
                look.page_read(number, [], look.total, is_last=True)
            return
        except TelzinoError:
            look.page_refused(expected)
            return
        seen_at = max(self._started, self.channel.well_since)
        found, ended = [], 0
        for index, item in enumerate(page.items):
            listed = self.calls.get(item["id"].lower())
            if listed is not None and is_telling(item):
                listed.listed_at(number, index, page.total)
                listed.due = seen_at + listed.interval
                listed.saw(item)
                found.append(listed.call_id)
                ended += listed.known_status is None
                if ended >= ENDED_BATCH:
                    ended = 0
                    await asyncio.sleep(0)
        look.page_read(number, found, page.total, page.is_last)

    async def _doubt_the_list(self, expected: list[WatchedCall]) -> None:
        """See after a failed page whether the API answers otherwise: then the page is the trouble."""
        unseen = [call for call in expected if call.due <= self._horizon]
        if unseen and await self._fetch(unseen[0]):
            for call in unseen:
                call.missed(self._started)

    async def _fetch(self, call: WatchedCall) -> bool:
        """Look at a single call. Returns whether that was possible."""
        if self.calls.get(call.call_id) is not call or self._loop.time() >= self._give_up_at:
            return False
        try:
            record = await self.channel.ask(
                lambda hook: hook.get_call(call.call_id, self.agent_id, retry_for=0)
            )
        except TelzinoNotFoundError as error:
            call.not_found(error, self._loop.time())
        except TelzinoTransientError:
            call.missing_since = None
        except TelzinoError as error:
            call.end(error)
        else:
            call.due = max(self._started, self.channel.well_since) + call.interval
            call.saw(record)
            return True
        return False

    def _tell(self, pages: int, singles: int) -> None:
        """Tell each way of looking once."""
        self.channel.tell_waits()
        way = "list pages" if pages else "single requests"
        if way not in self._ways and pages + singles > 0:
            self._ways.add(way)
            log.info(
                "Agent %s: %s waiting calls are looked at by %s list pages and %s single requests.",
                *(self.agent_id or "of the connection", len(self.calls), pages, singles),
            )


async def _each(work: Callable[[T], Awaitable[object]], items: Sequence[T]) -> None:
    """Do the work on all items, a few at a time; an error ends it all."""
    if len(items) <= 1:
        for item in items:
            await work(item)
        return
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    workers = [asyncio.ensure_future(worker()) for _ in range(min(MAX_IN_FLIGHT, len(items)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()
