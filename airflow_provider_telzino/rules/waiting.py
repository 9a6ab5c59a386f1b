"""The rules of a wait, without I/O: how long it lasts, what follows a trigger's event, what an outcome means.

Worker and triggerer use the same :class:`Wait` and the same :class:`CallEvent`, so they can't drift apart.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.models import DOCUMENTED, TERMINAL_STATUSES, CallStatus, has_ended

DEFAULT_POLL_INTERVAL = 10.0  # seconds between two polls
DEFAULT_TIMEOUT = 2 * 3600.0  # seconds until a wait gives up
MIN_POLL_INTERVAL = 0.1  # seconds; a smaller interval would only load the API
MAX_DURATION = 366 * 86_400.0  # seconds
DEFERRAL_MARGIN = 60.0  # seconds that Airflow gives a trigger beyond the trigger's own deadline and interval
JITTER = 0.02  # the share of the interval by which a pause may be shorter or longer
UNKNOWN = (
    "unknown"  # in `fail_on` and `skip_on`: each status that a call has ended in and that isn't documented
)

Record = Mapping[str, Any]

_uniform = random.SystemRandom().uniform


# --- One wait ---


class Wait:
    """One wait for one call: what was observed of the call, and how much time is left.

    Args:
        call_id: The call.
        deadline: When to give up, in seconds since the epoch. It is absolute, so that a restart of the
            process that waits doesn't prolong the wait.
        poll_interval: Seconds between two polls.
        log: The logger for changes of the status, one line each.
        status: The status that was observed last, if the wait continues that of an earlier process.
        since: When that status was first observed, in seconds since the epoch.
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

    def observe(self, record: Record) -> bool:
        """Note the status in a record, which may come from a list, and log it if it has changed.

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
        """Seconds until the next poll, with jitter; the last poll is at the deadline."""
        return min(self.poll_interval * _uniform(1 - JITTER, 1 + JITTER), self.time_left())

    def last_seen(self) -> str:
        """Describe what is known of the call, for error messages."""
        if self.status is None:
            return "no request for its status has succeeded"
        age = time.time() - self.since
        # In Airflow's mode `reschedule` each poll is a process of its own, which can't know.
        return f"it was last seen {self.status}" + (f", for {age:.1f} s" if age >= 0.05 else "")


def longest_deferral(time_left: float, poll_interval: float) -> timedelta:
    """Return Airflow's own timeout for a trigger: later than our deadline, whose error message says more."""
    return timedelta(seconds=time_left + poll_interval + DEFERRAL_MARGIN)


# --- What follows the end of a trigger ---


@dataclass(frozen=True)
class CallEvent:
    """What ended a trigger. It holds ids, statuses and times only: Airflow logs and stores it unencrypted."""

    outcome: Literal["ended", "timeout", "refused", "stopped", "broken"]
    """Our trigger emits ``ended`` (the call has ended), ``timeout`` (the deadline has passed) or ``refused``
    (the API, or Airflow, refuses requests over the connection). For a trigger that emitted nothing, Airflow
    reports that it was ``stopped`` (at Airflow's own timeout) or has ``broken`` down."""
    call_id: str | None = None
    """``None`` if Airflow reports the end, or if the task's ``call_id`` is invalid (``refused``)."""
    agent_id: str | None = None
    """The agent that made the call; ``None`` means the connection's."""
    status: str | None = None
    """The status that was observed last."""
    status_since: float | None = None
    """When it was first observed, in seconds since the epoch."""
    error: str | None = None
    """The class of the error, for ``refused``."""
    deadline: float | None = None
    """When the wait gives up, in seconds since the epoch."""

    @classmethod
    def parse(cls, payload: object) -> CallEvent | None:
        """Read the payload of a trigger's event; ``None`` if it isn't one that our trigger emits."""
        if not isinstance(payload, Mapping):
            return None
        values: dict[str, Any] = {field.name: payload.get(field.name) for field in fields(cls)}
        event = cls(**values)
        texts = (event.call_id, event.agent_id, event.status, event.error)
        times = (event.status_since, event.deadline)
        is_valid = (
            event.outcome in ("ended", "timeout", "refused")
            and all(text is None or isinstance(text, str) for text in texts)
            and all(time is None or isinstance(time, (int, float)) for time in times)
        )
        return event if is_valid else None

    def payload(self) -> dict[str, Any]:
        """Return the event as the JSON object that Airflow passes to the task."""
        return asdict(self)

    @property
    def is_from_airflow(self) -> bool:
        """Whether the trigger emitted nothing, so that Airflow itself resumes the task."""
        return self.outcome in ("stopped", "broken")

    def concerns(self, call_id: str) -> bool:
        """Whether the event is about this call, as far as it can name one."""
        if self.call_id is None:
            return self.outcome == "refused" or self.is_from_airflow
        return self.call_id == call_id


