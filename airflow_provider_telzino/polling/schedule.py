"""When an agent's calls are polled, decided without a clock, so that tests need none.

A *regular* poll comes once each interval, with jitter; the shortest interval among the agent's waits counts.
Calls that a poll missed, because a request failed or a wait joined meanwhile, are polled again soon by an
*early* poll, which leaves the pace of all others as it is.

All times are seconds on one clock, which the caller reads.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.rules.waiting import JITTER, MIN_POLL_INTERVAL

SLACK = 0.5  # the share of the shortest interval by which a call is polled ahead of time, to share a poll
MIN_POLL_TIME = 5.0  # seconds that a poll may take, however short the interval
MAX_CATCH_UP_PAUSE = 5.0  # seconds until an early poll, unless the connection pauses for longer

_uniform = random.SystemRandom().uniform


class Poll(NamedTuple):
    """One poll: which calls it covers, and when it has to end."""

    is_early: bool
    regular_since: float
    """When the last regular poll started (this one, unless it is early). Intervals count from then."""
    due_until: float
    """The poll covers the calls that are due by then."""
    give_up_at: float
    """From then on it sends no more requests."""


class Schedule:
    """The schedule of one agent's polls.

    Args:
        uniform: Draws the jitter: a random number between two.
    """

    def __init__(self, uniform: Callable[[float, float], float] = _uniform) -> None:
        self._uniform = uniform
        self._interval = math.inf
        self._regular_at = math.inf
        self._early_at = math.inf
        self._incomplete_polls = 0  # in a row
        self._poll = Poll(is_early=False, regular_since=-math.inf, due_until=0.0, give_up_at=0.0)

    @property
    def next_poll_at(self) -> float:
        """When the next poll starts."""
        return min(self._regular_at, self._early_at)

    def add_interval(self, interval: float, now: float) -> bool:
        """Take the interval of one more wait into account.

        A shorter one than all before sets the pace: the first poll comes within a part of it.

        Returns:
            Whether the next regular poll comes sooner now.
        """
        if interval >= self._interval:
            return False
        self._interval = interval
        first = now + self._uniform(0, SLACK * interval)
        if first >= self._regular_at:
            return False
        self._regular_at = first
        return True

    def start_poll(self, shortest_interval: float, now: float) -> Poll:
        """Start a poll, and schedule the regular one after it.

        It is a regular poll also shortly before that would be due: an early one would poll all calls twice.
        """
        self._interval = shortest_interval
        give_up_at = now + max(shortest_interval, MIN_POLL_TIME)
        last = self._poll
        if now < min(self._regular_at, last.regular_since + (1 - JITTER) * shortest_interval):
            self._poll = Poll(True, last.regular_since, max(last.due_until, now), give_up_at)
        else:
            self._poll = Poll(False, now, now + SLACK * shortest_interval, give_up_at)
            self._regular_at = now + shortest_interval * self._uniform(1 - JITTER, 1 + JITTER)
        return self._poll

    def end_poll(self, *, earliest_due: float, recovered_at: float, now: float) -> None:
        """Decide what follows a poll.

        Args:
            earliest_due: When the first of all calls is due next; infinite without calls.
            recovered_at: When the API last recovered from a failure.
            now: The time.
        """
        self._regular_at = max(self._regular_at, now + MIN_POLL_INTERVAL)
        if recovered_at > self._poll.regular_since:
            # An outage delayed this poll. The next one comes an interval after its end, not right after it.
            pause = self._interval * self._uniform(1, 1 + JITTER)
            self._regular_at = max(self._regular_at, recovered_at + pause)
        if earliest_due > self._poll.due_until:
            self._incomplete_polls = 0
            self._early_at = math.inf
        else:
            self._incomplete_polls += 1
            self._early_at = now + _catch_up_pause(self._incomplete_polls)


def _catch_up_pause(incomplete_polls: int) -> float:
    pause = retry.backoff(incomplete_polls, floor=retry.BACKOFF_BASE, time_left=MAX_CATCH_UP_PAUSE)
    return max(pause, MIN_POLL_INTERVAL)
