"""What a campaign reports of its contacts: each one's outcome, and a summary of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.models import TERMINAL_STATUSES, CallStatus
from airflow_provider_telzino.rules.waiting import UNKNOWN, outcome_name

REJECTED = "rejected"  # the API refused the call
NOT_ALLOWED = "not_allowed"  # `may_call` ruled it out
NOT_CALLED = "not_called"  # `dial_timeout` passed
WITHOUT_A_CALL = (REJECTED, NOT_ALLOWED, NOT_CALLED)
"""The outcomes of contacts that were never called."""


def checked_outcomes(given: Collection[str]) -> frozenset[str]:
    """Check ``fail_on`` of a campaign.

    Raises:
        TelzinoArgumentError: The message names the possible outcomes.
    """
    known = (*sorted(status.value for status in TERMINAL_STATUSES), UNKNOWN, *WITHOUT_A_CALL)
    is_collection = isinstance(given, (list, tuple, set, frozenset))
    names = [each.value if isinstance(each, CallStatus) else each for each in given] if is_collection else []
    if not is_collection or any(each not in known for each in names):
        raise TelzinoArgumentError(
            f"`fail_on` should be a list of outcomes of contacts, from {', '.join(known)}."
        )
    return frozenset(map(str, names))


def result_of(
    contact_id: str | int, outcome: str, attempts: int, record: Mapping[str, Any] | None, error: str | None
) -> dict[str, Any]:
    """Return what is pushed of one contact."""
    return {
        "contact": contact_id,
        "outcome": outcome,
        "attempts": attempts,
        "record": record,
        "error": error,
    }


class Summary:
    """Counts a campaign's outcomes, calls and talk time, contact by contact."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.attempts = 0
        self._talk_time = 0.0

    def add(self, outcome: str, attempts: int, talk_time: float) -> None:
        """Add one contact.

        Args:
            outcome: Its outcome.
            attempts: How many calls it got.
            talk_time: How long the last of them was talked, in seconds.
        """
        self.outcomes[outcome] += 1
        self.attempts += attempts
        self._talk_time += talk_time

    def to_json(self) -> dict[str, Any]:
        """Return what is pushed as the XCom ``summary``."""
        return {
            "contacts": sum(self.outcomes.values()),
            "outcomes": dict(self.outcomes.most_common()),
            "attempts": self.attempts,
            "talk_time": round(self._talk_time, 3),
        }

    def failed(self, fail_on: Collection[str]) -> dict[str, int]:
        """Return how many contacts have each outcome that fails the task."""
        return {
            outcome: count
            for outcome, count in self.outcomes.most_common()
            if (outcome if outcome in WITHOUT_A_CALL else outcome_name(outcome)) in fail_on
        }
