"""The cheapest look at an agent's waiting calls: which list pages to read, and which calls to fetch singly.

Telzino lists an agent's calls newest first. A new call moves all others down by one and adds one to the
list's total, so counted from the oldest a call's place never changes: this *ordinal* is remembered, and tells
at the next look which page the call is on. A page is worth its request when two of the calls are on it.

Calls whose ordinal isn't known are searched from the newest page on, until as many pages were of no use as
there are calls left to find: to fetch those singly costs no more. Nothing here does I/O.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

from airflow_provider_telzino.api.endpoints import MAX_PAGE_SIZE

MIN_CALLS_A_PAGE = 2  # fewer are fetched singly
MAX_MISSES = 3  # times that a call's page could not be read, though the API answered otherwise
UNLISTED_FOR = 20.0  # seconds for which a call is fetched singly when the list is of no use for it,
MAX_UNLISTED_FOR = 600.0  # doubled each time up to this


class ListedCall:
    """A call, when it is to be looked at, and where its agent's list has it as far as that is known."""

    __slots__ = ("call_id", "due", "misses", "ordinal", "searches", "unlisted_until")

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.due = 0.0  # at once
        self.ordinal: int | None = None
        self.unlisted_until = -math.inf
        self.misses = 0
        self.searches = 0  # in vain

    def listed_at(self, page: int, index: int, total: int) -> None:
        """Remember where the list had it: the item ``index`` (from 0) of a page (from 1)."""
        ordinal = total - (page - 1) * MAX_PAGE_SIZE - index
        if ordinal != self.ordinal or self.misses:
            self.ordinal = ordinal
            self.unlisted_until = -math.inf
            self.misses = self.searches = 0

    def missed(self, now: float) -> None:
        """Take note that its page could not be read, though the API answered otherwise."""
        self.misses += 1
        if self.misses >= MAX_MISSES:
            self.unlisted(now)

    def unlisted(self, now: float) -> None:
        """Leave the list alone for a while: it is of no use for this call."""
        self.unlisted_until = now + min(UNLISTED_FOR * 2 ** min(self.searches, 10), MAX_UNLISTED_FOR)
        self.ordinal, self.misses = None, 0
        self.searches += 1


C = TypeVar("C", bound=ListedCall)


class Look(Generic[C]):
    """One look at the calls that are due.

    Read the :meth:`next_pages` and tell what became of each (:meth:`page_read`, :meth:`page_failed`,
    :meth:`page_refused`), until there are none; then fetch the :meth:`rest`.

    Args:
        due: The calls, the most urgent first.
        total: How many calls the agent's list had when it was last read.
        now: The time, on the clock of ``unlisted_until``.
    """

    def __init__(self, due: Iterable[C], total: int, now: float) -> None:
        self.total = total
        self._now = now
        self._singles: list[C] = []
        self._wanted: dict[str, C] = {}  # in the list
        for call in due:
            if call.unlisted_until > now:
                self._singles.append(call)
            else:
                self._wanted[call.call_id] = call
        self._asked: set[int] = set()
        self._searched: set[int] = set()
        self._last_page = math.inf
        self._useless_pages = 0

    def next_pages(self) -> dict[int, list[C]]:
        """Return the pages to read now, each with the calls that may be on it; the most urgent first.

        Of equally urgent ones the order stays the same from look to look, so each page keeps its interval.
        """
        lost: list[C] = []
        expected: dict[int, list[C]] = defaultdict(list)
        for call in self._wanted.values():
            if call.ordinal is None:
                lost.append(call)
            else:
                expected[self._page_of(call.ordinal)].append(call)
        searched = self._pages_to_search(len(lost))
        for page in searched:
            expected[page] = lost + expected[page]
        worth = [
            page
            for page, calls in expected.items()
            if len(calls) >= MIN_CALLS_A_PAGE and page not in self._asked
        ]
        self._asked.update(worth)
        self._searched.update(searched)
        worth.sort(key=lambda page: (expected[page][0].due, page))
        return {page: expected[page] for page in worth}

    def _pages_to_search(self, lost: int) -> list[int]:
        most = min(math.ceil(lost / MAX_PAGE_SIZE), lost - self._useless_pages)
        unread = (page for page in itertools.count(1) if page not in self._asked)
        pages = itertools.takewhile(lambda page: page <= self._last_page, unread)
        return list(itertools.islice(pages, max(0, most)))

    def _page_of(self, ordinal: int) -> int:
        return (self.total - ordinal) // MAX_PAGE_SIZE + 1 if ordinal < self.total else 1

    def page_read(self, page: int, found: Collection[str], total: int, is_last: bool) -> None:
        """Take note of what a page had: the ids of waiting calls, and the list's total."""
        self.total = total
        if is_last:
            self._last_page = min(self._last_page, page)
        useful = False
        for call_id in found:
            useful |= self._wanted.pop(call_id, None) is not None
        if page in self._searched and not useful:
            self._useless_pages += 1

    def page_failed(self, calls: Iterable[C]) -> None:
        """Leave the calls of a page that could not be read to the next look."""
        for call in calls:
            self._wanted.pop(call.call_id, None)

    def page_refused(self, calls: Iterable[C]) -> None:
        """Fetch the calls of a page that the API won't give: they tell whether it refuses them, too."""
        for call in calls:
            if self._wanted.pop(call.call_id, None):
                call.unlisted(self._now)
                self._singles.append(call)

    def rest(self) -> list[C]:
        """Return the calls to fetch singly, when there are no more pages to read."""
        for call in self._wanted.values():
            if call.ordinal is None and self._useless_pages:
                call.unlisted(self._now)
            elif call.ordinal is not None and self._page_of(call.ordinal) in self._asked:
                call.ordinal = None  # It isn't where it was.
        return [*self._wanted.values(), *self._singles]
