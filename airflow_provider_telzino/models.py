"""The call record in Python types: ``CallStatus`` and ``Call``."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pendulum

__all__ = ["Call", "CallStatus"]


class CallStatus(str, Enum):
    """A call's lifecycle status, from ``GET /v1/agents/{agentId}/outbound-calls/{callId}``."""

    QUEUED = "queued"  # accepted, waiting for the dispatcher
    DISPATCHING = "dispatching"  # being assigned to an agent worker
    DISPATCHED = "dispatched"  # assigned to an agent worker
    DIALING = "dialing"  # the phone rings
    IN_PROGRESS = "in_progress"  # answered, the conversation is live
    COMPLETED = "completed"  # ended normally; summary and transcript are available
    NO_ANSWER = "no_answer"  # rang for about 45 seconds without an answer
    BUSY = "busy"  # line busy, or the call was rejected
    FAILED = "failed"  # could not be placed: see `error` and `sip_status_code`

    @property
    def is_terminal(self) -> bool:
        """Whether a call in this status has ended for good."""
        return self in TERMINAL_STATUSES

    def __str__(self) -> str:
        return self.value


TERMINAL_STATUSES = frozenset(
    {CallStatus.COMPLETED, CallStatus.NO_ANSWER, CallStatus.BUSY, CallStatus.FAILED},
)
NEVER_CONNECTED = TERMINAL_STATUSES - {CallStatus.COMPLETED}
"""Of a call that ended so, ``transcript_id`` and ``summary_text`` are null for good."""
DOCUMENTED: Mapping[str, CallStatus] = {status.value: status for status in CallStatus}


def has_ended(record: Mapping[str, Any]) -> bool:
    """Whether a record, complete or from a list, is of a call that has ended.

    A documented status decides alone. A status that Telzino adds one day is terminal if ``ended_at`` is set.
    """
    known = DOCUMENTED.get(record["status"])
    return known.is_terminal if known is not None else record.get("ended_at") is not None


def is_conclusive(item: Mapping[str, Any]) -> bool:
    """Whether an item of a list shows if its call has ended. For an unknown status, ``ended_at`` decides."""
    status = item.get("status")
    return isinstance(status, str) and (status in DOCUMENTED or (bool(status) and "ended_at" in item))


def awaits_transcript(record: Mapping[str, Any]) -> bool:
    """Whether the record of a call that has ended has no ``transcript_id``, but may get one.

    The API has it when a call completes. It may come seconds later.
    """
    return record.get("transcript_id") is None and record["status"] not in NEVER_CONNECTED


def is_record(record: object) -> bool:
    """Whether JSON is a call record, as far as a wait needs it."""
    return (
        isinstance(record, dict)
        and isinstance(record.get("id"), str)
        and isinstance(record.get("status"), str)
        and bool(record["status"])
    )


