"""What a poll missed does not wait for the next regular one, which here would come in an hour."""

from __future__ import annotations

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import CALL_ID
from tests.support.polling import (
    AN_INTERVAL,
    INTERVAL,
    Clock,
    cancel,
    happens,
    requests,
    settled,
    start,
    trigger,
)

pytestmark = pytest.mark.usefixtures("connected", "nothing_is_left")

HOUR = 3_600.0
FIRST_POLL = HOUR / 2  # seconds within which it comes
SOON = 60.0  # seconds: enough for some early polls, and too few for a regular one


async def test_a_single_wait(sandbox: Sandbox, clock: Clock) -> None:
    """Each failed request is soon followed by another one."""
    sandbox.faults.next("GET", status=503, times=3)
    waits = start([trigger(sandbox.add_call("completed"), interval=HOUR)])
    await clock.advance(FIRST_POLL)

    for _ in range(30):
        await clock.advance(SOON / 30)
    ended = [wait.done() for wait in waits]
    await cancel(waits)

    assert ended == [True]
    assert len(sandbox.requests) == 4


async def test_a_page(sandbox: Sandbox, clock: Clock) -> None:
    """Only the page that could not be read is requested again."""
    calls = [sandbox.add_call("completed") for _ in range(150)] + [sandbox.add_call("dialing")]
    sandbox.faults.next("GET", "outbound-calls$", status=429, times=1)
    waits = start(trigger(call, interval=HOUR) for call in calls)
    await clock.advance(FIRST_POLL)

    for _ in range(30):
        await clock.advance(SOON / 30)
    ended = [wait.done() for wait in waits]
    await cancel(waits[150:])

    assert ended == [True] * 150 + [False]
    assert requests(sandbox) == {"page": 3}


async def test_a_wait_that_joins_during_a_poll(sandbox: Sandbox, clock: Clock) -> None:
    """It is polled soon after."""
    sandbox.faults.next("GET", delay=0.3)
    first, second = sandbox.add_call("dialing"), sandbox.add_call("completed")
    waits = start([trigger(first, interval=HOUR)])
    await settled()
    clock.move(FIRST_POLL)
    await happens(lambda: sandbox.requests)

    waits += start([trigger(second, interval=HOUR)])
    await clock.advance(SOON)
    ended = [wait.done() for wait in waits]
    await cancel(waits)

    assert ended == [False, True]


async def test_the_others_keep_their_pace(sandbox: Sandbox, clock: Clock) -> None:
    """Early polls of a call that is missing neither hasten nor delay the polls of the rest."""
    calls = [sandbox.add_call("dialing") for _ in range(2)]
    waits = start(trigger(call, interval=60.0) for call in [*calls, {"id": CALL_ID}])
    await clock.advance(30.0)

    for _ in range(14):
        await clock.advance(1.0)
    during_early_polls = requests(sandbox)
    await clock.advance(48.0)
    at_the_next_regular_poll = requests(sandbox)
    await cancel(waits)

    assert during_early_polls["page"] == 1
    assert during_early_polls["single"] >= 4
    assert at_the_next_regular_poll["page"] == 2


async def test_a_poll_that_an_outage_delayed_is_not_repeated_at_once(sandbox: Sandbox, clock: Clock) -> None:
    """The next one comes an interval after the outage: two in a row would be a burst."""
    calls = [sandbox.add_call("dialing") for _ in range(2)]
    waits = start(map(trigger, calls))
    await clock.advance(INTERVAL / 2)
    sandbox.faults.next("GET", status=429, retry_after="9")
    await clock.advance(AN_INTERVAL)

    await clock.advance(9.0)
    after_the_outage = requests(sandbox)["page"]
    await clock.advance(0.9 * INTERVAL)
    nearly_an_interval_later = requests(sandbox)["page"]
    await clock.advance(0.2 * INTERVAL)
    an_interval_later = requests(sandbox)["page"]
    await cancel(waits)

    assert (after_the_outage, nearly_an_interval_later, an_interval_later) == (3, 3, 4)
