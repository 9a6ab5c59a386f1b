"""The watcher of an agent's calls: an event for each that ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.polling.call_list import REFUSED_PAUSE
from airflow_provider_telzino.rules.ended_calls import PERSISTED_AFTER
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from airflow_provider_telzino.triggers.ended_calls import STORE_PAUSE, TelzinoCallEndedTrigger
from tests.conftest import AGENT_ID
from tests.support.installed_airflow import INSTALLED
from tests.support.polling import Clock, requests
from tests.support.triggerer import FROM_3_3
from tests.support.watching import AssetStates, Watch

pytestmark = [
    pytest.mark.skipif(INSTALLED < (3, 0), reason="Airflow 2 has no watchers"),
    pytest.mark.usefixtures("connected", "nothing_is_left", "quick_retries"),
]

AN_INTERVAL = 31.0  # seconds within which the next poll comes, jitter included
KEY = "telzino_ended_calls:telzino_default:default"
Start = Callable[..., Watch]


@pytest.fixture
async def start(clock: Clock) -> AsyncIterator[Start]:
    """Start a watcher; all are stopped at the end."""
    watches: list[Watch] = []

    def start_watch(*assets: str, streams: Any = None, **arguments: Any) -> Watch:
        watch = Watch(TelzinoCallEndedTrigger(**arguments), *assets, streams=streams)
        watches.append(watch)
        return watch

    yield start_watch
    for watch in watches:
        if not watch._task.done():
            await watch.stop()


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> AssetStates:
    """Stand in for what Airflow keeps of the assets."""
    from airflow.sdk.execution_time import task_runner

    states = AssetStates()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", states, raising=False)
    return states


def ended_call(sandbox: Sandbox, status: str = "completed") -> str:
    """Place a call that ends at once; return its id."""
    call_id: str = sandbox.place()["id"]
    sandbox.finish(call_id, status)
    return call_id


async def test_an_event_for_each_call_that_ends(sandbox: Sandbox, clock: Clock, start: Start) -> None:
    """Once, with ids and status, whether the watch has seen the call before or not."""
    live = sandbox.add_call("in_progress")
    watch = start()
    await clock.advance(AN_INTERVAL)
    assert watch.events == []

    sandbox.finish(live["id"], "busy")
    short = ended_call(sandbox)
    await clock.advance(AN_INTERVAL)
    await clock.advance(AN_INTERVAL)

    assert sorted(watch.events, key=lambda event: str(event["status"])) == [
        {"call_id": live["id"], "agent_id": AGENT_ID, "status": "busy"},
        {"call_id": short, "agent_id": AGENT_ID, "status": "completed"},
    ]
    assert requests(sandbox) == {"page": 4}


async def test_a_long_call_behind_many_newer_ones(sandbox: Sandbox, clock: Clock, start: Start) -> None:
    """One more request each time, however far down the list it is."""
    long = sandbox.add_call("in_progress")
    watch = start()
    await clock.advance(0)
    sandbox.clock.advance(3_600)
    newer = [ended_call(sandbox) for _ in range(250)]
    await clock.advance(AN_INTERVAL)
    assert sorted(watch.ended) == sorted(newer)

    sandbox.clock.advance(60)
    sandbox.add_call("in_progress")
    await clock.advance(AN_INTERVAL)
    sandbox.requests.clear()
    sandbox.finish(long["id"])
    await clock.advance(AN_INTERVAL)

    assert watch.ended[len(newer) :] == [long["id"]]
    assert requests(sandbox) == {"page": 1, "single": 1}


async def test_a_call_that_the_list_shows_late(clock: Clock, start: Start, connect: Any) -> None:
    """It is found, although the list has shown newer ones meanwhile."""
    with Sandbox(clock="manual", list_lag=15) as sandbox:
        connect(sandbox)
        watch = start(poll_interval=5)
        for _ in range(4):
            sandbox.place(MAGIC_NUMBERS["busy"])
            sandbox.clock.advance(5)
            await clock.advance(5.2)
        sandbox.clock.advance(600)
        await clock.advance(5.2)

        assert sorted(watch.ended) == sorted(call["id"] for call in sandbox.calls)
        await watch.stop()


async def test_an_outage_only_delays(sandbox: Sandbox, clock: Clock, start: Start) -> None:
    """Events come when the API is back, in the middle of a poll, too."""
    calls = [ended_call(sandbox) for _ in range(150)]
    sandbox.faults.next("GET", "outbound-calls", times=1, status=503)
    watch = start()
    await clock.until(lambda: watch.events)
    sandbox.faults.next("GET", "outbound-calls", times=5, status=500)
    new = ended_call(sandbox, "failed")
    await clock.until(lambda: len(watch.events) == 151)

    assert sorted(watch.ended) == sorted([*calls, new])


@pytest.mark.parametrize("status", [403, 404, 400])
async def test_a_refusal_does_not_end_it(
    sandbox: Sandbox, clock: Clock, start: Start, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """It is logged, and the next poll comes minutes later: Airflow would start the trigger again at once."""
    sandbox.faults.next("GET", "outbound-calls", times=1, status=status)
    watch = start()
    await clock.advance(REFUSED_PAUSE - 1)
    call = ended_call(sandbox)
    assert requests(sandbox) == {"page": 1}

    await clock.advance(1)

    assert watch.ended == [call]
    assert "The calls of the connection's agent can't be watched" in caplog.text
    assert "Trying again in 300 s" in caplog.text


async def test_a_page_that_is_refused(
    sandbox: Sandbox, clock: Clock, start: Start, task_log: pytest.LogCaptureFixture
) -> None:
    """The poll breaks off, and the next one reports the rest, and nothing twice."""
    calls = [ended_call(sandbox) for _ in range(150)]
    sandbox.faults.next("GET", "outbound-calls", times=1, delay=0.01)  # the first page
    sandbox.faults.next("GET", "outbound-calls", times=1, status=403)
    watch = start()
    await clock.advance(0)
    assert len(watch.events) == 100
    await clock.advance(AN_INTERVAL)

    assert sorted(watch.ended) == sorted(calls)
    assert "broke off" in task_log.text


async def test_a_call_that_vanishes(
    sandbox: Sandbox, clock: Clock, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """After a while it is given up, and the log says so."""
    long = sandbox.add_call("in_progress")
    watch = start()
    await clock.advance(0)
    sandbox.clock.advance(3_600)
    for _ in range(101):
        ended_call(sandbox)
    await clock.advance(AN_INTERVAL)
    sandbox.clock.advance(60)
    ended_call(sandbox)
    sandbox.faults.next("GET", long["id"], times=10, status=404)
    for _ in range(6):
        await clock.advance(AN_INTERVAL)

    assert caplog.text.count(f"Call {long['id']} can't be read any more") == 1
    assert long["id"] not in watch.ended


# --- Its cursor (from Airflow 3.3) ---


@FROM_3_3
async def test_a_restart_continues(sandbox: Sandbox, clock: Clock, start: Start, states: AssetStates) -> None:
    """After days, too: calls that were live, calls that were placed meanwhile, and no old one again."""
    live = sandbox.add_call("in_progress")["id"]
    reported = ended_call(sandbox)
    watch = start("ended calls")
    for _ in range(3):
        await clock.advance(AN_INTERVAL)
    assert watch.ended == [reported]
    await watch.stop()

    sandbox.clock.advance(2 * 86_400)
    meanwhile = [ended_call(sandbox, "no_answer") for _ in range(120)]
    sandbox.finish(live)
    again = start("ended calls")
    await clock.advance(0)

    assert sorted(again.ended) == sorted([*meanwhile, live])
    assert {key for _, key in states.states} == {KEY}


@FROM_3_3
async def test_the_cursor_waits_for_airflow_to_store_the_events(
    sandbox: Sandbox, clock: Clock, start: Start, states: AssetStates
) -> None:
    """A crash right after an event repeats it: a cursor that was stored at once would lose it."""
    watch = start("ended calls")
    await clock.advance(0)
    (at_start,) = states.states.values()
    call = ended_call(sandbox)
    await clock.advance(AN_INTERVAL)
    assert watch.ended == [call]
    await watch.stop()
    again = start("ended calls")
    await clock.advance(0)
    assert again.ended == [call]

    await clock.advance(PERSISTED_AFTER + AN_INTERVAL)
    (later,) = states.states.values()

    assert call in later["recent"]
    assert call not in at_start["recent"]


@FROM_3_3
async def test_a_state_that_can_not_be_read(
    sandbox: Sandbox, clock: Clock, start: Start, states: AssetStates, task_log: pytest.LogCaptureFixture
) -> None:
    """The watch waits for it: without the cursor it would miss calls."""
    states.fails = True
    call = ended_call(sandbox)
    watch = start("ended calls")
    await clock.advance(STORE_PAUSE)
    assert watch.events == []
    assert "The cursor can't be read from the asset's state (RuntimeError)" in task_log.text

    states.fails = False
    await clock.advance(STORE_PAUSE)

    assert watch.ended == [call]


@FROM_3_3
async def test_a_state_that_can_not_be_written(
    sandbox: Sandbox, clock: Clock, start: Start, states: AssetStates, task_log: pytest.LogCaptureFixture
) -> None:
    """Events come all the same."""
    watch = start("ended calls")
    await clock.advance(0)
    states.fails = True
    calls = [ended_call(sandbox)]
    await clock.advance(AN_INTERVAL)
    await clock.advance(AN_INTERVAL)
    await clock.advance(AN_INTERVAL)
    calls.append(ended_call(sandbox))
    await clock.advance(AN_INTERVAL)

    assert watch.ended == calls
    assert "The cursor can't be stored in the asset's state (RuntimeError)" in task_log.text


@FROM_3_3
async def test_a_state_that_somebody_else_has_written(
    sandbox: Sandbox, clock: Clock, start: Start, states: AssetStates, task_log: pytest.LogCaptureFixture
) -> None:
    """The watch starts as if there were none."""
    states.states["ended calls", KEY] = {"cursor": "yesterday"}
    call = ended_call(sandbox)
    watch = start("ended calls")
    await clock.advance(0)

    assert watch.ended == [call]
    assert f"What the asset's state has under {KEY} is not a cursor" in task_log.text
    assert "placed_since" in states.states["ended calls", KEY]


@FROM_3_3
async def test_a_watcher_of_several_assets(
    sandbox: Sandbox, clock: Clock, start: Start, states: AssetStates
) -> None:
    """Airflow runs watchers with the same arguments in one file as one trigger: each asset has the cursor."""
    call = ended_call(sandbox)
    watch = start("one", "two")
    await clock.advance(0)

    assert watch.ended == [call]
    assert {name for name, _ in states.states} == {"one", "two"}


@FROM_3_3
async def test_ten_watchers_share_one_poll(
    sandbox: Sandbox, clock: Clock, start: Start, states: AssetStates
) -> None:
    """Through Airflow's shared streams: each asset has its events and its cursor, and the API one poll."""
    from airflow.triggers.shared_stream import SharedStreamManager

    streams = SharedStreamManager()
    first = ended_call(sandbox)
    live = sandbox.add_call("in_progress")["id"]
    watches = [start(f"asset {number}", streams=streams) for number in range(10)]
    await clock.advance(0)
    sandbox.finish(live)
    await clock.advance(AN_INTERVAL)
    late = start("late", streams=streams)
    await clock.advance(AN_INTERVAL)

    assert [watch.ended for watch in watches] == [[first, live]] * 10
    assert sorted(late.ended) == sorted([first, live])
    assert requests(sandbox) == {"page": 3}
    assert len(states.states) == 11


