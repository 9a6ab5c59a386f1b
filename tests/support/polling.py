"""Run many waits in one event loop, as a triggerer does, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from airflow_provider_telzino.polling.channel import Channel
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.triggers.batch import TelzinoCallBatchTrigger
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from tests.support.waits import first_event

INTERVAL = 10.0  # seconds between two polls
AN_INTERVAL = 1.03 * INTERVAL  # seconds within which the next regular poll comes, jitter included
A_DAY = 86_400.0
HANG = 120.0  # real seconds after which a test counts as hanging
IDLE_STEPS = 20  # steps of the event loop without a request, after which nothing more is due

Waits = list["asyncio.Task[dict[str, Any]]"]


class Clock:
    """The event loop's clock. It stands still until the test moves it; network and threads stay real."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._now = loop.time()
        loop.time = lambda: self._now  # type: ignore[method-assign]

    def move(self, seconds: float) -> None:
        """Move the clock. What is due then happens as soon as the test awaits something."""
        self._now += seconds

    async def advance(self, seconds: float) -> None:
        """Let everything happen that is due, move the clock, and let everything happen that is due then."""
        await settled()
        self.move(seconds)
        await settled()

    async def until(
        self, condition: Callable[[], object], step: float = INTERVAL / 4, steps: int = 400
    ) -> None:
        """Move the clock step by step until a condition holds."""
        for _ in range(steps):
            if condition():
                return
            await self.advance(step)
        raise AssertionError(f"{steps} steps of {step} s were not enough")

    async def events(self, waits: Waits) -> list[dict[str, Any]]:
        """Move the clock until all waits have ended; return their events."""
        await self.until(lambda: all(wait.done() for wait in waits))
        return await asyncio.gather(*waits)


def trigger(
    call: dict[str, Any], *, interval: float = INTERVAL, timeout: float = A_DAY, **arguments: Any
) -> TelzinoCallTrigger:
    """Make a trigger for a call's record."""
    return TelzinoCallTrigger(call["id"], time.time() + timeout, poll_interval=interval, **arguments)


def batch_trigger(
    calls: Iterable[dict[str, Any]], *, interval: float = INTERVAL, timeout: float = A_DAY, **arguments: Any
) -> TelzinoCallBatchTrigger:
    """Make a trigger for many calls' records."""
    defaults: dict[str, Any] = {"telzino_conn_id": "telzino_default", "agent_id": None}
    return TelzinoCallBatchTrigger(
        [call["id"] for call in calls],
        deadline=time.time() + timeout,
        poll_interval=interval,
        **(defaults | arguments),
    )


def start(triggers: Iterable[TelzinoCallTrigger | TelzinoCallBatchTrigger]) -> Waits:
    """Run triggers as a triggerer does, all in one loop."""
    return [asyncio.ensure_future(first_event(each)) for each in triggers]


async def cancel(waits: Waits) -> None:
    """Cancel waits, and wait until they have left."""
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)


async def happens(condition: Callable[[], object]) -> None:
    """Wait, in real time, for something that a request or a thread does. The clock stands still."""
    hangs_at = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < hangs_at, "it did not happen"
        await asyncio.to_thread(time.sleep, 0.001)


def finish(sandbox: Sandbox, calls: Iterable[dict[str, Any]]) -> None:
    """Let calls end well."""
    for call in calls:
        sandbox.finish(call["id"], "completed")


def requests(sandbox: Sandbox) -> Counter[str]:
    """Count the requests: list pages, and single calls."""
    return Counter(
        "page" if request.path.endswith("outbound-calls") else "single"
        for request in list(sandbox.requests)
        if "/oauth/" not in request.path
    )


async def settled() -> None:
    """Return when every wait and poller sleeps and no request is in flight. The clock stands still."""
    idle_steps = 0
    hangs_at = time.monotonic() + HANG
    while idle_steps < IDLE_STEPS:
        if _in_flight():
            assert time.monotonic() < hangs_at, "a request hangs"
            idle_steps = 0
            await asyncio.to_thread(time.sleep, 0.001)
        else:
            idle_steps += 1
            await asyncio.sleep(0)


def _in_flight() -> int:
    return sum(sum(channel._requests.values()) for channel in list(Channel._channels.values()))
