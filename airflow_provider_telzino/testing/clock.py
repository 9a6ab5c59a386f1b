"""The clock of a test: time passes in the whole process as soon as somebody sleeps."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine

from airflow_provider_telzino.sandbox.clock import Clock
from airflow_provider_telzino.testing.event_loop import ClockLoop

_monotonic = time.monotonic
_new_event_loop = asyncio.events.new_event_loop


class MovableClock(Clock):
    """The time of this process, within ``with clock:``. It runs like real time, and sleeping moves it.

    ``time.sleep`` in the test's own thread returns at once, and so does a wait of an event loop in which
    nothing else happens. All other threads sleep for real.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self._moved = 0.0  # seconds by which the monotonic clock is ahead of the real one
        self._patch = pytest.MonkeyPatch()
        self._travel = time_machine.travel(time.time(), tick=True)
        self._wall: Any = None

    def __enter__(self) -> MovableClock:
        self._wall = self._travel.start()
        self._patch.setattr(time, "monotonic", self.monotonic)
        self._patch.setattr(time, "sleep", self._sleep)
        self._patch.setattr(asyncio.events, "new_event_loop", self._loop)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._patch.undo()
        self._travel.stop()

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return what ``time.monotonic()`` does: seconds that never run backwards."""
        return _monotonic() + self._moved

    def advance(self, seconds: float | timedelta) -> None:
        """Move the clock forward, by seconds or a ``timedelta``."""
        step = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
        if step < 0:
            raise ValueError(f"`seconds` should be 0 or more, not {step}: time can't run backwards.")
        self._wall.shift(step)
        self._moved += step

    def move_to(self, moment: datetime) -> None:
        """Set the clock to any time, with a time zone. Do so before the first call: it may be in the past."""
        if moment.tzinfo is None:
            raise ValueError(f"`moment` should have a time zone, such as UTC, unlike {moment}.")
        self._moved += max(moment.timestamp() - time.time(), 0.0)
        self._wall.move_to(moment.timestamp())

    def _sleep(self, seconds: float) -> None:
        if threading.get_ident() == self._thread:
            self.advance(seconds)
        else:
            threading.Event().wait(seconds)

    def _loop(self) -> asyncio.AbstractEventLoop:
        """Make the loop of ``asyncio.run``; for another thread, such as the sandbox's, one of real time."""
        if threading.get_ident() == self._thread:
            return ClockLoop(self)
        loop = _new_event_loop()
        loop.time = _monotonic  # type: ignore[method-assign]
        return loop
