"""The sandbox's clock: it can run faster than real time, or stand still until a test moves it."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone


class Clock:
    """Starts at the present, and runs ``speed`` times as fast as real time.

    Args:
        speed: 1 is real time; 0 stands still, so that only :meth:`advance` moves it.
        start: Starts at this time instead (with a time zone).
    """

    def __init__(self, speed: float = 1.0, start: datetime | None = None) -> None:
        if speed < 0:
            raise ValueError(f"`speed` should be 0 or more, not {speed}: time can't run backwards.")
        self.speed = speed
        self._origin = start if start is not None else datetime.now(timezone.utc)
        self._started = time.monotonic()
        self._advanced = timedelta()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the sandbox's current time, in UTC."""
        passed = (time.monotonic() - self._started) * self.speed
        return self._origin + self._advanced + timedelta(seconds=passed)

    def advance(self, seconds: float) -> None:
        """Move the clock forward by so many seconds."""
        if seconds < 0:
            raise ValueError(f"`seconds` should be 0 or more, not {seconds}: time can't run backwards.")
        with self._lock:
            self._advanced += timedelta(seconds=seconds)


def timestamp(moment: datetime) -> str:
    """Format a time as Telzino does: ISO 8601 with microseconds and offset."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")
