"""An event loop that doesn't wait: where only a timer could end the wait, it moves the clock there."""

from __future__ import annotations

import asyncio
import functools
import selectors
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar

HOOKS = "airflow_provider_telzino.hooks.telzino"
T = TypeVar("T")


class LoopClock(Protocol):
    """What the loop needs of a clock."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""


class ClockLoop(asyncio.SelectorEventLoop):
    """Passes time on a test's clock. While a request is in flight or a thread works, time is real.

    Args:
        clock: The clock that it reads and moves.
    """

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self.in_flight = 0
        """How many requests and threads the loop waits for."""
        super().__init__(_Selector(self, clock))
        count_requests()

    def time(self) -> float:
        """Return the time of the loop's timers."""
        return self._clock.monotonic()

    def run_in_executor(  # type: ignore[override]  # what it takes is typed differently by Python's version
        self, executor: Executor | None, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """Run a function in a thread, and let time be real until it returns."""
        self.in_flight += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._landed)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads to end, in real time: from Python 3.12 on, the loop gives them 5 minutes."""
        self.in_flight += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self.in_flight -= 1

    def _landed(self, _: object) -> None:
        self.in_flight -= 1


class _Selector(selectors.DefaultSelector):
    """Waits for sockets as long as the loop asks; but where only a timer can end that, it is over at once."""

    def __init__(self, loop: ClockLoop, clock: LoopClock) -> None:
        super().__init__()
        self._loop = loop
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0 or self._loop.in_flight:
            return super().select(timeout)
        if ready := super().select(0):
            return ready
        self._clock.advance(timeout)
        return []


def count_requests() -> None:
    """Let :class:`ClockLoop` know of the requests of our own hook, if that has been imported."""
    hook = getattr(sys.modules.get(HOOKS), "TelzinoAsyncHook", None)
    if hook is not None and not hasattr(hook._attempt, "__wrapped__"):
        hook._attempt = _counted(hook._attempt)


def _counted(attempt: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    @functools.wraps(attempt)
    async def counted(*args: Any, **kwargs: Any) -> T:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, ClockLoop):
            return await attempt(*args, **kwargs)
        loop.in_flight += 1
        try:
            return await attempt(*args, **kwargs)
        finally:
            loop.in_flight -= 1

    return counted
