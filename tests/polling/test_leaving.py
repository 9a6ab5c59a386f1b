"""A wait may end at any moment, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_telzino.exceptions import TelzinoUnavailableError
from airflow_provider_telzino.polling.channel import Channel
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.polling import Clock, cancel, finish, happens, settled, start, trigger

pytestmark = pytest.mark.usefixtures("connected", "nothing_is_left")


@pytest.mark.slow
async def test_cancelled_at_any_point(sandbox: Sandbox) -> None:
    """Wherever a cancellation hits: nothing is left, and the other waits continue."""
    calls = [sandbox.add_call("dialing") for _ in range(40)]
    survivor = sandbox.add_call("dialing")
    waits = start([trigger(survivor, interval=0.2)])

    for index in range(40):
        cancelled = start([trigger(calls[index], interval=0.2)])
        await asyncio.sleep(index * 0.01)
        await cancel(cancelled)
    finish(sandbox, [survivor])
    [event] = await asyncio.gather(*waits)

    assert event["status"] == "completed"


@pytest.mark.parametrize("pause", [0.0, 0.005, 0.05, 0.3])
async def test_all_cancelled(sandbox: Sandbox, pause: float) -> None:
    """The last one closes the session, also while a request is in flight."""
    sandbox.faults.latency = (0.02, 0.1)
    waits = start(trigger(sandbox.add_call("dialing"), interval=0.1) for _ in range(10))

    await asyncio.sleep(pause)
    await cancel(waits)

    assert all(wait.cancelled() for wait in waits)


async def test_a_cancellation_that_gets_lost(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Aiohttp may mistake it for a timeout: a poller for whom nobody waits ends all the same."""
    send = Channel.send

    async def send_and_lose(channel: Channel, request: Any) -> Any:
        try:
            return await send(channel, request)
        except asyncio.CancelledError:
            raise TelzinoUnavailableError("There was no answer.") from None

    monkeypatch.setattr(Channel, "send", send_and_lose)
    sandbox.faults.next("GET", delay=0.5)
    waits = start([trigger(sandbox.add_call("dialing"))])
    await settled()
    clock.move(10.0)
    await happens(lambda: sandbox.faults.waiting == 0)

    await cancel(waits)

    assert waits[0].cancelled()
    assert "The poller for the calls" not in caplog.text


async def test_no_timer_is_left(sandbox: Sandbox, clock: Clock) -> None:
    """Of a poller that was about to sleep for an hour, nothing stays for an hour."""
    waits = start([trigger(sandbox.add_call("dialing"), interval=3_600)])
    await settled()

    await cancel(waits)

    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert [each for each in scheduled if not each.cancelled() and "Event.set" in str(each)] == []


async def test_a_new_wait_right_after_the_last_one(sandbox: Sandbox, clock: Clock) -> None:
    """It does not join the poller that is just being closed."""
    first, second = sandbox.add_call("completed"), sandbox.add_call("completed")

    [event] = await clock.events(start([trigger(first)]))
    [later] = await clock.events(start([trigger(second)]))

    assert (event["outcome"], later["outcome"]) == ("ended", "ended")
