"""Batches of calls in the triggerer's shared polls."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from airflow_provider_telzino.polling import channel
from airflow_provider_telzino.polling.poller import AgentPoller
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import AGENT_ID, ConnectionSetter
from tests.support.polling import (
    AN_INTERVAL,
    INTERVAL,
    Clock,
    batch_trigger,
    cancel,
    finish,
    requests,
    settled,
    start,
    trigger,
)
from tests.support.waits import TaskInstance

pytestmark = pytest.mark.usefixtures("connected", "nothing_is_left")


def dialing(sandbox: Sandbox, number: int) -> list[dict[str, Any]]:
    """Add live calls."""
    return [sandbox.add_call("dialing") for _ in range(number)]


def polled() -> set[str]:
    """Return the ids of the calls that the poller polls."""
    (poller,) = AgentPoller._pollers.values()
    return set(poller.calls)


async def test_a_thousand_calls_take_ten_pages_a_poll(
    sandbox: Sandbox, clock: Clock, task_log: pytest.LogCaptureFixture
) -> None:
    """One trigger waits for all; it reports counts and nothing else."""
    calls = dialing(sandbox, 1_000)
    waits = start([batch_trigger(calls)])
    await clock.advance(INTERVAL)
    seen_while_waiting = requests(sandbox)

    for call in calls[:80]:
        sandbox.finish(call["id"], "no_answer")
    finish(sandbox, calls[80:])
    [event] = await clock.events(waits)

    assert seen_while_waiting == {"page": 10}
    assert requests(sandbox) == {"page": 20}
    assert event["counts"] == {"no_answer": 80, "completed": 920}
    assert (event["outcome"], event["total"], event["ended"], event["missing"]) == ("ended", 1_000, 1_000, 0)
    assert set(event) == {"outcome", "total", "ended", "missing", "counts", "error", "deadline"}
    assert "1,000 of 1,000 ended: 920 completed, 80 no answer." in task_log.text


async def test_calls_that_have_ended_are_not_polled_again(sandbox: Sandbox, clock: Clock) -> None:
    """A batch whose last calls are live for long costs what those cost."""
    calls = dialing(sandbox, 200)
    waits = start([batch_trigger(calls)])
    await clock.advance(INTERVAL)

    finish(sandbox, calls[1:])
    await clock.advance(AN_INTERVAL)
    left = polled()
    sandbox.requests.clear()
    await clock.advance(AN_INTERVAL)
    seen_later = requests(sandbox)
    finish(sandbox, calls[:1])
    [event] = await clock.events(waits)

    assert left == {calls[0]["id"]}
    assert seen_later == {"single": 1}
    assert event["counts"] == {"completed": 200}


async def test_a_batch_shares_the_polls_of_other_waits(sandbox: Sandbox, clock: Clock) -> None:
    """Two batches and a single wait, in part for the same calls, take one page a poll and are all right."""
    calls = dialing(sandbox, 30)
    waits = start([batch_trigger(calls[:20]), batch_trigger(calls[10:]), trigger(calls[15])])
    await clock.advance(INTERVAL)
    seen_while_waiting = requests(sandbox)

    finish(sandbox, calls[:20])
    await clock.until(lambda: waits[0].done() and waits[2].done())
    assert not waits[1].done()
    finish(sandbox, calls[20:])
    events = await clock.events(waits)

    assert seen_while_waiting == {"page": 1}
    assert [event.get("ended") for event in events] == [20, 20, None]
    assert [event["outcome"] for event in events] == ["ended"] * 3


async def test_an_id_that_is_given_twice_counts_once(sandbox: Sandbox, clock: Clock) -> None:
    """Also in capitals."""
    call = sandbox.add_call("completed")

    [event] = await clock.events(start([batch_trigger([call, call, {"id": call["id"].upper()}])]))

    assert (event["total"], event["ended"]) == (1, 1)
    assert requests(sandbox) == {"single": 1}


async def test_nothing_to_wait_for(sandbox: Sandbox, clock: Clock) -> None:
    """A batch without calls has ended."""
    [event] = await clock.events(start([batch_trigger([])]))

    assert (event["outcome"], event["total"]) == ("ended", 0)
    assert sandbox.requests == []


async def test_a_campaign_resumes_when_enough_have_ended(sandbox: Sandbox, clock: Clock) -> None:
    """The others are live."""
    calls = dialing(sandbox, 10)
    waits = start([batch_trigger(calls, until_ended=4)])
    await clock.advance(INTERVAL)
    finish(sandbox, calls[:3])
    await clock.advance(AN_INTERVAL)
    assert not waits[0].done()

    finish(sandbox, calls[3:4])
    [event] = await clock.events(waits)

    assert (event["outcome"], event["ended"], event["total"]) == ("ended", 4, 10)


async def test_a_campaign_resumes_when_a_redial_is_due(sandbox: Sandbox, clock: Clock) -> None:
    """Some time after the first call that wasn't answered, whatever the others do."""
    calls = dialing(sandbox, 10)
    waits = start([batch_trigger(calls, resume_after={"no_answer": 300.0, "busy": 3_600.0})])
    await clock.advance(INTERVAL)
    sandbox.finish(calls[0]["id"], "busy")
    sandbox.finish(calls[1]["id"], "no_answer")
    await clock.advance(AN_INTERVAL)

    await clock.advance(280.0)
    assert not waits[0].done()
    await clock.advance(20.0)
    event = waits[0].result()

    assert (event["outcome"], event["counts"]) == ("due", {"busy": 1, "no_answer": 1})


