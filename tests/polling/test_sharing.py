"""Many waits, few requests: what the API receives."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from airflow_provider_telzino.polling.channel import MAX_IN_FLIGHT
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import CALL_ID, ConnectionSetter
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
from tests.support.waits import first_event

pytestmark = pytest.mark.usefixtures("connected", "nothing_is_left")


async def test_many_waits_share_list_pages(sandbox: Sandbox, clock: Clock) -> None:
    """250 calls take three pages a poll, and none is fetched singly."""
    calls = [sandbox.add_call("dialing") for _ in range(250)]
    waits = start(map(trigger, calls))
    await clock.advance(INTERVAL)

    await clock.advance(AN_INTERVAL)
    seen_while_waiting = requests(sandbox)
    finish(sandbox, calls)
    events = await clock.events(waits)

    assert seen_while_waiting == {"page": 6}
    assert requests(sandbox) == {"page": 9}
    assert [event["status"] for event in events] == ["completed"] * 250
    assert [event["call_id"] for event in events] == [call["id"] for call in calls]


async def test_a_single_wait_fetches_its_call(sandbox: Sandbox, clock: Clock) -> None:
    """A page would cost more than the call."""
    call = sandbox.add_call("dialing")
    waits = start([trigger(call)])
    for _ in range(3):
        await clock.advance(AN_INTERVAL)

    sandbox.finish(call["id"], "busy")
    [event] = await clock.events(waits)

    assert event["status"] == "busy"
    assert requests(sandbox) == {"single": 4}


async def test_one_session_and_one_token(sandbox: Sandbox, clock: Clock, connect: ConnectionSetter) -> None:
    """All waits on a connection, whichever their agents, share the token and at most four sockets."""
    connect(sandbox, oauth=True)
    calls = [sandbox.add_call("dialing") for _ in range(20)]
    waits = start(map(trigger, calls))
    await clock.advance(INTERVAL)

    finish(sandbox, calls)
    await clock.events(waits)

    assert sum("/oauth/token" in request.path for request in sandbox.requests) == 1
    assert len({request.client for request in sandbox.requests}) <= MAX_IN_FLIGHT


async def test_an_id_in_capitals_is_found_in_the_list(sandbox: Sandbox, clock: Clock) -> None:
    """The event contains it as the task gave it."""
    calls = [sandbox.add_call("completed") for _ in range(2)]

    events = await clock.events(start(trigger({"id": call["id"].upper()}) for call in calls))

    assert [event["call_id"] for event in events] == [call["id"].upper() for call in calls]
    assert requests(sandbox) == {"page": 1}


async def test_triggers_share_a_logger(clock: Clock) -> None:
    """A logger of its own would cost each trigger a kilobyte."""
    first, second = trigger({"id": CALL_ID}, timeout=0), trigger({"id": CALL_ID}, timeout=0)

    await clock.events(start([first, second]))

    assert first.log is second.log


async def test_each_agent_has_polls_of_its_own(connect: ConnectionSetter, clock: Clock) -> None:
    """Two calls of each of ten agents: ten pages an interval."""
    with Sandbox(clock="manual", agents=10) as sandbox:
        connect(sandbox)
        calls = [
            (agent, sandbox.add_call("dialing", agent_id=agent))
            for agent in sandbox.agent_ids
            for _ in range(2)
        ]
        waits = start(trigger(call, agent_id=agent) for agent, call in calls)

        for _ in range(3):
            await clock.advance(AN_INTERVAL)
        seen_while_waiting = requests(sandbox)
        finish(sandbox, [call for _, call in calls])
        await clock.events(waits)

    assert seen_while_waiting == {"page": 30}


async def test_two_waits_for_one_call(sandbox: Sandbox, clock: Clock) -> None:
    """A trigger may run twice: both get the end, and when one leaves, the others stay."""
    call = sandbox.add_call("dialing")
    first, *others = start([trigger(call), trigger(call), trigger(call)])
    await clock.advance(AN_INTERVAL)

    await cancel([first])
    sandbox.finish(call["id"])
    events = await clock.events(others)

    assert [event["status"] for event in events] == ["completed", "completed"]


async def test_the_shortest_interval_sets_the_pace(sandbox: Sandbox, clock: Clock) -> None:
    """A wait with a short interval polls at it, although a slow one came first, which adds no requests."""
    slow, quick = sandbox.add_call("dialing"), sandbox.add_call("dialing")
    waits = start([trigger(slow, interval=3_600)])
    await settled()
    waits += start([trigger(quick)])

    for _ in range(6):
        await clock.advance(AN_INTERVAL)
    fetched = Counter(request.path.rpartition("/")[2] for request in sandbox.requests)
    await cancel(waits)

    assert fetched == {"outbound-calls": 1, quick["id"]: 5}


async def test_the_pace_slows_down_when_a_quick_wait_leaves(sandbox: Sandbox, clock: Clock) -> None:
    """A slow wait for the same call continues slowly."""
    call = sandbox.add_call("dialing")
    quick, slow = start([trigger(call), trigger(call, interval=3_600)])
    await clock.advance(AN_INTERVAL)
    await cancel([quick])
    sandbox.requests.clear()

    for _ in range(50):
        await clock.advance(AN_INTERVAL)
    later = requests(sandbox)
    await cancel([slow])

    assert later.total() <= 1


def test_every_event_loop_has_its_own_poller(sandbox: Sandbox) -> None:
    """Loops in several threads wait side by side, as in tests or ``dag.test()``."""
    calls = [sandbox.add_call("dialing") for _ in range(3)]
    events: list[dict[str, Any]] = []

    def run(call: dict[str, Any]) -> None:
        events.append(asyncio.run(first_event(trigger(call, interval=0.1))))

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    asyncio.run(happens(lambda: {call["id"] for call in calls} <= _polled(sandbox)))
    finish(sandbox, calls)
    for thread in threads:
        thread.join()

    assert {event["call_id"] for event in events} == {call["id"] for call in calls}


def _polled(sandbox: Sandbox) -> set[str]:
    return {request.path.rpartition("/")[2] for request in list(sandbox.requests)}
