"""Phone numbers whose calls have a known outcome; a call to any other number completes."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_telzino.sandbox import lifecycle
from airflow_provider_telzino.sandbox.lifecycle import Outcome


@dataclass(frozen=True)
class MagicNumber:
    """A phone number from the range for fiction, and the outcomes of its calls."""

    number: str
    name: str
    description: str
    outcomes: tuple[Outcome, ...]
    """Of the first call to it, the second, and so on; the last one is that of all further calls."""


TABLE = (
    MagicNumber("+15005550100", "completed", "answered after 4 to 12 s, completed after 20 to 90 s of talk",
                (lifecycle.COMPLETED,)),
    MagicNumber("+15005550101", "no_answer", "rings for about 45 s, then no_answer (SIP 480)",
                (lifecycle.NO_ANSWER,)),
    MagicNumber("+15005550102", "busy", "busy (SIP 486)", (lifecycle.BUSY,)),
    MagicNumber("+15005550103", "no_such_number", "failed (SIP 404)", (lifecycle.NO_SUCH_NUMBER,)),
    MagicNumber("+15005550104", "no_trunk", "failed (SIP 503)", (lifecycle.NO_TRUNK,)),
    MagicNumber("+15005550105", "not_dialled", "failed before it is dialled, without a SIP code",
                (lifecycle.NOT_DIALLED,)),
    MagicNumber("+15005550106", "long_call", "completed after 30 minutes of talk", (lifecycle.LONG_CALL,)),
    MagicNumber("+15005550107", "slow_queue", "queued for 5 minutes, then completed",
                (lifecycle.SLOW_QUEUE,)),
    MagicNumber("+15005550108", "quick_hang_up", "completed after 2 to 4 s of talk",
                (lifecycle.QUICK_HANG_UP,)),
    MagicNumber("+15005550109", "busy_then_completed", "the first call is busy, all later ones complete",
                (lifecycle.BUSY, lifecycle.COMPLETED)),
    MagicNumber("+15005550110", "no_answer_twice_then_completed",
                "the first two calls are not answered, all later ones complete",
                (lifecycle.NO_ANSWER, lifecycle.NO_ANSWER, lifecycle.COMPLETED)),
    MagicNumber("+15005550111", "failed_then_completed",
                "the first call fails (SIP 503), all later ones complete",
                (lifecycle.NO_TRUNK, lifecycle.COMPLETED)),
)  # fmt: skip

MAGIC_NUMBERS = {magic.name: magic.number for magic in TABLE}
"""The magic numbers by name, such as ``MAGIC_NUMBERS["busy"]``."""

_OUTCOMES = {magic.number: magic.outcomes for magic in TABLE}


def outcome_of(to_number: str, earlier_calls: int) -> Outcome:
    """Return the outcome of a call to this number, after so many earlier calls to it."""
    outcomes = _OUTCOMES.get(to_number, (lifecycle.COMPLETED,))
    return outcomes[min(earlier_calls, len(outcomes) - 1)]
