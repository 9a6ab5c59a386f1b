"""Sends the requests of one poll, and passes what they show to the waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from airflow_provider_telzino.exceptions import (
    TelzinoBadRequestError,
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoRateLimitError,
    TelzinoTransientError,
)
from airflow_provider_telzino.models import is_conclusive
from airflow_provider_telzino.polling.channel import MAX_IN_FLIGHT, Channel
from airflow_provider_telzino.polling.page_plan import CallPositions, PagePlan
from airflow_provider_telzino.polling.schedule import Poll
from airflow_provider_telzino.polling.watched_call import WatchedCall

ENDED_BATCH = 20  # ended calls in one step of the event loop: each logs a line and wakes its trigger

T = TypeVar("T")
log = logging.getLogger(__name__)


class PollRequests:
    """The requests of one poll.

    Args:
        poll: Which calls are due, and when to stop.
        calls: The agent's waiting calls by id. Some may be added and removed during the poll.
        positions: Where the agent's list has them.
        agent_id: The agent; by default the connection's.
        channel: Sends the requests.
    """

    def __init__(
        self,
        poll: Poll,
        calls: Mapping[str, WatchedCall],
        positions: CallPositions,
        *,
        agent_id: str | None,
        channel: Channel,
    ) -> None:
        self.pages = 0
        """How many list pages were requested."""
        self.singles = 0
        """How many calls were requested singly."""
        self._poll = poll
        self._calls = calls
        self._agent_id = agent_id
        self._channel = channel
        self._now = asyncio.get_running_loop().time
        self._plan = PagePlan(
            positions,
            due={call_id: call.due for call_id, call in calls.items() if call.due <= poll.due_until},
            now=self._now(),
        )

    async def send(self) -> None:
        """Send them all. What could not be read stays due."""
        if len(self._calls) > 1:
            while expected := self._plan.next_pages():
                self.pages += len(expected)
                await _for_each([*expected.items()], lambda item: self._read_page(*item))
            single_calls = self._plan.single_calls()
        else:
            single_calls = [*self._calls]
        self.singles = len(single_calls)
        await _for_each(single_calls, self._fetch)

    async def _read_page(self, number: int, expected: list[str]) -> None:
        if self._is_over():
            self._plan.page_failed(expected)
            return
        try:
            page = await self._channel.send(
                lambda hook: hook.get_calls_page(number, self._agent_id, retry_for=0)
            )
        except TelzinoTransientError as error:
            self._plan.page_failed(expected)
            if not isinstance(error, TelzinoRateLimitError):
                await self._check_whose_fault(expected)
        except (TelzinoNotFoundError, TelzinoBadRequestError) as error:
            if number == 1:
                self._plan.page_refused(expected)
            else:  # Some lists end like this.
                log.debug("Page %s of the calls of agent %s: %s", number, self._agent_id, error)
                self._plan.page_absent(number)
        except TelzinoError:
            self._plan.page_refused(expected)
        else:
            found = await self._observe_items(page.items)
            self._plan.page_read(number, found, page.total, page.is_last)

    async def _observe_items(self, items: list[dict[str, Any]]) -> dict[str, int]:
        """Pass a page's items to their waits; return the ids of those calls, with their index on the page."""
        seen_at = self._seen_at()
        found: dict[str, int] = {}
        ended = 0
        for index, item in enumerate(items):
            call_id = item["id"].lower()
            call = self._calls.get(call_id)
            if call is None or not is_conclusive(item):
                continue
            found[call_id] = index
            call.due = seen_at + call.interval
            call.observe(item)
            ended += call.known_status is None
            if ended >= ENDED_BATCH:
                ended = 0
                await asyncio.sleep(0)
        return found

    async def _check_whose_fault(self, expected: list[str]) -> None:
        """After a failed page, fetch one of its calls: if that succeeds, the page is the problem."""
        unseen = [call_id for call_id in expected if self._is_due(call_id)]
        if unseen and await self._fetch(unseen[0]):
            self._plan.page_broken(unseen)

    async def _fetch(self, call_id: str) -> bool:
        """Fetch a single call. Returns whether its record could be read."""
        call = self._calls.get(call_id)
        if call is None or self._is_over():
            return False
        try:
            record = await self._channel.send(
                lambda hook: hook.get_call(call_id, self._agent_id, retry_for=0)
            )
        except TelzinoNotFoundError as error:
            call.not_found(error, self._now())
        except TelzinoTransientError:
            call.missing_since = None
        except TelzinoError as error:
            call.end(error)
        else:
            call.due = self._seen_at() + call.interval
            call.observe(record)
            return True
        return False

    def _is_due(self, call_id: str) -> bool:
        call = self._calls.get(call_id)
        return call is not None and call.due <= self._poll.due_until

    def _is_over(self) -> bool:
        return self._now() >= self._poll.give_up_at

    def _seen_at(self) -> float:
        """From when a call's interval counts: the start of the regular poll, or the end of an outage."""
        return max(self._poll.regular_since, self._channel.backoff.recovered_at)


async def _for_each(items: Sequence[T], work: Callable[[T], Awaitable[object]]) -> None:
    """Do the work for all items, a few at a time; an error ends it all."""
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
