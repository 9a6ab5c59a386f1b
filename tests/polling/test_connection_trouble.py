"""Tokens that are refused, connections that change or are missing: what a channel loads again, and when."""

from __future__ import annotations

from collections import Counter

import pytest

from airflow_provider_telzino.polling.channel import MAX_IN_FLIGHT, MISSING_FOR, RELOAD_AFTER
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import CALL_ID, ConnectionSetter
from tests.support.polling import INTERVAL, Clock, finish, requests, settled, start, trigger

pytestmark = pytest.mark.usefixtures("connected", "nothing_is_left")

ALWAYS = 10_000  # times
FIRST_POLL = INTERVAL / 2


async def test_refused_credentials_end_all_waits_at_once(
    sandbox: Sandbox, clock: Clock, connect: ConnectionSetter
) -> None:
    """A hundred waits with a wrong token make a few requests, not hundreds; later ones start afresh."""
    calls = [sandbox.add_call("dialing") for _ in range(100)]
    connect(sandbox, password="wrong")

    events = await clock.events(start(map(trigger, calls)))
    requests_until_then = len(sandbox.requests)
    connect(sandbox)
    finish(sandbox, calls[:1])
    [later] = await clock.events(start([trigger(calls[0])]))

    assert {event["error"] for event in events} == {"TelzinoCredentialsError"}
    assert requests_until_then <= MAX_IN_FLIGHT
    assert later["outcome"] == "ended"


async def test_a_connection_that_was_corrected(
    sandbox: Sandbox, clock: Clock, connect: ConnectionSetter
) -> None:
    """When a token that was good is refused, the connection is loaded again, and the waits continue."""
    calls = [sandbox.add_call("dialing") for _ in range(3)]
    waits = start(map(trigger, calls))
    await clock.advance(FIRST_POLL)

    await clock.advance(RELOAD_AFTER)
    connect(sandbox, oauth=True)
    sandbox.revoke_tokens()
    await clock.advance(2 * INTERVAL)
    finish(sandbox, calls)
    events = await clock.events(waits)

    assert {event["outcome"] for event in events} == {"ended"}


async def test_a_token_that_is_refused_to_several_requests_at_once(sandbox: Sandbox, clock: Clock) -> None:
    """The first 401 makes the connection load again; those of the old token that follow prove nothing."""
    calls = [sandbox.add_call("dialing") for _ in range(300)]
    waits = start(map(trigger, calls))
    await clock.advance(FIRST_POLL)
    await clock.advance(RELOAD_AFTER)
    sandbox.faults.next("GET", "outbound-calls$", status=401, delay=0.2, times=3)

    await clock.until(lambda: sandbox.faults.waiting == 0)
    await settled()
    finish(sandbox, calls)
    events = await clock.events(waits)

    assert Counter(event["outcome"] for event in events) == {"ended": 300}


async def test_loading_the_connection_again_breaks_no_request(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """One page is refused while two others are in flight: those arrive."""
    calls = [sandbox.add_call("dialing") for _ in range(300)]
    waits = start(map(trigger, calls))
    await clock.advance(FIRST_POLL)
    await clock.advance(RELOAD_AFTER)
    finish(sandbox, calls)
    sandbox.faults.next("GET", "outbound-calls$", status=401, delay=0.1)
    sandbox.faults.next("GET", "outbound-calls$", delay=0.4, times=2)

    events = await clock.events(waits)

    assert Counter(event["outcome"] for event in events) == {"ended": 300}
    assert caplog.text.count("Pausing all requests") == 1


async def test_airflow_misses_the_connection_for_a_moment(
    sandbox: Sandbox, clock: Clock, connect: ConnectionSetter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3.3 reports a connection as missing whatever the trouble is: that is not final at once."""
    calls = [sandbox.add_call("completed") for _ in range(3)]
    monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")
    waits = start(map(trigger, calls))
    await clock.advance(FIRST_POLL)
    for _ in range(10):
        await clock.advance(MISSING_FOR / 15)

    connect(sandbox)
    events = await clock.events(waits)

    assert {event["outcome"] for event in events} == {"ended"}


async def test_airflow_misses_the_connection_for_good(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute the wait ends."""
    monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")
    waits = start([trigger({"id": CALL_ID})])
    await clock.advance(FIRST_POLL)

    for _ in range(10):
        await clock.advance(MISSING_FOR / 11)
    within_a_minute = waits[0].done()
    [event] = await clock.events(waits)

    assert not within_a_minute
    assert (event["outcome"], event["error"]) == ("refused", "TelzinoConnectionNotFoundError")


async def test_a_few_failures_do_not_load_the_connection_again(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waits that are running need Airflow only when the connection may be the trouble."""
    call = sandbox.add_call("dialing")
    waits = start([trigger(call)])
    await clock.advance(FIRST_POLL)
    await clock.advance(RELOAD_AFTER)
    monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")
    sandbox.faults.next("GET", status=503, times=2)

    await clock.until(lambda: sandbox.faults.waiting == 0)
    finish(sandbox, [call])
    [event] = await clock.events(waits)

    assert event["outcome"] == "ended"


async def test_an_outage_loads_the_connection_again(
    sandbox: Sandbox, clock: Clock, connect: ConnectionSetter
) -> None:
    """The API may have moved: a host that someone corrects is used without a restart."""
    call = sandbox.add_call("dialing")
    waits = start([trigger(call)])
    await clock.advance(FIRST_POLL)
    sandbox.faults.next("GET", status=503, times=ALWAYS)
    with Sandbox(clock="manual") as elsewhere:
        elsewhere.add_call("completed", id=call["id"])
        connect(elsewhere)

        [event] = await clock.events(waits)

        assert event["outcome"] == "ended"
        assert requests(elsewhere) == {"single": 1}