async def test_the_deadline(sandbox: Sandbox, clock: Clock, task_log: pytest.LogCaptureFixture) -> None:
    """The event has the counts, and the log says what the last request's problem was."""
    calls = dialing(sandbox, 3)
    waits = start([batch_trigger(calls, timeout=100.0)])
    await clock.advance(INTERVAL)
    finish(sandbox, calls[:1])
    await clock.advance(AN_INTERVAL)
    sandbox.faults.next("GET", "outbound-calls", status=503, times=1_000)

    [event] = await clock.events(waits)

    assert (event["outcome"], event["counts"]) == ("timeout", {"completed": 1})
    assert "1 of 3 ended: 1 completed." in task_log.text
    assert "The last request failed: " in task_log.text


async def test_a_call_that_is_not_there_does_not_end_the_batch(sandbox: Sandbox, clock: Clock) -> None:
    """It is counted as missing, once it has not been found for a while, and the others are waited for."""
    calls = dialing(sandbox, 2)
    waits = start([batch_trigger([*calls, {"id": str(uuid4())}])])
    for _ in range(4):
        await clock.advance(AN_INTERVAL)
    assert not waits[0].done()

    finish(sandbox, calls)
    [event] = await clock.events(waits)

    assert (event["outcome"], event["ended"], event["missing"]) == ("ended", 2, 1)


@pytest.mark.parametrize(("status", "error"), [(401, "Credentials"), (403, "Permission")])
async def test_a_refusal_ends_the_batch(
    sandbox: Sandbox, clock: Clock, task_log: pytest.LogCaptureFixture, status: int, error: str
) -> None:
    """No call can be polled any more."""
    calls = dialing(sandbox, 30)
    waits = start([batch_trigger(calls)])
    await clock.advance(INTERVAL)
    finish(sandbox, calls[:10])
    await clock.advance(AN_INTERVAL)
    sandbox.faults.next("GET", "outbound-calls", status=status, times=10_000)

    [event] = await clock.events(waits)

    assert (event["outcome"], event["error"]) == ("refused", f"Telzino{error}Error")
    assert event["counts"] == {"completed": 10}
    assert "The wait for 30 calls can't continue" in task_log.text


