"""The rules of a wait, without I/O: when to look, what a look means, and what the outcome does to the task.

Worker and triggerer feed the same :class:`Wait`, so they can't drift apart.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.models import TERMINAL_STATUSES, CallStatus, has_ended

DEFAULT_POLL_INTERVAL = 10.0  # seconds between two looks
DEFAULT_TIMEOUT = 2 * 3600.0  # seconds until a wait gives up
MIN_POLL_INTERVAL = 0.1  # seconds; a smaller interval would only load the API
MAX_DURATION = 366 * 86_400.0  # seconds
DEFERRAL_MARGIN = 60.0  # seconds that Airflow gives a trigger beyond the trigger's own deadline and interval
JITTER = 0.02  # the share of the interval by which a pause may be shorter or longer

_uniform = random.SystemRandom().uniform


class Wait:
    """One wait for one call: what was seen of it, and what is left of its time.

    Args:
        call_id: The call.
        deadline: When to give up, in seconds since the epoch. It is absolute, so that a restart of whoever
            waits doesn't prolong it.
        poll_interval: Seconds between two looks.
        log: The logger that tells each change of status, once.
        status: The status that was last seen, if the wait goes on from an earlier process.
        since: When that status was first seen, in seconds since the epoch.
    """

    __slots__ = ("call_id", "deadline", "log", "poll_interval", "since", "status")  # there may be thousands

    def __init__(
        self,
        call_id: str,
        *,
        deadline: float,
        poll_interval: float,
        log: Any,
        status: str | None = None,
        since: float | None = None,
    ) -> None:
        self.call_id = call_id
        self.deadline = deadline
        self.poll_interval = max(poll_interval, MIN_POLL_INTERVAL)
        self.log = log
        self.status = status
        self.since = time.time() if since is None else since

    def saw(self, record: Mapping[str, Any]) -> bool:
        """Take in a record, whole or from a list.

        Returns:
            Whether the call has ended.
        """
        status, now = str(record["status"]), time.time()
        if status != self.status:
            if self.status is None:
                self.log.info("Call %s is %s.", self.call_id, status)
            else:
                after = max(0.0, now - self.since)
                self.log.info("Call %s: %s → %s after %.1f s.", self.call_id, self.status, status, after)
            self.status, self.since = status, now
        return has_ended(record)

    def time_left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.time())

    def pause(self) -> float:
        """Seconds until the next look, with jitter; the last look is at the deadline."""
        return min(self.poll_interval * _uniform(1 - JITTER, 1 + JITTER), self.time_left())

    def last_seen(self) -> str:
        """Say what is known of the call, for people."""
        if self.status is None:
            return "it could not be looked at"
        age = time.time() - self.since
        # In Airflow's mode `reschedule` each look is a process of its own, which can't know.
        return f"it was last seen {self.status}" + (f", for {age:.1f} s" if age >= 0.05 else "")


class OutcomePolicy(NamedTuple):
    """What a call's outcome does to the task, and how much of the record is pushed."""

    fail_on: frozenset[str]
    skip_on: frozenset[str]
    record_fields: tuple[str, ...] | None

    @classmethod
    def checked(
        cls, fail_on: Collection[str], skip_on: Collection[str], record_fields: Collection[str] | None
    ) -> OutcomePolicy:
        """Check what a DAG author gave.

        Raises:
            TelzinoConfigurationError: The message names the argument and what it may hold.
        """
        policy = cls(
            _statuses("fail_on", fail_on),
            _statuses("skip_on", skip_on),
            None if record_fields is None else tuple(_names("record_fields", record_fields)),
        )
        if both := policy.fail_on & policy.skip_on:
            raise TelzinoConfigurationError(
                f"{', '.join(sorted(both))} is in `fail_on` and in `skip_on`: name it in one of them."
            )
        if policy.record_fields == ():
            raise TelzinoConfigurationError(
                "`record_fields` is empty. Name at least one field, or leave it out to push the whole record."
            )
        return policy

    def is_success(self, status: str | None) -> bool:
        """Whether a call that has ended in a status lets the task succeed."""
        return status not in self.fail_on | self.skip_on

    def cut(self, record: Mapping[str, Any], log: Any) -> dict[str, Any]:
        """Keep only ``record_fields`` of a record. Those that it lacks are left out, with a warning."""
        if self.record_fields is None:
            return dict(record)
        if missing := sorted(set(self.record_fields).difference(record)):
            log.warning("The record has no field %s: it is not pushed.", ", ".join(missing))
        return {name: record[name] for name in self.record_fields if name in record}


def longest_deferral(time_left: float, poll_interval: float) -> timedelta:
    """Say how long Airflow is to let a trigger run: beyond its deadline, of which it tells better."""
    return timedelta(seconds=time_left + poll_interval + DEFERRAL_MARGIN)


def seconds(argument: str, value: float | timedelta) -> float:
    """Check a duration, in seconds or as a ``timedelta``, and return it in seconds."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    good = isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= MAX_DURATION
    if not good:
        raise TelzinoConfigurationError(
            f"`{argument}` should be seconds (at least 0, at most a year) or a timedelta."
        )
    return float(number)


def _statuses(argument: str, given: Collection[str]) -> frozenset[str]:
    names = frozenset(
        str(each.value if isinstance(each, CallStatus) else each) for each in _names(argument, given)
    )
    terminal = sorted(status.value for status in TERMINAL_STATUSES)
    if wrong := sorted(names.difference(terminal)):
        raise TelzinoConfigurationError(
            f"`{argument}` holds {', '.join(map(repr, wrong))}; the statuses that a call can end in are "
            f"{', '.join(terminal)}."
        )
    return names


def _names(argument: str, given: Collection[str]) -> list[str]:
    is_collection = isinstance(given, Collection) and not isinstance(given, (str, bytes, Mapping))
    if not is_collection or not all(isinstance(each, str) for each in given):
        raise TelzinoConfigurationError(
            f"`{argument}` should be a list or tuple of names, such as ('failed',)."
        )
    return list(given)
