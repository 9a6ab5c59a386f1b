"""A limit of concurrent calls: further ones stay queued until one ends, first come, first served."""

from __future__ import annotations

import heapq
import math
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_telzino.sandbox.records import PlacedCall

NEVER = datetime.max.replace(tzinfo=timezone.utc)


class Line:
    """Decides how long each call of an agent stays queued.

    The end of a call is known when it is placed, and so is the time at which a later call gets its place. The
    line is formed again only when a test changes the course of a call.

    Args:
        limit: How many calls are concurrent at most: dispatched, and not ended. ``None`` is no limit.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._ends: list[datetime] = []  # a heap: when the places that are taken become free

    def join(self, call: PlacedCall, now: datetime) -> None:
        """Let a call wait until one of those before it has ended, if too many are concurrent."""
        if self.limit is None:
            return
        free = now
        while len(self._ends) >= self.limit:
            free = max(free, heapq.heappop(self._ends))
        call.schedule = call.undelayed.dispatched_at(math.inf if free == NEVER else call.elapsed(free))
        self._take_place(call)

    def form_again(self, live: Iterable[PlacedCall], now: datetime) -> list[PlacedCall]:
        """Let all calls that are still queued line up again; return them.

        Args:
            live: The agent's calls that have not ended, oldest first.
            now: The present.
        """
        if self.limit is None:
            return []
        self._ends.clear()
        queued = []
        for call in live:
            if call.status(now) != "queued":
                self._take_place(call)
            elif not call.pinned:
                queued.append(call)
        for call in queued:
            self.join(call, now)
        return queued

    def _take_place(self, call: PlacedCall) -> None:
        heapq.heappush(self._ends, call.ends or NEVER)
