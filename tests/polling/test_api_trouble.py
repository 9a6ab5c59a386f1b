"""Outages, rate limits and deadlines: what waits do when the API does not answer well."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from airflow_provider_telzino.exceptions import TelzinoRateLimitError
from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook
from airflow_provider_telzino.polling import poll_requests
from airflow_provider_telzino.polling.channel import MAX_IN_FLIGHT, Channel
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.polling import (
    AN_INTERVAL,
    INTERVAL,
    Clock,
    cancel,
    finish,
    happens,
    requests,
    settled,
    start,
    trigger,
)

pytestmark = pytest.mark.usefixtures("connected", "nothing_is_left")


async def test_a_429_pauses_all(sandbox: Sandbox, clock: Clock) -> None:
    """One answer with ``Retry-After`` stops every wait on the connection, for exactly that long."""
    agents = [None, sandbox.agent_ids[0]]  # the same agent, but two pollers
    calls = [sandbox.add_call("dialing") for _ in range(2)]
    waits = start(trigger(call, agent_id=agent) for call, agent in zip(calls, agents, strict=True))
    await clock.advance(INTERVAL / 2)
    sandbox.faults.next("GET", status=429, retry_after="60", times=1)
    await clock.until(lambda: sandbox.faults.waiting == 0, step=0.1)
    sandbox.requests.clear()

    await clock.advance(59.0)
    during_the_pause = len(sandbox.requests)
    await clock.advance(2.0)
    after_the_pause = len(sandbox.requests)
    await cancel(waits)

    assert during_the_pause == 0
    assert after_the_pause == 2


async def test_recovery_is_no_stampede(sandbox: Sandbox, clock: Clock) -> None:
    """300 waits survive an outage; the polls after it are pages, as before it."""
    calls = [sandbox.add_call("dialing") for _ in range(300)]
    waits = start(map(trigger, calls))
    await clock.advance(INTERVAL / 2)
    sandbox.faults.next("GET", status=503, times=20)
    await clock.until(lambda: sandbox.faults.waiting == 0)
    sandbox.requests.clear()

    await clock.until(lambda: requests(sandbox)["page"] >= 9)
    recovery = requests(sandbox)
    finish(sandbox, calls)
    events = await clock.events(waits)

    assert recovery["single"] <= 2 * MAX_IN_FLIGHT
    assert {event["outcome"] for event in events} == {"ended"}


async def test_requests_that_fail_together_count_once(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Three pages in flight that fail for the same reason are one failure, and make one pause."""
    caplog.set_level("WARNING")
    calls = [sandbox.add_call("dialing") for _ in range(300)]
    waits = start(map(trigger, calls))
    await clock.advance(INTERVAL / 2)
    sandbox.faults.next("GET", "outbound-calls$", status=503, retry_after="1", delay=0.2, times=3)

    await clock.until(lambda: sandbox.faults.waiting == 0)
    await settled()
    finish(sandbox, calls)
    await clock.events(waits)

    assert caplog.text.count("Pausing all requests") == 1


async def test_a_pause_that_begins_while_the_connection_is_loaded(sandbox: Sandbox, clock: Clock) -> None:
    """It holds for the request that needs the connection, too."""

    class SlowlyLoadedHook(TelzinoAsyncHook):
        async def load(self, *args: Any, **options: Any) -> Any:
            await paused.wait()
            return await super().load(*args, **options)

    call, paused = sandbox.add_call("completed"), asyncio.Event()
    channel = Channel.of(asyncio.get_running_loop(), "telzino_default")
    sandbox.faults.next("GET", status=429, retry_after="60", delay=0.1)
    refused = asyncio.ensure_future(channel.send(lambda hook: hook.get_call(call["id"], retry_for=0)))
    await happens(lambda: sandbox.requests)
    channel.hook = SlowlyLoadedHook("telzino_default")
    loading = asyncio.ensure_future(channel.send(lambda hook: hook.get_call(call["id"], retry_for=0)))

    await happens(refused.done)
    paused.set()
    await happens(lambda: channel.hook.is_loaded)
    await asyncio.to_thread(time.sleep, 0.1)
    during_the_pause = len(sandbox.requests)
    clock.move(61.0)
    await happens(loading.done)
    await channel.release()

    assert isinstance(refused.exception(), TelzinoRateLimitError)
    assert during_the_pause == 1
    assert loading.result()["id"] == call["id"]


async def test_a_deadline_during_an_outage(
    sandbox: Sandbox, clock: Clock, task_log: pytest.LogCaptureFixture
) -> None:
    """The wait ends in time, and its log says what was last known of the call, and what the trouble was."""
    call = sandbox.add_call("dialing")
    waits = start([trigger(call, timeout=60.0)])
    await clock.advance(INTERVAL)
    sandbox.faults.next("GET", status=503, times=10_000)

    await clock.advance(AN_INTERVAL)
    await clock.advance(60.0)
    [event] = await clock.events(waits)

    assert (event["outcome"], event["status"]) == ("timeout", "dialing")
    assert "last seen dialing" in task_log.text
    assert "503" in task_log.text


async def test_a_defect_of_ours_leaves_nobody_waiting(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error ends the waits: Airflow then resumes their tasks."""
    monkeypatch.setattr(poll_requests, "PagePlan", None)
    waits = start(trigger(sandbox.add_call("dialing")) for _ in range(3))

    await clock.until(lambda: all(wait.done() for wait in waits))

    assert {type(wait.exception()) for wait in waits} == {TypeError}