@dataclass(frozen=True)
class Finish:
    """The call has ended: end the task according to its final record."""

    record: Record


@dataclass(frozen=True)
class DeferAgain:
    """Continue to wait in the triggerer."""

    refused: bool = False
    """Whether the triggerer was refused while this worker was not."""


@dataclass(frozen=True)
class TimedOut:
    """The deadline has passed, and the call has not ended."""


@dataclass(frozen=True)
class Fail:
    """The wait can't continue."""

    reason: Literal["record unavailable", "refused in the triggerer", "trigger broken"]


NextStep = Finish | DeferAgain | TimedOut | Fail


def next_step(
    event: CallEvent, record: Record | None, *, time_left: float, refused_before: bool = False
) -> NextStep:
    """Decide what a task does when its trigger has ended and a worker has requested the call's record.

    Args:
        event: What ended the trigger.
        record: The record that the worker got; ``None`` if the API is temporarily unavailable. If it refuses
            the worker, the task fails with that error instead.
        time_left: Seconds until the deadline.
        refused_before: Whether the trigger before this one was refused, while the worker was not.
    """
    # However the trigger ended, the true outcome counts.
    if record is not None and has_ended(record):
        return Finish(record)
    return step_while_live(
        event.outcome, answered=record is not None, time_left=time_left, refused_before=refused_before
    )


def step_while_live(
    outcome: str, *, answered: bool, time_left: float, refused_before: bool = False
) -> DeferAgain | TimedOut | Fail:
    """Decide what a task does when its trigger has ended and it doesn't know that its calls have.

    Args:
        outcome: How the trigger ended, as in :class:`CallEvent`.
        answered: Whether the API answered the worker; otherwise it is temporarily unavailable.
        time_left: Seconds until the deadline.
        refused_before: Whether the trigger before this one was refused, while the worker was not.
    """
    if outcome == "broken":
        return Fail("trigger broken")
    # Once may be chance: Airflow also reports a connection as missing while only its database is away.
    refused_only_there = outcome == "refused" and answered
    if refused_only_there and refused_before:
        return Fail("refused in the triggerer")
    if outcome == "ended" and time_left <= 0:
        return Fail("record unavailable")
    if outcome in ("timeout", "stopped") or time_left <= 0:
        return TimedOut()
    # An outage delays the outcome, nothing more.
    return DeferAgain(refused=refused_only_there)


# --- What a call's outcome does to the task ---


def outcome_name(status: str | None) -> str:
    """Return the name by which ``fail_on`` and ``skip_on`` mean the status that a call has ended in."""
    return UNKNOWN if status is None or status not in DOCUMENTED else status


