"""The call record in Python types: ``CallStatus`` and ``Call``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from types import MappingProxyType
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
DOCUMENTED: Mapping[str, CallStatus] = {status.value: status for status in CallStatus}


def has_ended(record: Mapping[str, Any]) -> bool:
    """Tell whether a record, whole or from a list, is of a call that has ended.

    A status that Telzino documents decides by itself. One that it adds some day is terminal when
    ``ended_at`` is set.
    """
    known = DOCUMENTED.get(record["status"])
    return known.is_terminal if known is not None else record.get("ended_at") is not None


def is_record(record: object) -> bool:
    """Tell whether JSON is a call record as far as a wait needs it."""
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
    :meth:`from_record`, also from what a sensor or operator pushed to XCom.
    """

    id: str
    status: CallStatus | str
    """One of the documented statuses as :class:`CallStatus`; one that is not documented stays text."""
    agent_id: str | None = None
    to_number: str | None = None
    """The dialled number (E.164)."""
    call_context: str | None = None
    request_metadata: Mapping[str, Any] | None = None
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
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Fields of the record that this class doesn't know."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Call:
        """Read a record as the API, or XCom, gives it.

        Args:
            record: At least ``id`` and ``status``. A record cut by ``record_fields`` is fine if it has both.

        Raises:
            ValueError: A field is missing or not of its documented type; the message names the field.
        """
        for required in ("id", "status"):
            if not isinstance(record.get(required), str):
                raise ValueError(
                    f"A call record needs the text field `{required}`. "
                    f"If it was cut by `record_fields`, add '{required}' there."
                )
        known = {name: record[name] for name in _FIELD_NAMES if name in record}
        known["status"] = DOCUMENTED.get(record["status"], record["status"])
        for name in ("created_at", "answered_at", "ended_at"):
            known[name] = parsed_time(name, record.get(name))
        unknown = {name: value for name, value in record.items() if name not in _FIELD_NAMES}
        return cls(**known, extra=MappingProxyType(unknown))

    @property
    def is_terminal(self) -> bool:
        """Whether the call has ended for good."""
        return has_ended({"status": str(self.status), "ended_at": self.ended_at})

    @property
    def ring_time(self) -> pendulum.Duration | None:
        """From placing the call until it was answered, or ended without an answer.

        Includes the seconds in the queue: the record doesn't say when the phone began to ring. ``None``
        while neither has happened.
        """
        return _between(self.created_at, self.answered_at or self.ended_at)

    @property
    def talk_time(self) -> pendulum.Duration | None:
        """From answer to hang-up; ``None`` for a call that wasn't answered or hasn't ended."""
        exact = _between(self.answered_at, self.ended_at)
        if exact is None and self.duration is not None:
            return pendulum.duration(seconds=self.duration)
        return exact


_DATE_AND_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:")
_FIELD_NAMES = frozenset(each.name for each in fields(Call)) - {"extra"}


def parsed_time(name: str, value: object) -> pendulum.DateTime | None:
    """Read a time of the API; ``ValueError`` names the field if it isn't one."""
    if value is None:
        return None
    parsed: object = None
    # pendulum also reads "12:30", "now" and durations: a time of the API has a date.
    if isinstance(value, str) and _DATE_AND_TIME.match(value):
        try:
            parsed = pendulum.parse(value)
        except (ValueError, OverflowError):
            parsed = None
    if not isinstance(parsed, pendulum.DateTime):
        raise ValueError(f"The call record's `{name}` is not an ISO 8601 time.")
    return parsed


def _between(start: pendulum.DateTime | None, end: pendulum.DateTime | None) -> pendulum.Duration | None:
    return None if start is None or end is None else end - start