@dataclass(frozen=True)
class Call:
    """A call record of ``GET /v1/agents/{agentId}/outbound-calls/{callId}``, typed.

    Fields have the API's names and meanings; what the record lacks is ``None``. Make one with
    :meth:`from_record`, also from what a sensor or operator pushed to XCom. ``dataclasses.asdict(call)``
    turns it into a plain dict.
    """

    id: str
    status: CallStatus | str
    """One of the documented statuses as :class:`CallStatus`; one that is not documented stays text."""
    agent_id: str | None = None
    to_number: str | None = None
    """The dialled number (E.164)."""
    call_context: str | None = None
    request_metadata: Mapping[str, Any] | None = field(default=None, hash=False)
    """The ``metadata`` that the call was placed with."""
    callback_url: str | None = None
    callback_delivered: bool | None = None
    transcript_id: str | None = None
    """Id in the agent's call logs; ``None`` for a call that never connected."""
    summary_text: str | None = None
    """Markdown; ``None`` until the call completes, and for one that never connected."""
    error: str | None = None
    sip_status_code: int | None = None
    created_at: pendulum.DateTime | None = None
    answered_at: pendulum.DateTime | None = None
    ended_at: pendulum.DateTime | None = None
    duration: int | None = None
    """Talk time in whole seconds, as the API counts it."""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Fields of the record that this class doesn't know."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Call:
        """Read a record as the API, or XCom, gives it.

        Args:
            record: At least ``id`` and ``status``. A record cut by ``record_fields`` is fine if it has both.

        Raises:
            ValueError: A field is missing or not of its documented type; the message names the field.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"A call record is a mapping, but this is of type {type(record).__name__}.")
        for required in ("id", "status"):
            if not isinstance(record.get(required), str):
                raise ValueError(
                    f"A call record needs the text field `{required}`. "
                    f"If it was cut by `record_fields`, add '{required}' there."
                )
        for name, documented in _TYPES.items():
            _check_type(name, record.get(name), documented)
        known: dict[str, Any] = {name: record.get(name) for name in _TYPES}
        known["status"] = DOCUMENTED.get(record["status"], record["status"])
        known |= {name: parsed_time(name, record.get(name)) for name in _TIMES}
        unknown = {name: value for name, value in record.items() if name not in known}
        # Copied, so that a later change of the record doesn't change the call.
        known["request_metadata"] = copy.deepcopy(known["request_metadata"])
        return cls(**known, extra=copy.deepcopy(unknown))

    @property
    def is_terminal(self) -> bool:
        """Whether the call has ended for good."""
        return has_ended({"status": str(self.status), "ended_at": self.ended_at})

    @property
    def ring_time(self) -> pendulum.Duration | None:
        """From placing the call until it was answered, or ended without an answer.

        It includes the seconds in the queue, since the record doesn't say when the phone began to ring.
        ``None`` until one of both has happened.
        """
        return _between(self.created_at, self.answered_at or self.ended_at)

    @property
    def talk_time(self) -> pendulum.Duration | None:
        """From answer to hang-up; ``None`` for a call that was not answered or has not ended."""
        exact = _between(self.answered_at, self.ended_at)
        if exact is None and self.duration is not None:
            return pendulum.duration(seconds=self.duration)
        return exact


def talk_seconds(record: Mapping[str, Any]) -> float:
    """Return a record's talk time in seconds; 0 for a call that nobody answered, or that says no times."""
    try:
        times = [parsed_time(name, record.get(name)) for name in ("answered_at", "ended_at")]
    except ValueError:
        times = [None, None]
    exact = _between(times[0], times[1])
    if exact is not None:
        return exact.total_seconds()
    duration = record.get("duration")
    return float(duration) if isinstance(duration, (int, float)) and not isinstance(duration, bool) else 0.0


_DATE_AND_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:")
_TIMES = ("created_at", "answered_at", "ended_at")
_TYPES: dict[str, type] = {
    "id": str,
    "status": str,
    "agent_id": str,
    "to_number": str,
    "call_context": str,
    "request_metadata": dict,
    "callback_url": str,
    "callback_delivered": bool,
    "transcript_id": str,
    "summary_text": str,
    "error": str,
    "sip_status_code": int,
    "duration": int,
}
"""The documented JSON types of the fields that aren't times. Each field may be null or missing, too."""


def parsed_time(name: str, value: object) -> pendulum.DateTime | None:
    """Read a time of the API.

    Raises:
        ValueError: It isn't one; the message names the field.
    """
    if value is None:
        return None
    parsed: object = None
    # pendulum also parses "12:30", "now" and durations: a time of the API has a date.
    if isinstance(value, str) and _DATE_AND_TIME.match(value):
        try:
            parsed = pendulum.parse(value)
        except (ValueError, OverflowError):
            parsed = None
    if not isinstance(parsed, pendulum.DateTime):
        raise ValueError(f"The call record's `{name}` is not an ISO 8601 time.")
    return parsed


def _check_type(name: str, value: object, documented: type) -> None:
    # To Python, True and False are integers, too.
    is_good = isinstance(value, documented) and isinstance(value, bool) is (documented is bool)
    if value is not None and not is_good:
        raise ValueError(
            f"The call record's `{name}` should be of type {documented.__name__}, but is of type "
            f"{type(value).__name__}."
        )


def _between(start: pendulum.DateTime | None, end: pendulum.DateTime | None) -> pendulum.Duration | None:
    return None if start is None or end is None else end - start
