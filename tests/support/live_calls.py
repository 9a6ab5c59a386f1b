"""Counts, from a Telzino's own records, how many calls were live at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import accumulate
from typing import Any

from airflow_provider_telzino.models import has_ended


def most_live(calls: Iterable[dict[str, Any]]) -> int:
    """Return how many calls were live at most."""
    changes = []
    for call in calls:
        changes.append((datetime.fromisoformat(call["created_at"]), 1))
        if has_ended(call):
            changes.append((datetime.fromisoformat(call["ended_at"]), -1))
    return max(accumulate(change for _, change in sorted(changes)), default=0)