class OutcomePolicy(NamedTuple):
    """What a call's outcome does to the task, and how much of the record is pushed."""

    fail_on: frozenset[str]
    """Names as :func:`outcome_name` gives them."""
    skip_on: frozenset[str]
    record_fields: tuple[str, ...] | None

    @classmethod
    def checked(
        cls, fail_on: Collection[str], skip_on: Collection[str], record_fields: Collection[str] | None
    ) -> OutcomePolicy:
        """Check what a DAG author gave.

        Raises:
            TelzinoArgumentError: The message names the argument and its possible values.
        """
        policy = cls(
            _statuses("fail_on", fail_on),
            _statuses("skip_on", skip_on),
            None
            if record_fields is None
            else tuple(_names("record_fields", record_fields, "field names, such as ('id', 'status')")),
        )
        if both := policy.fail_on & policy.skip_on:
            raise TelzinoArgumentError(
                f"{', '.join(sorted(both))} is in both `fail_on` and `skip_on`: name it in one of them."
            )
        if policy.record_fields == ():
            raise TelzinoArgumentError(
                "`record_fields` is empty. Name at least one field, or leave it out to push the whole record."
            )
        return policy

    def is_success(self, status: str | None) -> bool:
        """Whether a call that has ended in a status lets the task succeed."""
        return outcome_name(status) not in self.fail_on | self.skip_on

    def is_failure(self, status: str) -> bool:
        """Whether a call that has ended in a status fails the task."""
        return outcome_name(status) in self.fail_on

    def is_skip(self, status: str) -> bool:
        """Whether a call that has ended in a status skips the task."""
        return outcome_name(status) in self.skip_on

    def success_value(self, record: Record, log: Any) -> dict[str, Any]:
        """Return what a task that succeeds pushes; a status that isn't documented gets a warning."""
        if outcome_name(record["status"]) == UNKNOWN:
            log.warning(
                "Call %s ended with %s, which is not a documented status. The task succeeds; to fail or skip "
                'it, add "%s" to `fail_on` or `skip_on`.',
                record["id"],
                record["status"],
                UNKNOWN,
            )
        return self.cut(record, log)

    def cut(self, record: Record, log: Any) -> dict[str, Any]:
        """Keep only ``record_fields`` of a record. Those that it lacks are left out, with a warning."""
        if missing := self.lacking(record):
            log.warning("The record has no field %s: it is not pushed.", ", ".join(sorted(missing)))
        return self.pick(record)

    def pick(self, record: Record) -> dict[str, Any]:
        """Keep only ``record_fields`` of a record."""
        if self.record_fields is None:
            return dict(record)
        return {name: record[name] for name in self.record_fields if name in record}

    def lacking(self, record: Record) -> set[str]:
        """Return those of ``record_fields`` that a record lacks."""
        return set(self.record_fields or ()).difference(record)


# --- Checks of other arguments ---


def seconds(argument: str, value: float | timedelta) -> float:
    """Check a duration, in seconds or as a ``timedelta``, and return it in seconds."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    good = isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= MAX_DURATION
    if not good:
        raise TelzinoArgumentError(
            f"`{argument}` should be seconds (at least 0, at most a year) or a timedelta."
        )
    return float(number)


def flag(argument: str, value: bool) -> bool:
    """Check a flag. A text such as ``"False"`` would count as true."""
    if not isinstance(value, bool):
        raise TelzinoArgumentError(
            f"`{argument}` should be True or False, but is of type {type(value).__name__}."
        )
    return value


def _statuses(argument: str, given: Collection[str]) -> frozenset[str]:
    names = frozenset(
        str(each.value if isinstance(each, CallStatus) else each)
        for each in _names(argument, given, "statuses, such as ('failed',)")
    )
    terminal = sorted(status.value for status in TERMINAL_STATUSES)
    if wrong := sorted(names.difference(terminal, (UNKNOWN,))):
        raise TelzinoArgumentError(
            f"`{argument}` has {', '.join(map(repr, wrong))}; the statuses that a call can end in are "
            f"{', '.join(terminal)}, and {UNKNOWN} for any that isn't documented."
        )
    return names


def _names(argument: str, given: Collection[str], what: str) -> list[str]:
    is_collection = isinstance(given, Collection) and not isinstance(given, (str, bytes, Mapping))
    if not is_collection or not all(isinstance(each, str) for each in given):
        raise TelzinoArgumentError(f"`{argument}` should be a list or tuple of {what}.")
    return list(given)
