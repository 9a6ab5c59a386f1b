"""The rules for placing a call exactly once, without I/O: which calls are the task's, and continue or dial?

A task puts its identity into the metadata of its calls. Before it dials, ``plan_search`` says how far to
search the agent's list for calls that earlier processes of the task may have placed, ``SearchPass``
recognises them, and ``decide`` chooses between continuing with one of them and dialling. The package
``placing`` carries it out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.models import has_ended, is_record, parsed_time

METADATA_KEY = "airflow"  # the key of the task's identity in a call's metadata
GENERATION_KEY = "generation"  # part of that identity with `reattach=False`; see `TaskRun.generation`
CLOCK_MARGIN = timedelta(minutes=15)  # by which the clocks of Airflow and Telzino may differ
MAX_SEARCH_PAGES = 100  # of 100 calls each: how far back a search goes
MAX_SINGLE_REQUESTS = 100  # calls that a search gets one by one because the list does not say whose they are
LIST_LAG_PAUSES = (5.0, 10.0)  # seconds before each further pass: a new call may appear in the list late

Record = dict[str, Any]


@dataclass(frozen=True)
class TaskRun:
    """What placing a call needs to know about the task instance that runs."""

    identity: Mapping[str, Any]
    """Marks a call as this task's. It is the same in all tries of the task."""
    since: datetime | None
    """No call of this task is older; ``None`` if that is unknown."""
    is_first: bool
    """Whether this is the first try, according to Airflow, so that no earlier process can have dialled."""
    generation: int | None
    """Grows with each clear of the task and stays the same over its retries; ``None`` if unknown."""
    was_cleared: bool
    """Whether the task may have been cleared since its first try."""

    def placed_since_clear(self, call: Mapping[str, Any]) -> bool:
        """Whether a call of this task was placed since the task was last cleared."""
        generation = _identity_in(call).get(GENERATION_KEY)
        # A call has no generation if the task had `reattach=True` when it placed it.
        return not self.was_cleared if generation is None else bool(generation == self.generation)


@dataclass(frozen=True)
class TaskState:
    """What Airflow has stored about the task in its task state (Airflow 3.3 on)."""

    is_supported: bool = True
    """Whether this Airflow has a task state at all."""
    is_readable: bool = True
    """Whether it could be read. An unreadable task state is not an empty one."""
    call: Record | None = None
    """The current record of the last call that the task has stored."""
    dialling_since: datetime | None = None
    """When the task was first about to dial. It stores this directly before its first POST."""


def with_identity(metadata: Mapping[str, Any], run: TaskRun, *, reattach: bool) -> Record:
    """Add the task's identity to the metadata that the DAG author gave.

    Raises:
        TelzinoConfigurationError: The author's metadata already has our key.
    """
    if METADATA_KEY in metadata:
        raise TelzinoConfigurationError(
            f"`metadata` has the key {METADATA_KEY!r}, which is reserved for the task's identity. Choose "
            "another key."
        )
    generation = {} if reattach or run.generation is None else {GENERATION_KEY: run.generation}
    return {**metadata, METADATA_KEY: {**run.identity, **generation}}


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


def plan_search(run: TaskRun, state: TaskState) -> SearchPlan:
    """Plan the search for calls that earlier processes of the task may have placed.

    It is needed only if ``state.call`` is not a call to continue with.
    """
    if not state.is_readable:
        return exhaustive_search(run.since)
    if state.call is not None:
        # A process may have placed a newer call and died before it could store it.
        placed_at = created_at(state.call)
        return exhaustive_search(run.since if placed_at is None else placed_at - CLOCK_MARGIN)
    if state.dialling_since is not None:
        return exhaustive_search(state.dialling_since - CLOCK_MARGIN)
    if run.is_first:
        # Airflow may be wrong, for example after its database was restored: one page is a cheap check.
        return _quick_search(run.since, max_pages=1)
    if state.is_supported and not run.was_cleared:
        # Each try stores that it is about to dial, so none was. But Airflow may have been upgraded to 3.3
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
        identity: The identity of the task whose calls are searched.
        plan: How far to search.
    """

    def __init__(self, identity: Mapping[str, Any], plan: SearchPlan) -> None:
        self.own: list[Record] = []
        """The task's calls, newest first, as the list has them."""
        self.unidentified: list[str] = []
        """Ids of calls that the list says too little about: their records have to be requested singly."""
        self.is_complete = False
        """Whether all calls were seen that may be the task's."""
        self._identity = identity
        self._plan = plan
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
        if self._is_own(record):
            self.own.append(record)
            self.own.sort(key=_timestamp, reverse=True)

    def _add_item(self, item: Record) -> None:
        if self._is_too_old(item):
            return
        if not is_record(item) or "request_metadata" not in item:
            self.unidentified.append(item["id"])
        elif self._is_own(item):
            self.own.append(item)

    def _is_own(self, call: Record) -> bool:
        found = _identity_in(call)
        return {name: found.get(name) for name in self._identity} == self._identity

    def _is_too_old(self, call: Record) -> bool:
        placed_at = created_at(call)
        return self._plan.since is not None and placed_at is not None and placed_at < self._plan.since


@dataclass(frozen=True)
class Attach:
    """Continue with a call that the task has already placed."""

    call: Record
    why: str


@dataclass(frozen=True)
class Dial:
    """Place a call: the task has none that it could continue with."""

    why: str


def decide(own: Sequence[Record], run: TaskRun, *, fail_on: Collection[str], reattach: bool) -> Attach | Dial:
    """Decide whether to continue with one of the task's calls or to dial.

    Args:
        own: All calls that the task has placed so far, newest first.
        run: The task instance that runs.
        fail_on: The outcomes after which the task dials again.
        reattach: Whether a cleared task continues with a call that has ended well.
    """
    live = [call for call in own if not has_ended(call)]
    if live:
        return Attach(live[0], f"it is {live[0]['status']}")
    if not own:
        return Dial("the task has placed no call yet")
    # The newest call is not always the one that the clear asked for: that may not have been placed yet.
    relevant = own if reattach else [call for call in own if run.placed_since_clear(call)]
    if not relevant:
        return Dial(f"`reattach` is off, and the call before the clear ended with {own[0]['status']}")
    good = [call for call in relevant if call["status"] not in fail_on]
    if good:
        return Attach(good[0], f"it ended with {good[0]['status']}")
    return Dial(f"the task's last call ended with {relevant[0]['status']}, which is in `fail_on`")


def created_at(call: Record) -> datetime | None:
    """Return when a call was placed; ``None`` if its record does not say."""
    try:
        return parsed_time("created_at", call.get("created_at"))
    except ValueError:
        return None


def _timestamp(call: Record) -> float:
    placed_at = created_at(call)
    return placed_at.timestamp() if placed_at is not None else 0.0


def _identity_in(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the task identity in a call's metadata; empty if no task has placed it."""
    metadata = call.get("request_metadata")
    identity = metadata.get(METADATA_KEY) if isinstance(metadata, Mapping) else None
    return identity if isinstance(identity, Mapping) else {}
