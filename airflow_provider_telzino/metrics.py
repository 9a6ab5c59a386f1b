"""What the triggerer tells Airflow's metrics about its waits, whatever backend the user has.

Names and meanings are listed in ``docs/waiting.md``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import pendulum

from airflow_provider_telzino.models import Call

try:
    from airflow.providers.common.compat.sdk import Stats
except ImportError:  # an older common.compat, which comes with an older Airflow
    from airflow.stats import Stats

stats: Any = Stats

WAITS = "telzino.waits"  # gauge: how many waits a connection has in this triggerer
REQUESTS = "telzino.requests"  # counter: requests to the API
REQUEST_ERRORS = "telzino.request_errors"  # counter: those that failed
DETECTION_LAG = "telzino.detection_lag"  # timer: from the call's `ended_at` until the triggerer saw it


def call_ended(record: Mapping[str, Any]) -> None:
    """Tell how long after its end a call was seen to have ended."""
    ended_at = None
    with contextlib.suppress(ValueError):  # a time that isn't one harms no wait
        ended_at = Call.from_record(record).ended_at
    if ended_at is not None:
        stats.timing(DETECTION_LAG, max(pendulum.now("UTC") - ended_at, pendulum.duration()))