@FROM_3_3
async def test_watchers_with_other_arguments_poll_for_themselves() -> None:
    """Another agent has another list, and another interval its own pace."""
    keys = [
        TelzinoCallEndedTrigger().shared_stream_key(),
        TelzinoCallEndedTrigger(AGENT_ID).shared_stream_key(),
        TelzinoCallEndedTrigger(telzino_conn_id="other").shared_stream_key(),
        TelzinoCallEndedTrigger(poll_interval=10).shared_stream_key(),
    ]

    assert len(set(keys)) == 4
    assert TelzinoCallEndedTrigger(AGENT_ID.upper()).shared_stream_key() == keys[1]


# --- Its arguments ---


def test_airflow_takes_it_as_a_watcher() -> None:
    """Its arguments are plain JSON, and the hash by which Airflow finds it again doesn't change."""
    from airflow.sdk import AssetWatcher
    from airflow.triggers.base import BaseEventTrigger

    trigger = TelzinoCallEndedTrigger(AGENT_ID, poll_interval=timedelta(minutes=1))
    watcher = AssetWatcher(name="ended calls", trigger=trigger)

    path, kwargs = watcher.trigger.serialize()
    assert kwargs == {
        "agent_id": AGENT_ID,
        "telzino_conn_id": "telzino_default",
        "poll_interval": 60.0,
    }
    assert path == "airflow_provider_telzino.triggers.ended_calls.TelzinoCallEndedTrigger"
    again = TelzinoCallEndedTrigger(**kwargs)
    assert BaseEventTrigger.hash(*again.serialize()) == BaseEventTrigger.hash(path, kwargs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"agent_id": "+15005550100"}, "`agent_id` should be a UUID, but is text of 12 characters"),
        ({"poll_interval": "30"}, "`poll_interval` should be seconds"),
        ({"poll_interval": -1}, "`poll_interval` should be seconds"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """They fail the parse of the DAG file."""
    with pytest.raises(TelzinoArgumentError, match=message):
        TelzinoCallEndedTrigger(**arguments)
