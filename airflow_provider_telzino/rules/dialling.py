"""The rules of placing a call exactly once, without I/O: whose call is it, and attach to it or dial?

A task puts its identity into the call's metadata. Whenever an earlier process of the task may have dialled,
its call is looked for in the agent's list first. ``operators.placing`` carries out what is decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.models import has_ended, is_record, parsed_time

METADATA_KEY = "airflow"  # under which a task's identity stands in the metadata of its calls
GENERATION_KEY = "generation"  # beside the identity, with `reattach=False`; see `TaskRun.generation`
CLOCK_MARGIN = timedelta(minutes=15)  # by which the clocks of Airflow and Telzino may differ
MAX_SEARCH_PAGES = 100  # of 100 calls: how far a search goes back
MAX_SINGLE_LOOKS = 100  # records that a search gets one by one, since the list didn't say whose they are
LIST_LAG_PAUSES = (5.0, 10.0)  # seconds before each further look: a list may show a call only after a while
WAY_OUT = "If that stays so, trigger a new DAG run: it has no earlier calls."

Record = dict[str, Any]


@dataclass(frozen=True)
class TaskRun:
    """What placing needs to know of the task that runs, from Airflow's context."""

    identity: Mapping[str, Any]
    """What marks a call as this task's: the same in all its tries."""
    since: datetime | None
    """No call of this task is older; ``None`` if that can't be told."""
    is_first: bool
    """Whether no earlier process can have dialled, by Airflow's books."""
    generation: int | None
    """Grows with each clear of the task and stays the same over its retries; ``None`` if it isn't known."""
    was_cleared: bool
    """Whether the task may have been cleared since its first try."""

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> TaskRun:
        """Read Airflow's context."""
        ti, dag_run = context["ti"], context.get("dag_run")
        index = getattr(ti, "map_index", None)
        try_number, max_tries = getattr(ti, "try_number", None), getattr(ti, "max_tries", None)
        retries = getattr(getattr(ti, "task", None), "retries", None)
        run_was_cleared = dag_run is None or bool(getattr(dag_run, "clear_number", None))
        return cls(
            identity={
                "dag_id": ti.dag_id,
                "run_id": ti.run_id,
                "task_id": ti.task_id,
                "map_index": -1 if index is None else index,
            },
            since=_earliest_start(dag_run),
            # The number grows whenever Airflow schedules the task again, for whatever reason; a deferred task
            # that resumes keeps it, but doesn't come here.
            is_first=try_number == 1 and not run_was_cleared,
            # A clear sets it to the tries so far and the task's retries; nothing else changes it, not even
            # an edit of the task's `retries`.
            generation=max_tries,
            # The DAG run doesn't count a clear that leaves its own state alone.
            was_cleared=run_was_cleared or max_tries is None or retries is None or max_tries > retries,
        )

    def counts(self, call: Mapping[str, Any]) -> bool:
        """Whether an own call was placed since the task was last cleared."""
        mark = _mark(call).get(GENERATION_KEY)
        # A call has no mark if the task had `reattach` on when it placed it.
        return not self.was_cleared if mark is None else bool(mark == self.generation)


def _earliest_start(dag_run: Any) -> datetime | None:
    """When the run may have begun at the earliest. Its ``start_date`` alone won't do: a clear resets that."""
    due = getattr(dag_run, "run_after", None) or getattr(dag_run, "data_interval_end", None)
    if not isinstance(due, datetime) or due > datetime.now(timezone.utc):
        return None  # A run of the future that runs already: Airflow 2 can be told to allow it.
    started = getattr(dag_run, "start_date", None)  # such a run's is before it was due
    return min(due, started if isinstance(started, datetime) else due) - CLOCK_MARGIN


def with_identity(metadata: Mapping[str, Any], run: TaskRun, *, reattach: bool) -> Record:
    """Add a task's identity to the metadata that its author gave, and what ``reattach=False`` needs besides.

    Raises:
        TelzinoConfigurationError: The author's metadata holds our key.
    """
    if METADATA_KEY in metadata:
        raise TelzinoConfigurationError(
            f"`metadata` has the key {METADATA_KEY!r}, under which the task's own identity is sent. Choose "
            "another key."
        )
    generation = {} if reattach or run.generation is None else {GENERATION_KEY: run.generation}
    return {**metadata, METADATA_KEY: {**run.identity, **generation}}


