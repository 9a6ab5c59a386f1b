"""The fewest requests for a poll of an agent's calls: which list pages to read, which calls to fetch singly.

Telzino lists an agent's calls newest first. A new call moves all others down by one and adds one to the
list's total, so counted from the oldest a call's place never changes. This *ordinal* is remembered, and at
the next poll it says which page the call is on. A page is worth its request when two of the calls are on it.

Calls without a known ordinal are searched for from the newest page on, until as many pages were useless as
there are calls left to find: fetching those singly costs no more. Nothing here does I/O.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from airflow_provider_telzino.api.endpoints import MAX_PAGE_SIZE

MIN_CALLS_A_PAGE = 2  # fewer are fetched singly
MAX_MISSES = 3  # times that a call's page could not be read, although the API answered other requests
UNLISTED_FOR = 20.0  # seconds for which a call is fetched singly when the list is of no use for it,
MAX_UNLISTED_FOR = 600.0  # doubled each time up to this


class Position:
    """Where the list has a call, as far as that is known."""

    __slots__ = ("misses", "ordinal", "searches", "unlisted_until")

    def __init__(self) -> None:
        self.ordinal: int | None = None
        self.unlisted_until = -math.inf
        self.misses = 0
        self.searches = 0  # without success

    def found(self, ordinal: int) -> None:
        """Remember where the list has the call."""
        if ordinal != self.ordinal or self.misses:
            self.ordinal = ordinal
            self.unlisted_until = -math.inf
            self.misses = self.searches = 0

    def missed(self, now: float) -> None:
        """Count that the call's page could not be read, although the API answered other requests."""
        self.misses += 1
        if self.misses >= MAX_MISSES:
            self.unlist(now)

    def unlist(self, now: float) -> None:
        """Do without the list for a while: it is of no use for this call."""
        self.unlisted_until = now + min(UNLISTED_FOR * 2 ** min(self.searches, 10), MAX_UNLISTED_FOR)
        self.ordinal, self.misses = None, 0
        self.searches += 1


class CallPositions:
    """What is known of an agent's list from earlier polls: its length, and where the waiting calls are."""

    def __init__(self) -> None:
        self.total = 0
        """How many calls the list had when it was last read."""
        self._positions: dict[str, Position] = {}

    def add(self, call_id: str) -> None:
        """Remember a call's position from now on."""
        self._positions[call_id] = Position()

    def remove(self, call_id: str) -> None:
        """Forget a call."""
        del self._positions[call_id]

    def __getitem__(self, call_id: str) -> Position:
        return self._positions[call_id]

    def get(self, call_id: str) -> Position | None:
        """Return a call's position, or ``None`` for one that was not added."""
        return self._positions.get(call_id)

    def page_of(self, ordinal: int) -> int:
        """Return the page (from 1) that has an ordinal now."""
        return (self.total - ordinal) // MAX_PAGE_SIZE + 1 if ordinal < self.total else 1


class PagePlan:
    """The requests of one poll.

    Read the :meth:`next_pages` and report the result of each (:meth:`page_read`, :meth:`page_failed`,
    :meth:`page_refused`), until there are none; then fetch the :meth:`single_calls`.

    Args:
        positions: Where the calls were at the last poll. It is kept up to date.
        due: The ids of the calls to poll, and since when each is due: the earliest is the most urgent.
        now: The time, on the clock of all polls.
    """

    def __init__(self, positions: CallPositions, due: Mapping[str, float], now: float) -> None:
        self._positions = positions
        self._due = due
        self._now = now
        self._singles: list[str] = []
        self._wanted: dict[str, Position] = {}  # calls to find in the list, the most urgent first
        for call_id in sorted(due, key=due.__getitem__):
            position = positions[call_id]
            if position.unlisted_until > now:
                self._singles.append(call_id)
            else:
                self._wanted[call_id] = position
        self._requested: set[int] = set()
        self._searched: set[int] = set()
        self._last_page = math.inf
        self._useless_pages = 0

    def next_pages(self) -> dict[int, list[str]]:
        """Return the pages to read now, each with the calls that may be on it; the most urgent first.

        Equally urgent pages keep their order from poll to poll, so that each is read at the same interval.
        """
        lost: list[str] = []
        expected: dict[int, list[str]] = defaultdict(list)
        for call_id, position in self._wanted.items():
            if position.ordinal is None:
                lost.append(call_id)
            else:
                expected[self._positions.page_of(position.ordinal)].append(call_id)
        searched = self._pages_to_search(len(lost))
        for page in searched:
            expected[page] = lost + expected[page]
        worth = [
            page
            for page, call_ids in expected.items()
            if len(call_ids) >= MIN_CALLS_A_PAGE and page not in self._requested
        ]
        self._requested.update(worth)
        self._searched.update(searched)
        worth.sort(key=lambda page: (self._due[expected[page][0]], page))
        return {page: expected[page] for page in worth}

    def _pages_to_search(self, lost: int) -> list[int]:
        most = min(math.ceil(lost / MAX_PAGE_SIZE), lost - self._useless_pages)
        unread = (page for page in itertools.count(1) if page not in self._requested)
        pages = itertools.takewhile(lambda page: page <= self._last_page, unread)
        return list(itertools.islice(pages, max(0, most)))

    def page_read(self, page: int, found: Mapping[str, int], total: int, is_last: bool) -> None:
        """Report what a page contains.

        Args:
            page: Its number, from 1.
            found: The ids of waiting calls on it, each with its index on the page, from 0.
            total: How many calls the whole list has.
            is_last: Whether it is the last page.
        """
        self._positions.total = total
        if is_last:
            self._last_page = min(self._last_page, page)
        first = total - (page - 1) * MAX_PAGE_SIZE
        is_useful = False
        for call_id, index in found.items():
            position = self._wanted.pop(call_id, None)
            is_useful |= position is not None
            if position := position or self._positions.get(call_id):
                position.found(first - index)
        if page in self._searched and not is_useful:
            self._useless_pages += 1

    def page_absent(self, page: int) -> None:
        """Report that the list has no such page: it ends before it."""
        self.page_read(page, {}, self._positions.total, is_last=True)

    def page_failed(self, call_ids: Iterable[str]) -> None:
        """Report that a page could not be read: its calls are left to the next poll."""
        for call_id in call_ids:
            self._wanted.pop(call_id, None)

    def page_broken(self, call_ids: Iterable[str]) -> None:
        """Report that the calls' page could not be read, although the API answered other requests."""
        for call_id in call_ids:
            if position := self._positions.get(call_id):
                position.missed(self._now)

    def page_refused(self, call_ids: Iterable[str]) -> None:
        """Report that the API refused a page: its calls are fetched singly, in case those are not refused."""
        for call_id in call_ids:
            if position := self._wanted.pop(call_id, None):
                position.unlist(self._now)
                self._singles.append(call_id)

    def single_calls(self) -> list[str]:
        """Return the calls to fetch singly, when there are no more pages to read."""
        for position in self._wanted.values():
            if position.ordinal is None and self._useless_pages:
                position.unlist(self._now)
            elif (
                position.ordinal is not None and self._positions.page_of(position.ordinal) in self._requested
            ):
                position.ordinal = None  # It is no longer where it was.
        return [*self._wanted, *self._singles]
