"""What the triggerer emits to Airflow's metrics about its waits, whichever backend the user has.

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

WAITS = "telzino.waits"  # gauge: waits in this triggerer
REQUESTS = "telzino.requests"  # counter: requests to the API
REQUEST_ERRORS = "telzino.request_errors"  # counter: requests that failed
DETECTION_LAG = (
    "telzino.detection_lag"  # timer: from the call's `ended_at` until the triggerer noticed the end
)


log = logging.getLogger(__name__)


def emit(kind: str, name: str, *value: float | timedelta) -> None:
    """Emit one metric; its kind is a method of Airflow's Stats. A failure affects no wait."""
    try:
        getattr(stats, kind)(name, *value)
    except Exception as error:  # the backend is the user's choice, and may raise anything
        _warn(type(error).__name__)


def emit_detection_lag(record: Mapping[str, Any]) -> None:
    """Emit how long after a call's end the triggerer noticed it."""
    # Without pendulum: a thousand calls may end at once, and meanwhile the whole triggerer waits.
    with contextlib.suppress(ValueError, TypeError, OverflowError):  # not a valid time
        ended_at = datetime.fromisoformat(str(record.get("ended_at")).replace("Z", "+00:00"))
        lag = datetime.now(timezone.utc) - ended_at
        emit("timing", DETECTION_LAG, max(lag, timedelta()))  # StatsD would read a number as milliseconds


@functools.cache
def _warn(error: str) -> None:
    """Warn once for each kind of error."""
    log.warning("Could not emit Airflow metrics (%s).", error)