async def test_a_missing_connection_ends_the_batch(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow refuses what the API would permit."""
    monkeypatch.setattr(channel, "MISSING_FOR", 0.0)
    monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")

    [event] = await clock.events(start([batch_trigger(dialing(sandbox, 3))]))

    assert (event["outcome"], event["error"]) == ("refused", "TelzinoConnectionNotFoundError")


async def test_an_outage_is_waited_out(sandbox: Sandbox, clock: Clock) -> None:
    """It delays the event."""
    calls = dialing(sandbox, 30)
    waits = start([batch_trigger(calls)])
    await clock.advance(INTERVAL)
    sandbox.faults.next("GET", "outbound-calls", status=503, times=30)
    sandbox.faults.next("GET", "outbound-calls", status=429, times=10, retry_after="20")
    finish(sandbox, calls)

    [event] = await clock.events(waits)

    assert event["counts"] == {"completed": 30}
    assert sandbox.faults.waiting == 0


async def test_agents_are_polled_apart(connect: ConnectionSetter, clock: Clock) -> None:
    """A trigger waits for the calls of the agent that it names."""
    with Sandbox(clock="manual", agents=2) as sandbox:
        connect(sandbox)
        other = next(agent for agent in sandbox.agent_ids if agent != AGENT_ID)
        calls = [sandbox.add_call("completed", agent_id=other) for _ in range(3)]

        [event] = await clock.events(start([batch_trigger(calls, agent_id=other)]))

    assert event["ended"] == 3


async def test_progress_is_logged_as_the_calls_end(
    sandbox: Sandbox, clock: Clock, task_log: pytest.LogCaptureFixture
) -> None:
    """At each tenth; after a minute, also less; and no line for each call."""
    calls = dialing(sandbox, 100)
    waits = start([batch_trigger(calls)])
    await clock.advance(INTERVAL)

    finish(sandbox, calls[:5])
    for _ in range(9):
        await clock.advance(AN_INTERVAL)
    finish(sandbox, calls[5:31])
    for _ in range(2):
        await clock.advance(AN_INTERVAL)
    await cancel(waits)

    lines = [each.getMessage() for each in task_log.records if " ended: " in each.getMessage()]
    assert lines == ["5 of 100 ended: 5 completed.", "31 of 100 ended: 31 completed."]
    assert not [each for each in task_log.records if calls[0]["id"] in each.getMessage()]


@pytest.mark.parametrize("waiting", [TaskInstance(), None])
async def test_a_task_stays_deferred_for_a_while(sandbox: Sandbox, clock: Clock, waiting: Any) -> None:
    """Airflow may consider a task dead that resumes too soon; under ``dag.test()`` it doesn't."""
    batch = batch_trigger([sandbox.add_call("completed")], interval=1.0)
    batch.task_instance = waiting
    waits = start([batch])
    await clock.advance(1.0)
    has_resumed_soon = waits[0].done()

    [event] = await clock.events(waits)

    assert event["outcome"] == "ended"
    assert has_resumed_soon is (waiting is None)


async def test_a_batch_that_is_cancelled_leaves_nothing(sandbox: Sandbox, clock: Clock) -> None:
    """Other waits continue."""
    calls = dialing(sandbox, 20)
    batches = start([batch_trigger(calls), batch_trigger(calls)])
    waits = start([trigger(calls[0])])
    await clock.advance(INTERVAL)

    await cancel(batches)
    left = polled()
    finish(sandbox, calls)
    [event] = await clock.events(waits)

    assert left == {calls[0]["id"]}
    assert event["outcome"] == "ended"


async def test_a_poller_that_fails_is_reported(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours ends the trigger, so that the task's worker takes over."""

    async def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    waits = start([batch_trigger(dialing(sandbox, 3))])
    await settled()
    monkeypatch.setattr("airflow_provider_telzino.polling.poller.PollRequests.send", fail)
    await clock.until(lambda: waits[0].done())

    with pytest.raises(RuntimeError, match="a defect"):
        waits[0].result()


async def test_two_batches_may_end_in_the_same_step(sandbox: Sandbox, clock: Clock) -> None:
    """The poller of both is closed once."""
    calls = dialing(sandbox, 4)
    waits = start([batch_trigger(calls), batch_trigger(calls)])
    await clock.advance(INTERVAL)

    finish(sandbox, calls)
    events = await clock.events(waits)

    assert [event["counts"] for event in events] == [{"completed": 4}] * 2
