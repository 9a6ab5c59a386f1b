"""How long the requests of one connection pause after failures, decided without a clock."""

from __future__ import annotations

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.exceptions import TelzinoTransientError

MAX_BACKOFF_FAILURES = (
    5  # in a row; more don't lengthen the pause (up to 16 s), so that a recovery is noticed
)


class SharedBackoff:
    """One backoff for all requests of a connection: a failure pauses all of them together.

    A pause gets longer with each failure in a row, and is never shorter than the API's ``Retry-After``.
    All times are seconds on one clock, which the caller reads.
    """

    def __init__(self) -> None:
        self.problem: TelzinoTransientError | None = None
        """Why the last request failed; ``None`` if it succeeded."""
        self.failures = 0
        """How many failures there were in a row. Requests that fail during one pause count once."""
        self.recovered_at = 0.0
        """When a request last succeeded after a failure."""
        self._resume_at = 0.0

    def pause(self, now: float) -> float:
        """Seconds until the next request may be sent; 0 without a pause."""
        return max(0.0, self._resume_at - now)

    def fail(self, error: TelzinoTransientError, now: float) -> bool:
        """Note that a request failed.

        Returns:
            Whether a new pause begins. During a pause, requests that were in flight fail for the same reason.
        """
        self.problem = error
        floor = error.retry_after or 0.0
        if now < self._resume_at:
            self._resume_at = max(self._resume_at, now + floor)
            return False
        self.failures += 1
        failures = min(self.failures, MAX_BACKOFF_FAILURES)
        self._resume_at = now + retry.backoff(failures, floor=floor, time_left=retry.MAX_RETRY_AFTER)
        return True

    def succeed(self, now: float) -> int:
        """Note that the API answered.

        Returns:
            How many failures in a row this ends.
        """
        failures = self.failures
        if self.problem is not None:
            self.recovered_at = now
        self.problem, self.failures = None, 0
        return failures
