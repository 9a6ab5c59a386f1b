"""What the triggerer tells Airflow's metrics about its waits, whatever backend the user has.

Names and meanings are listed in ``docs/waiting.md``.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_telzino.version_compat import stats

WAITS = "telzino.waits"  # gauge: how many waits there are in this triggerer
REQUESTS = "telzino.requests"  # counter: requests to the API
REQUEST_ERRORS = "telzino.request_errors"  # counter: those that failed
DETECTION_LAG = "telzino.detection_lag"  # timer: from the call's `ended_at` until the triggerer saw it


log = logging.getLogger(__name__)


def tell(kind: str, name: str, *value: float | timedelta) -> None:
    """Tell one metric: its kind is a method of Airflow's Stats. No wait suffers if that can't be done."""
    try:
        getattr(stats, kind)(name, *value)
    except Exception as error:  # the backend is the user's choice, and may raise anything
        _warn(type(error).__name__)


def call_ended(record: Mapping[str, Any]) -> None:
    """Tell how long after its end a call was seen to have ended."""
    # Without pendulum: a thousand calls may end at once, and the whole triggerer waits meanwhile.
    with contextlib.suppress(ValueError, TypeError, OverflowError):  # a time that isn't one
        ended_at = datetime.fromisoformat(str(record.get("ended_at")).replace("Z", "+00:00"))
        lag = datetime.now(timezone.utc) - ended_at
        tell("timing", DETECTION_LAG, max(lag, timedelta()))  # StatsD would take a number for milliseconds


@functools.cache
def _warn(error: str) -> None:
    """Warn once of each kind of error."""
    log.warning("Airflow's metrics can't be told (%s).", error)
