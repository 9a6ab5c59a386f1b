"""A call's lifecycle statuses, and which of them are final."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any


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
