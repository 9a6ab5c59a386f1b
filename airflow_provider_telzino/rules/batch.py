"""The rules of a batch of calls, without I/O: how far it is, what its trigger reports, and when.

A campaign waits for its calls by the same rules. All times are seconds on one clock, which the caller reads.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from airflow_provider_telzino.rules.waiting import outcome_name

MAX_CALLS = 1_000  # of one trigger: its arguments stay below 64 KB, encrypted, too, which is MySQL's limit
PROGRESS_SHARE = 10  # progress is logged when another tenth of the calls has ended,
PROGRESS_INTERVAL = 60.0  # or when any has, so many seconds after the last line;
PROGRESS_DELAY = 2.0  # seconds later, so that all calls that one poll finds ended have one line

Outcome = Literal["ended", "due", "timeout", "refused"]


# --- How far a batch is ---


class BatchTally:
    """How many calls of a batch have ended, and how; and whether its trigger has to report that.

    Args:
        total: How many calls there are.
        deadline: When to give up.
        until_ended: How many calls have to end; by default all.
        resume_after: By the name of an outcome: seconds after the first call that ended so, when the trigger
            has to report although others are live.
        not_before: Whatever has ended, the trigger has nothing to report before this time.
    """

    def __init__(
        self,
        total: int,
        *,
        deadline: float,
        until_ended: int | None = None,
        resume_after: Mapping[str, float] | None = None,
        not_before: float = -math.inf,
    ) -> None:
        self.total = total
        self.counts: Counter[str] = Counter()
        """How many calls have ended, by status."""
        self.missing = 0
        """How many calls the API doesn't know."""
        self._deadline = deadline
        self._wanted = total if until_ended is None else min(until_ended, total)
        self._resume_after = resume_after or {}
        self._due_at = math.inf
        self._not_before = not_before

    @property
    def settled(self) -> int:
        """How many calls needn't be waited for any more."""
        return self.counts.total() + self.missing

    def add(self, status: str, now: float) -> None:
        """Note that a call has ended."""
        self.counts[status] += 1
        self._due_at = min(self._due_at, now + self._resume_after.get(outcome_name(status), math.inf))

    def add_missing(self) -> None:
        """Note that the API doesn't know a call."""
        self.missing += 1

    def outcome(self, now: float) -> Outcome | None:
        """Return what the trigger has to report; ``None`` while it has to wait."""
        if self._has_enough and now >= self._not_before:
            return "ended"
        if now >= max(self._due_at, self._not_before):
            return "due"
        return "timeout" if now >= self._deadline else None

    @property
    def changes_at(self) -> float:
        """When :meth:`outcome` is another one although no call has ended."""
        ready_at = -math.inf if self._has_enough else self._due_at
        return min(max(ready_at, self._not_before), self._deadline)

    @property
    def _has_enough(self) -> bool:
        return self.settled >= self._wanted

    def __str__(self) -> str:
        return progress_text(self.total, self.counts, self.missing)


def progress_text(total: int, counts: Mapping[str, int], missing: int = 0) -> str:
    """Describe a batch: ``412 of 1,000 ended: 301 completed, 80 no answer, 31 busy``."""
    return (
        f"{sum(counts.values()):,} of {total:,} ended"
        + (f": {counts_text(counts)}" if counts else "")
        + (f"; {missing:,} not found" if missing else "")
    )


def counts_text(counts: Mapping[str, int]) -> str:
    """Describe how many calls have ended in each status, the most frequent first."""
    frequent_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {status.replace('_', ' ')}" for status, number in frequent_first)


class Progress:
    """When to log how far a batch is: often enough to follow it, but not for each call.

    Args:
        total: How many calls there are.
        now: When the wait begins; ``-math.inf`` logs what the first poll finds.
        delay: Seconds between finding something to log and doing so: some polls find it in pieces.
    """

    def __init__(self, total: int, now: float, delay: float = PROGRESS_DELAY) -> None:
        self._total = total
        self._delay = delay
        self._logged = 0
        self._logged_at = now
        self.due_at = math.inf
        """When :meth:`is_due` has to be asked again, if no other call ends before."""

    def is_due(self, settled: int, now: float) -> bool:
        """Whether to log now that so many calls are settled. If so, it counts as logged."""
        if settled == self._logged:
            return False
        reached_share = self._share(settled) > self._share(self._logged)
        soonest = now if reached_share else self._logged_at + PROGRESS_INTERVAL
        self.due_at = min(self.due_at, max(soonest, now) + self._delay)
        if now < self.due_at:
            return False
        self._logged, self._logged_at, self.due_at = settled, now, math.inf
        return True

    def _share(self, settled: int) -> int:
        return settled * PROGRESS_SHARE // self._total


# --- What its trigger reports ---


@dataclass(frozen=True)
class BatchEvent:
    """What ended the trigger of a batch. It holds counts and times only: Airflow logs and stores it."""

    outcome: Outcome
    """``ended`` (all calls have, or as many as the trigger was asked to wait for), ``due`` (the time of
    ``resume_after`` is over), ``timeout`` (the deadline has passed) or ``refused`` (the API, or Airflow,
    refuses requests over the connection)."""
    total: int
    """How many calls the trigger waited for; an id that it was given twice counts once."""
    ended: int
    missing: int
    """How many calls the API doesn't know. They are not among those that have ended."""
    counts: Mapping[str, int]
    """How many calls have ended, by status."""
    error: str | None = None
    """The class of the error, for ``refused``."""
    deadline: float | None = None
    """When the wait gives up, in seconds since the epoch."""

    @classmethod
    def parse(cls, payload: object) -> BatchEvent | None:
        """Read the payload of a trigger's event; ``None`` if it isn't one that our trigger emits."""
        if not isinstance(payload, Mapping):
            return None
        values: dict[str, Any] = {field.name: payload.get(field.name) for field in fields(cls)}
        event = cls(**values)
        is_valid = (
            event.outcome in ("ended", "due", "timeout", "refused")
            and all(isinstance(number, int) for number in (event.total, event.ended, event.missing))
            and isinstance(event.counts, Mapping)
            and (event.error is None or isinstance(event.error, str))
            and (event.deadline is None or isinstance(event.deadline, (int, float)))
        )
        return event if is_valid else None

    def payload(self) -> dict[str, Any]:
        """Return the event as the JSON object that Airflow passes to the task."""
        return asdict(self)
