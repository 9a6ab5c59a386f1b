"""How far a task searches the agent's list for calls that its earlier processes may have placed.

``plan_search`` says how far, and ``SearchPass`` takes the pages. The package ``placing`` carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_telzino.models import is_record
from airflow_provider_telzino.rules.identity import Record, TaskRun, created_at

CLOCK_MARGIN = timedelta(minutes=15)  # by which the clocks of Airflow and Telzino may differ
MAX_SEARCH_PAGES = 100  # of 100 calls each: how far back a search goes
MAX_SINGLE_REQUESTS = 100  # calls that a search gets one by one because the list does not say whose they are
LIST_LAG_PAUSES = (5.0, 10.0)  # seconds before each further pass: a new call may appear in the list late


@dataclass(frozen=True)
class KnownCalls:
    """What is known of the task's calls before any search, from Airflow's task state or from its deferral."""

    is_supported: bool = True
    """Whether this Airflow has a task state, which every process of the task writes before it dials."""
    is_readable: bool = True
    """Whether it could be read. An unreadable task state is not an empty one."""
    may_be_deleted: bool = False
    """Whether nothing is stored, and a clear may be the reason."""
    calls: tuple[Record, ...] = ()
    """The current records of the calls that are known, all of them this task's."""
    dialling_since: datetime | None = None
    """When the task was first about to dial, if it is unknown whether its last dial has placed a call."""


@dataclass(frozen=True)
class SearchPlan:
    """How far to search the agent's list for the task's calls."""

    since: datetime | None
    """The task's calls are not older than this; ``None`` if that is unknown."""
    max_pages: int
    """How many pages to read at most in each pass."""
    pauses: tuple[float, ...]
    """Seconds to wait before each pass through the list. Passes end as soon as a call is found."""
    is_exhaustive: bool
    """Whether finding no call must prove that there is none: then a list that cannot be read, or cannot be
    read to its end, is an error."""


def plan_search(run: TaskRun, known: KnownCalls) -> SearchPlan | None:
    """Plan the search for calls that earlier processes of the task may have placed.

    Returns:
        The plan; ``None`` if all calls of the task are known.
    """
    if not known.is_readable:
        return exhaustive_search(run.since)
    if known.dialling_since is not None:
        return exhaustive_search(known.dialling_since - CLOCK_MARGIN)
    if any(map(run.placed_since_clear, known.calls)):
        return None
    if known.calls and not run.may_have_another_contact:
        return None
    # Otherwise the contact may have had another map index in between, and have been called there.
    if run.is_first:
        # Airflow may be wrong, for example after its database was restored: one page is a cheap check. And
        # before 3.2 it doesn't count clears of unfinished DAG runs, which may move a contact to a new index.
        may_be_moved = run.expanded_at is not None and not known.is_supported
        return _quick_search(run.since, max_pages=MAX_SEARCH_PAGES if may_be_moved else 1)
    if known.is_supported and not known.may_be_deleted and not run.was_cleared:
        # Each process stores that it is about to dial, so none was. But Airflow may have been upgraded to 3.3
        # between the tries: one pass is a cheap check.
        return _quick_search(run.since, max_pages=MAX_SEARCH_PAGES)
    return exhaustive_search(run.since)


def exhaustive_search(since: datetime | None) -> SearchPlan:
    """Plan a search that finds every call since a time, even if the list shows it late."""
    return SearchPlan(since, MAX_SEARCH_PAGES, (0.0, *LIST_LAG_PAUSES), is_exhaustive=True)


def _quick_search(since: datetime | None, max_pages: int) -> SearchPlan:
    return SearchPlan(since, max_pages, (0.0,), is_exhaustive=False)


class SearchPass:
    """One pass through the agent's list, page by page, newest call first.

    Args:
        run: The task instance whose calls are searched.
        plan: How far to search.
        keep: What is kept of each call that is found; by default all of it.
    """

    def __init__(self, run: TaskRun, plan: SearchPlan, keep: Callable[[Record], Record] = dict) -> None:
        self.found: list[Record] = []
        """The calls of the task in this DAG run, of any map index, as the list has them."""
        self.unidentified: list[str] = []
        """Ids of calls that the list says too little about: their records have to be requested singly."""
        self.is_complete = False
        """Whether all calls were seen that may be the task's."""
        self._run = run
        self._plan = plan
        self._keep = keep
        self._pages_left = plan.max_pages
        self._seen: set[str] = set()

    def add_page(self, items: Sequence[Record], more: bool) -> bool:
        """Add the next page of the list.

        Args:
            items: The calls on it.
            more: Whether another page follows.

        Returns:
            Whether the search needs the next page.
        """
        for item in items:
            # A call that is placed meanwhile shifts others to the next page, where they appear again.
            if item["id"] not in self._seen:
                self._seen.add(item["id"])
                self._add_item(item)
        self._pages_left -= 1
        self.is_complete = not more or (bool(items) and self._is_too_old(items[-1]))
        return not self.is_complete and self._pages_left > 0

    def add_record(self, record: Record) -> None:
        """Add the record of an unidentified call."""
        if self._run.is_same_task(record):
            self.found.append(self._keep(record))

    def _add_item(self, item: Record) -> None:
        if self._is_too_old(item):
            return
        if not is_record(item) or "request_metadata" not in item:
            self.unidentified.append(item["id"])
        elif self._run.is_same_task(item):
            self.found.append(self._keep(item))

    def _is_too_old(self, call: Record) -> bool:
        placed_at = created_at(call)
        return self._plan.since is not None and placed_at is not None and placed_at < self._plan.since
