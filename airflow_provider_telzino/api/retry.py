"""How long to wait before the next try: the rules that both hooks share.

A request that failed is tried again by tenacity, with exponential backoff and full jitter, until its time is
over. ``Retry-After`` is a floor below which no wait goes, and the time that is left a ceiling.
"""

from __future__ import annotations

import random
import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import tenacity

from airflow_provider_telzino.exceptions import (
    TelzinoNotFoundError,
    TelzinoTransientError,
)

RETRY_FOR = 60.0  # seconds for which a hook's method tries again
BACKOFF_BASE = 1.0  # seconds: upper bound of the first wait
BACKOFF_CAP = 60.0  # seconds: upper bound of any wait, unless Retry-After asks for more
NOT_FOUND_FOR = 15.0  # seconds for which a call that was just placed may not be visible yet: 404 isn't final
MAX_RETRY_AFTER = 24 * 3600.0  # seconds; a server that says more doesn't mean it
MIN_REQUEST_TIME = 1.0  # seconds that a request gets, however little time is left

_SECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")

_jitter = random.SystemRandom().uniform


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Read a ``Retry-After`` header: seconds, or an HTTP date.

    Args:
        value: The header, if there was one.
        now: The time that a date is compared with; the current one by default.

    Returns:
        Seconds to wait, at least 0; ``None`` when the header is missing, garbage or absurdly large.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        try:
            seconds = max(0.0, (date - (now or datetime.now(timezone.utc))).total_seconds())
        except OverflowError:
            return None
    return seconds if seconds <= MAX_RETRY_AFTER else None


def backoff(failures: int, *, floor: float, time_left: float) -> float:
    """Compute the wait before the next try.

    Args:
        failures: How many tries have failed in a row, at least 1.
        floor: Seconds below which not to go.
        time_left: Seconds after which no try would count any more.

    Returns:
        Seconds to wait.
    """
    ceiling = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(failures - 1, 32))
    return min(max(floor, _jitter(0, ceiling)), max(time_left, 0.0))


def is_missing_for_good(since: float, now: float) -> bool:
    """Tell whether a 404 is final, that came again and again and nothing else.

    The API doesn't promise that a call can be read at once by whoever has placed it.
    """
    return now - since >= NOT_FOUND_FOR


class RetryRules:
    """When to try a request again, and when to give up.

    Args:
        idempotent: Whether the request may be sent again though the API may have acted on it.
        retry_for: Seconds, from the first try, for which failures are retried. 0 is a single try.
        log: The logger that tells of a retry and its reason.
    """

    def __init__(self, *, idempotent: bool, retry_for: float, log: Any) -> None:
        self.idempotent = idempotent
        self.retry_for = retry_for
        self.log = log
        self._missing_since: float | None = None  # the first 404 of a row, in seconds from the first try

    def arguments(self) -> dict[str, Any]:
        """Say it all in the arguments of ``tenacity.Retrying`` and ``tenacity.AsyncRetrying``."""
        return {
            "retry": self._retry,
            "wait": self._wait,
            "stop": self._stop,
            "before_sleep": self._log_retry,
            "reraise": True,
        }

    def request_time(self, started: float, now: float, timeout: float) -> float:
        """Seconds for one request that begins now: the connection's, or fewer if time is running out."""
        if self.retry_for <= 0 or not self.idempotent:  # cut short, a POST's answer would be lost
            return timeout
        return min(timeout, max(started + self.retry_for - now, MIN_REQUEST_TIME))

    def _retry(self, state: tenacity.RetryCallState) -> bool:
        error, now = _error(state), state.seconds_since_start or 0.0
        if isinstance(error, TelzinoNotFoundError):
            self._missing_since = now if self._missing_since is None else self._missing_since
            return self.idempotent and not is_missing_for_good(self._missing_since, now)
        self._missing_since = None
        return isinstance(error, TelzinoTransientError) and (self.idempotent or not error.maybe_received)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = _error(state)
        floor, left = getattr(error, "retry_after", None) or 0.0, self._left(state)
        if self._missing_since is not None:
            final_in = self._missing_since + NOT_FOUND_FOR - (state.seconds_since_start or 0.0)
            floor, left = BACKOFF_BASE, min(left, max(final_in, 0.0))
        return backoff(state.attempt_number, floor=floor, time_left=left)

    def _stop(self, state: tenacity.RetryCallState) -> bool:
        left, asked_for = self._left(state), getattr(_error(state), "retry_after", None) or 0.0
        return left <= 0 or (not self.idempotent and asked_for > left)

    def _left(self, state: tenacity.RetryCallState) -> float:
        return self.retry_for - (state.seconds_since_start or 0.0)

    def _log_retry(self, state: tenacity.RetryCallState) -> None:
        wait = state.next_action.sleep if state.next_action else 0.0
        self.log.warning("%s Trying again in %.1f s.", _error(state), wait)


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
