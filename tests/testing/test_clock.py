"""The clock of a test: who sleeps moves it, in code and in event loops, and nothing waits for real."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pendulum
import pytest

from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.testing.clock import MovableClock
from airflow_provider_telzino.testing.telzino import Telzino
from tests.conftest import ConnectionSetter

HOUR = 3_600.0


@pytest.fixture
def clock() -> Iterator[MovableClock]:
    """A clock that runs."""
    with MovableClock() as clock:
        yield clock


def moved(since: float) -> float:
    """Return the seconds since a time, without those that the test itself has taken."""
    return round((time.time() - since) / HOUR) * HOUR


def test_a_sleep_moves_all_clocks(clock: MovableClock) -> None:
    """Wall clocks and the monotonic one agree that an hour has passed."""
    began, monotonic, now = time.time(), time.monotonic(), clock.now()

    time.sleep(HOUR)

    assert moved(began) == HOUR
    assert time.monotonic() - monotonic >= HOUR
    assert timedelta(hours=1) <= datetime.now(timezone.utc) - now < timedelta(hours=2)
    assert timedelta(hours=1) <= pendulum.now("UTC") - pendulum.instance(now) < timedelta(hours=2)


def test_a_sleep_in_an_event_loop(clock: MovableClock) -> None:
    """The timers of a loop come in their order, as they would in an hour."""
    order: list[str] = []

    async def sleep(seconds: float, name: str) -> None:
        await asyncio.sleep(seconds)
        order.append(name)

    async def both() -> None:
        await asyncio.gather(sleep(HOUR, "second"), sleep(HOUR / 2, "first"))

    began = time.time()
    asyncio.run(both())

    assert order == ["first", "second"]
    assert moved(began) == HOUR


def test_time_is_real_while_a_thread_works(clock: MovableClock) -> None:
    """A timer of an hour doesn't come before the end of work that takes milliseconds."""

    async def work() -> None:
        await asyncio.wait_for(asyncio.to_thread(threading.Event().wait, 0.05), timeout=HOUR)

    began = time.time()
    asyncio.run(work())

    assert moved(began) == 0


def test_time_is_real_while_threads_end(clock: MovableClock) -> None:
    """From Python 3.12 on a loop warns if its threads take 5 minutes to end; they take milliseconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        asyncio.run(asyncio.to_thread(time.monotonic))


def test_time_is_real_while_a_request_is_in_flight(telzino: Telzino, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow answer isn't taken for a timeout because others sleep meanwhile."""
    from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook

    call = telzino.sandbox.add_call("completed")
    telzino.sandbox.faults.next("GET", delay=0.05)

    async def get() -> str:
        async with TelzinoAsyncHook() as hook:
            sleep = asyncio.create_task(asyncio.sleep(HOUR))
            record = await hook.get_call(call["id"], retry_for=0)
            assert not sleep.done()
            await sleep
        return str(record["status"])

    began = time.time()

    assert asyncio.run(get()) == "completed"
    assert moved(began) == HOUR


def test_another_thread_sleeps_for_real(clock: MovableClock) -> None:
    """A helper of a test that looks for something every moment doesn't make hours pass."""
    began = time.perf_counter()
    helper = threading.Thread(target=time.sleep, args=(0.05,))
    helper.start()
    helper.join()

    assert time.perf_counter() - began >= 0.05


def test_the_sandbox_keeps_its_connections(telzino: Telzino) -> None:
    """Its server's own timers are real: an hour later it hasn't closed what a client keeps open."""
    from airflow_provider_telzino.hooks.telzino import TelzinoHook

    call = telzino.sandbox.add_call("completed")
    with TelzinoHook() as hook, TelzinoHook() as other:
        hook.get_call(call["id"])
        telzino.clock.advance(HOUR)
        other.get_call(call["id"])  # wakes the server, which would see that its timers are over
        hook.get_call(call["id"])

    first, _, last = telzino.sandbox.requests
    assert first.client == last.client


def test_a_limit_of_requests_is_on_the_clock(telzino: Telzino) -> None:
    """A request after a pause of the clock succeeds, although no real time has passed."""
    telzino.sandbox.faults.rate_limit = 0.1

    from airflow_provider_telzino.hooks.telzino import TelzinoHook

    call = telzino.sandbox.add_call("completed")
    with TelzinoHook() as hook:
        for _ in range(3):
            hook.get_call(call["id"], retry_for=0)
            telzino.clock.advance(10)

    assert [request.status for request in telzino.sandbox.requests] == [200] * 3


def test_move_to(clock: MovableClock) -> None:
    """The clock can begin at any time, also in the past; the monotonic one only runs forward."""
    monotonic = time.monotonic()

    clock.move_to(pendulum.datetime(2020, 2, 29, 9, tz="America/New_York"))

    assert pendulum.now("America/New_York").to_datetime_string().startswith("2020-02-29 09:00:0")
    assert time.monotonic() >= monotonic


def test_wrong_times(clock: MovableClock) -> None:
    """Time doesn't run backwards, and a time without a zone is ambiguous."""
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="time zone"):
        clock.move_to(datetime(2026, 1, 1))


def test_real_time_returns() -> None:
    """After a test, nothing of the process's time has changed."""
    before = (time.time(), time.monotonic(), time.sleep, asyncio.events.new_event_loop)

    with MovableClock() as clock:
        clock.advance(timedelta(days=1))

    after = (time.time(), time.monotonic(), time.sleep, asyncio.events.new_event_loop)
    assert after[2:] == before[2:]
    assert after[0] - before[0] < HOUR
    assert after[1] - before[1] < HOUR


def test_a_sandbox_on_the_clock(clock: MovableClock, connect: ConnectionSetter) -> None:
    """A sandbox of one's own can share the clock: a call ends while somebody sleeps."""
    with Sandbox(clock=clock) as sandbox:
        call = sandbox.place()
        time.sleep(HOUR)

        assert sandbox.call(call["id"])["status"] == "completed"
