"""When a failed request is sent again: the rules that both hooks share.

tenacity sends it again, with exponential backoff and full jitter, until the request's time is over. No
attempt is made before the API's ``Retry-After``: if that is beyond the time left, the request fails at once.
"""

from __future__ import annotations

import random
import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import tenacity

from airflow_provider_telzino.exceptions import (
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoTransientError,
)

RETRY_FOR = 60.0  # seconds for which a hook's method retries
BACKOFF_BASE = 1.0  # seconds: upper bound of the first wait
BACKOFF_CAP = 60.0  # seconds: upper bound of any wait, unless Retry-After asks for more
NOT_FOUND_FOR = (
    15.0  # seconds for which a 404 isn't final: a call that was just placed may not be visible yet
)
MAX_RETRY_AFTER = 24 * 3600.0  # seconds; a larger value counts as a mistake
MIN_REQUEST_TIME = 1.0  # seconds for one request, however little time is left

_SECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")

_jitter = random.SystemRandom().uniform


def parse_retry_after(
    value: str | None, date: str | None = None, *, now: datetime | None = None
) -> float | None:
    """Read a ``Retry-After`` header: seconds, or an HTTP date.

    Args:
        value: The header, if there was one.
        date: The ``Date`` header of the same answer. A ``Retry-After`` date counts from it, since the
            server's clock may differ from ours.
        now: The time on our own clock, from which it counts if there is no valid ``Date``; by default the
            current one.

    Returns:
        Seconds to wait, at least 0; ``None`` if the header is missing, invalid or absurdly large.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        moment = _http_date(text)
        if moment is None:
            return None
        answered = _http_date(date or "") or now or datetime.now(timezone.utc)
        seconds = max(0.0, (moment - answered).total_seconds())
    return seconds if seconds <= MAX_RETRY_AFTER else None


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)


def backoff(failures: int, *, floor: float, time_left: float) -> float:
    """Compute the wait before the next attempt.

    Args:
        failures: How many attempts have failed in a row, at least 1.
        floor: The shortest wait, in seconds, such as the API's ``Retry-After``. If it is longer than the time
            left, make no further attempt.
        time_left: Seconds after which an attempt is of no use any more.

    Returns:
        Seconds to wait.
    """
    ceiling = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(failures - 1, 32))
    return min(max(floor, _jitter(0, ceiling)), max(time_left, 0.0))


def is_missing_for_good(since: float, now: float) -> bool:
    """Whether a 404 is final, given when the first of an unbroken series of them came.

    The API doesn't promise that a call can be read as soon as it is placed.
    """
    return now - since >= NOT_FOUND_FOR


class RetryRules:
    """When to send a request again, and when to give up.

    Args:
        idempotent: Whether the request may be sent again although the API may have acted on it.
        retry_for: Seconds, from the first attempt, for which failures are retried. 0 is a single attempt.
        log: The logger for each retry and its reason.
    """

    def __init__(self, *, idempotent: bool, retry_for: float, log: Any) -> None:
        self.idempotent = idempotent
        self.retry_for = retry_for
        self.log = log
        self._missing_since: float | None = (
            None  # the first 404 of a series, in seconds from the first attempt
        )

    def arguments(self) -> dict[str, Any]:
        """Return the rules as arguments of ``tenacity.Retrying`` and ``tenacity.AsyncRetrying``."""
        return {
            "retry": self._retry,
            "wait": self._wait,
            "stop": self._stop,
            "before_sleep": self._log_retry,
            "reraise": True,
        }

    def request_time(self, started: float, now: float, timeout: float) -> float:
        """The timeout of a request that begins now: the connection's, or less if the time is nearly over."""
        if self.retry_for <= 0 or not self.idempotent:  # a POST that is cut short loses its answer
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
        floor, left = _retry_after(state), self._left(state)
        if self._missing_since is not None:
            final_in = self._missing_since + NOT_FOUND_FOR - (state.seconds_since_start or 0.0)
            floor, left = BACKOFF_BASE, min(left, max(final_in, 0.0))
        return backoff(state.attempt_number, floor=floor, time_left=left)

    def _stop(self, state: tenacity.RetryCallState) -> bool:
        """Stop when the time is over, or will be before the API allows another attempt."""
        left = self._left(state)
        return left <= 0 or _retry_after(state) > left

    def _left(self, state: tenacity.RetryCallState) -> float:
        return self.retry_for - (state.seconds_since_start or 0.0)

    def _log_retry(self, state: tenacity.RetryCallState) -> None:
        error, wait = _error(state), state.next_action.sleep if state.next_action else 0.0
        what = error.sentence if isinstance(error, TelzinoError) else error
        self.log.warning("%s Trying again in %.1f s.", what, wait)


def _retry_after(state: tenacity.RetryCallState) -> float:
    return getattr(_error(state), "retry_after", None) or 0.0


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
