"""An agent's calls by the status that they have now, so that no request goes through all of them."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_telzino.sandbox.records import PlacedCall

Entry = tuple[datetime, int, "PlacedCall"]
"""When a call was placed, a number that no other call has, and the call: sorted, they are oldest first."""

LIVE = "live"
"""A key beside the statuses: the calls that have not ended."""


class CallIndex:
    """The calls of an agent. Each call's next change of status is known, so only changes cost time."""

    def __init__(self) -> None:
        self.all: list[Entry] = []
        """Oldest first."""
        self._lists: defaultdict[str, list[Entry]] = defaultdict(list)
        self._entries: dict[str, Entry] = {}
        self._keys: dict[str, set[str]] = {}
        self._changes: list[tuple[datetime, Entry]] = []
        self._next_change: dict[str, datetime | None] = {}
        self._numbers = count()

    def add(self, call: PlacedCall, now: datetime) -> None:
        """Add a call."""
        entry = (call.created_at, next(self._numbers), call)
        self._entries[call.id], self._keys[call.id] = entry, set()
        insort(self.all, entry)
        self.update(call, now)

    def update(self, call: PlacedCall, now: datetime) -> None:
        """Move the call to the lists where it belongs now; call it when the call's course has changed."""
        entry = self._entries[call.id]
        before, keys = self._keys[call.id], {call.status(now)}
        if not call.has_ended(now):
            keys.add(LIVE)
        for key in before - keys:
            entries = self._lists[key]
            del entries[bisect_left(entries, entry)]
        for key in keys - before:
            insort(self._lists[key], entry)
        self._keys[call.id] = keys
        due = call.next_change(now)
        if due is not None and due != self._next_change.get(call.id):
            heapq.heappush(self._changes, (due, entry))
        self._next_change[call.id] = due

    def having(self, key: str | None, now: datetime) -> Sequence[Entry]:
        """Return the calls that have this status now (or ``LIVE``), or all calls; oldest first."""
        self._advance(now)
        return self.all if key is None else self._lists.get(key, ())

    def counts(self, now: datetime) -> dict[str, int]:
        """Return how many calls have each status now, and how many are ``LIVE``."""
        self._advance(now)
        return {key: len(entries) for key, entries in self._lists.items() if entries}

    def _advance(self, now: datetime) -> None:
        while self._changes and self._changes[0][0] <= now:
            _, (_, _, call) = heapq.heappop(self._changes)
            self.update(call, now)
