"""Let a test decide how each call to a sandbox ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from airflow_provider_telzino.sandbox.lifecycle import Outcome
from airflow_provider_telzino.sandbox.magic_numbers import Outcomes


def decide_outcomes(patch: pytest.MonkeyPatch, outcome_of: Callable[[str, int], Outcome]) -> None:
    """Let a function return the outcome of each call, from its number and how many were placed to it before.

    It is for all sandboxes of this process, also for those that already run.
    """
    earlier_calls: Counter[tuple[int, str]] = Counter()

    def next_of(outcomes: Outcomes, to_number: str) -> Outcome:
        key = id(outcomes), to_number
        earlier_calls[key] += 1
        return outcome_of(to_number, earlier_calls[key] - 1)

    patch.setattr(Outcomes, "next_of", next_of)