class Search:
    """One search for a task's calls in the agent's list, fed with its pages, newest call first.

    Args:
        run: The task that runs.
        max_pages: How many pages to read at most.
    """

    def __init__(self, run: TaskRun, max_pages: int = MAX_SEARCH_PAGES) -> None:
        self.own: list[Record] = []
        """The task's calls, newest first, as the list has them."""
        self.unclear: list[str] = []
        """Calls of which the list doesn't tell enough: their records have to be got one by one."""
        self.complete = False
        """Whether all calls were seen that may be the task's. If not, it may have one that wasn't found."""
        self._run = run
        self._pages_left = max_pages
        self._seen: set[str] = set()

    def take(self, items: Sequence[Record], more: bool) -> bool:
        """Take in the next page.

        Args:
            items: What is on it.
            more: Whether pages follow.

        Returns:
            Whether the search wants the next page.
        """
        for item in items:
            # A call that is placed meanwhile pushes others to the next page, where they come again.
            if item["id"] not in self._seen:
                self._seen.add(item["id"])
                self._take_call(item)
        self._pages_left -= 1
        self.complete = not more or (bool(items) and self._is_too_old(items[-1]))
        return not self.complete and self._pages_left > 0

    def take_record(self, record: Record) -> None:
        """Take in the record of a call that was unclear."""
        if self._is_own(record):
            self.own.append(record)
            self.own.sort(key=_age, reverse=True)

    def _take_call(self, item: Record) -> None:
        if self._is_too_old(item):
            return
        if not is_record(item) or "request_metadata" not in item:
            self.unclear.append(item["id"])
        elif self._is_own(item):
            self.own.append(item)

    def _is_own(self, call: Record) -> bool:
        mark, identity = _mark(call), self._run.identity
        return {name: mark.get(name) for name in identity} == identity

    def _is_too_old(self, call: Record) -> bool:
        placed_at = created_at(call)
        return self._run.since is not None and placed_at is not None and placed_at < self._run.since


@dataclass(frozen=True)
class Attach:
    """Go on with a call that the task has placed before."""

    call: Record
    why: str


@dataclass(frozen=True)
class Dial:
    """Place a call: none of the task's earlier ones is what it needs."""

    why: str


def decide(own: Sequence[Record], run: TaskRun, *, fail_on: Collection[str], reattach: bool) -> Attach | Dial:
    """Decide what to do, given all calls that the task has placed so far.

    Args:
        own: The task's calls, newest first.
        run: The task that runs.
        fail_on: The outcomes after which the task is to dial again.
        reattach: Whether a cleared task goes on with a call that has ended well.
    """
    live = [call for call in own if not has_ended(call)]
    if live:
        return Attach(live[0], f"it is {live[0]['status']}")
    if not own:
        return Dial("the task has placed no call yet")
    # The newest call need not be the one that the clear asked for: that may not have been placed yet.
    counted = own if reattach else [call for call in own if run.counts(call)]
    if not counted:
        return Dial(f"`reattach` is off, and the call before the clear ended with {own[0]['status']}")
    good = [call for call in counted if call["status"] not in fail_on]
    if good:
        return Attach(good[0], f"it ended with {good[0]['status']}")
    return Dial(f"the task's last call ended with {counted[0]['status']}, which is in `fail_on`")


def created_at(call: Record) -> datetime | None:
    """Read when a call was placed; ``None`` if it doesn't say."""
    try:
        return parsed_time("created_at", call.get("created_at"))
    except ValueError:
        return None


def _age(call: Record) -> float:
    placed_at = created_at(call)
    return placed_at.timestamp() if placed_at is not None else 0.0


def _mark(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read what a task put into a call's metadata; empty if no task did."""
    metadata = call.get("request_metadata")
    mark = metadata.get(METADATA_KEY) if isinstance(metadata, Mapping) else None
    return mark if isinstance(mark, Mapping) else {}
