"""The sandbox's time: it may run faster than ours, and stands still when the sandbox has a manual clock."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone


class Clock:
    """Begins at the present, then runs ``speed`` times as fast as real time.

    :param speed: 1 is real time; 0 stands still, so that only ``advance`` moves it
    :param start: begins at this time instead (with a time zone)
    """

    def __init__(self, speed: float = 1.0, start: datetime | None = None) -> None:
        if speed < 0:
            raise ValueError(f"speed is 0 or more, not {speed}: time can't run backwards")
        self.speed = speed
        self._origin = start if start is not None else datetime.now(timezone.utc)
        self._started = time.monotonic()
        self._advanced = timedelta()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the sandbox's present, in UTC."""
        passed = (time.monotonic() - self._started) * self.speed
        return self._origin + self._advanced + timedelta(seconds=passed)

    def advance(self, seconds: float) -> None:
        """Let this much time pass at once."""
        if seconds < 0:
            raise ValueError(f"seconds is 0 or more, not {seconds}: time can't run backwards")
        with self._lock:
            self._advanced += timedelta(seconds=seconds)


def timestamp(moment: datetime) -> str:
    """Write a time as Telzino does: ISO 8601 with microseconds and offset."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")
