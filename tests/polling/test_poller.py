"""Waits that share their looks, over real HTTP: what the API gets to see, and what each wait hears."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import os
import re
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.api.answers import ListPage
from airflow_provider_telzino.exceptions import TelzinoNotFoundError, TelzinoUnavailableError
from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook
from airflow_provider_telzino.polling import channel, metrics, page_plan, poll_requests, schedule
from airflow_provider_telzino.polling.channel import Channel
from airflow_provider_telzino.polling.ended_call import fetch_ended
from airflow_provider_telzino.polling.page_plan import MAX_MISSES
from airflow_provider_telzino.polling.poller import AgentPoller
from airflow_provider_telzino.rules.waiting import Wait
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from tests.conftest import CALL_ID, ConnectionSetter
from tests.support.waits import first_event

pytestmark = pytest.mark.usefixtures("connected", "quick_retries")

INTERVAL = 0.2


def trigger(call: dict[str, Any], *, interval: float = INTERVAL, **arguments: Any) -> TelzinoCallTrigger:
    """Make a trigger that looks often, for a call's record."""
    deadline = time.time() + arguments.pop("timeout", 30)
    return TelzinoCallTrigger(call["id"], deadline, poll_interval=interval, **arguments)


def start(triggers: Iterable[TelzinoCallTrigger]) -> list[asyncio.Task[dict[str, Any]]]:
    """Run triggers as a triggerer does, all in one loop."""
    return [asyncio.ensure_future(first_event(each)) for each in triggers]


async def until(condition: Any, timeout: float = 20.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited too long"
        await asyncio.sleep(0.01)


def looks(sandbox: Sandbox) -> Counter[str]:
    """Count the requests: list pages, and single calls."""
    return Counter(
        "page" if request.path.endswith("outbound-calls") else "single"
        for request in list(sandbox.requests)
        if "/oauth/" not in request.path
    )


def long_since_loaded() -> None:
    """Let an hour pass since the connection was read."""
    for each in Channel._channels.values():
        each._loaded_at -= 3_600


@pytest.fixture(autouse=True, scope="module")
def _collect_quickly() -> Any:
    """Leave what there is before, mostly Airflow's modules, out of every garbage collection."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Any:
    """No poller, channel or open session outlives the waits of a test."""
    gc.collect()  # what other tests have left is not to be found here
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert AgentPoller._pollers == {}
    assert Channel._channels == {}
    assert [str(each.message) for each in caught if "nclosed" in str(each.message)] == []


class TestSharing:
    """Many waits, few requests."""

    async def test_many_waits_share_list_pages(self, sandbox: Sandbox) -> None:
        """250 calls take three pages a look, and none is fetched alone, until the last end."""
        calls = [sandbox.add_call("dialing") for _ in range(250)]
        waits = start(map(trigger, calls))
        await until(lambda: looks(sandbox)["page"] >= 6)
        seen_while_waiting = looks(sandbox)
        for call in calls:
            sandbox.finish(call["id"], "completed")

        events = await asyncio.gather(*waits)

        assert seen_while_waiting["single"] == 0
        assert [event["status"] for event in events] == ["completed"] * 250
        assert [event["call_id"] for event in events] == [call["id"] for call in calls]

    async def test_a_lonely_wait_fetches_its_call(self, sandbox: Sandbox) -> None:
        """A page would cost more than the call."""
        call = sandbox.add_call("dialing")
        [wait] = start([trigger(call)])
        await until(lambda: len(sandbox.requests) >= 3)
        sandbox.finish(call["id"], "busy")

        event = await wait

        assert event["status"] == "busy"
        assert looks(sandbox)["page"] == 0

    async def test_one_session_and_one_token(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """All waits on a connection, also for several agents, share the token and at most four sockets."""
        connect(sandbox, oauth=True)
        calls = [sandbox.add_call("dialing") for _ in range(20)]

        waits = start(map(trigger, calls))
        await until(lambda: looks(sandbox).total() >= 5)
        for call in calls:
            sandbox.finish(call["id"])
        await asyncio.gather(*waits)

        assert sum("/oauth/token" in request.path for request in sandbox.requests) == 1
        assert len({request.client for request in sandbox.requests}) <= channel.MAX_IN_FLIGHT

    async def test_an_id_in_capitals(self, sandbox: Sandbox) -> None:
        """It is found in the list all the same."""
        calls = [sandbox.add_call("completed") for _ in range(2)]

        events = await asyncio.gather(*start(trigger({"id": call["id"].upper()}) for call in calls))

        assert [event["call_id"] for event in events] == [call["id"].upper() for call in calls]
        assert looks(sandbox) == {"page": 1}

    async def test_triggers_share_a_logger(self) -> None:
        """Airflow's takes a kilobyte for each that has its own."""
        first, second = trigger({"id": CALL_ID}, timeout=0), trigger({"id": CALL_ID}, timeout=0)
        await asyncio.gather(*start([first, second]))

        assert first.log is second.log

    async def test_agents_have_looks_of_their_own(self, connect: ConnectionSetter) -> None:
        """Two calls of each of ten agents: ten pages an interval."""
        with Sandbox(clock="manual", agents=10) as sandbox:
            connect(sandbox)
            calls = [
                (agent, sandbox.add_call("dialing", agent_id=agent))
                for agent in sandbox.agent_ids
                for _ in range(2)
            ]
            waits = start(trigger(call, agent_id=agent) for agent, call in calls)
            await until(lambda: len(sandbox.requests) >= 30)
            requests = looks(sandbox)
            for _, call in calls:
                sandbox.finish(call["id"])
            await asyncio.gather(*waits)

        assert requests["single"] == 0

    async def test_two_waits_for_one_call(self, sandbox: Sandbox) -> None:
        """A trigger may run twice: both hear the end, and one leaving leaves the other alone."""
        call = sandbox.add_call("dialing")
        first, second, third = start([trigger(call), trigger(call), trigger(call)])
        await until(lambda: len(sandbox.requests) >= 2)
        first.cancel()
        await asyncio.wait([first])
        sandbox.finish(call["id"])

        events = await asyncio.gather(second, third)

        assert [event["status"] for event in events] == ["completed", "completed"]

    async def test_the_shortest_interval_sets_the_pace(self, sandbox: Sandbox) -> None:
        """A wait that wants to look often does, though a slow one came first; the slow one adds no looks."""
        slow, quick = sandbox.add_call("dialing"), sandbox.add_call("dialing")
        waits = start([trigger(slow, interval=3_600)])
        await asyncio.sleep(0.05)
        waits += start([trigger(quick)])

        await until(lambda: len(sandbox.requests) >= 6)
        fetched = Counter(request.path.rpartition("/")[2] for request in sandbox.requests)
        sandbox.finish(quick["id"])
        await waits[1]
        waits[0].cancel()
        await asyncio.wait(waits)

        assert fetched[slow["id"]] <= 1
        assert fetched[quick["id"]] >= 3

    async def test_a_quick_wait_that_leaves(self, sandbox: Sandbox) -> None:
        """A slow wait for the same call goes on slowly."""
        call = sandbox.add_call("dialing")
        quick, slow = start([trigger(call), trigger(call, interval=3_600)])
        await until(lambda: len(sandbox.requests) >= 2)
        quick.cancel()
        await asyncio.wait([quick])
        requests = len(sandbox.requests)

        await asyncio.sleep(5 * INTERVAL)
        later = len(sandbox.requests) - requests
        slow.cancel()
        await asyncio.wait([slow])

        assert later <= 2

    def test_every_loop_has_its_own(self, sandbox: Sandbox) -> None:
        """Loops in several threads wait side by side, as with tests or ``dag.test()``."""
        calls = [sandbox.add_call("dialing") for _ in range(3)]
        events: list[dict[str, Any]] = []

        def run(call: dict[str, Any]) -> None:
            events.append(asyncio.run(first_event(trigger(call))))

        threads = [threading.Thread(target=run, args=[call]) for call in calls]
        for thread in threads:
            thread.start()
        time.sleep(3 * INTERVAL)
        for call in calls:
            sandbox.finish(call["id"])
        for thread in threads:
            thread.join()

        assert {event["call_id"] for event in events} == {call["id"] for call in calls}


class TestLookingAgain:
    """What a look could not see doesn't wait for the next one. Here that would come in an hour."""

    @pytest.fixture(autouse=True)
    def _first_look_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(schedule.Schedule.__init__, "__defaults__", (lambda low, high: low,))

    async def test_a_lonely_wait(self, sandbox: Sandbox) -> None:
        """Each failed request is followed by another one soon."""
        sandbox.faults.next("GET", status=503, times=3)
        [wait] = start([trigger(sandbox.add_call("completed"), interval=3_600, timeout=10)])

        assert (await wait)["outcome"] == "ended"
        assert len(sandbox.requests) == 4

    async def test_a_page(self, sandbox: Sandbox) -> None:
        """Only the page that could not be read is asked for again."""
        calls = [sandbox.add_call("completed") for _ in range(150)] + [sandbox.add_call("dialing")]
        sandbox.faults.next("GET", "outbound-calls$", status=429, times=1)
        waits = start(trigger(call, interval=3_600, timeout=10) for call in calls)

        events = await asyncio.gather(*waits[:150])
        waits[150].cancel()
        await asyncio.wait(waits[150:])

        assert {event["outcome"] for event in events} == {"ended"}
        assert looks(sandbox) == {"page": 3}

    async def test_a_wait_that_comes_during_a_look(self, sandbox: Sandbox) -> None:
        """It isn't too late for it."""
        sandbox.faults.next("GET", delay=0.3)
        first, second = sandbox.add_call("dialing"), sandbox.add_call("completed")
        waits = start([trigger(first, interval=3_600)])
        await until(lambda: AgentPoller._pollers and sandbox.requests)
        waits += start([trigger(second, interval=3_600, timeout=10)])

        event = await waits[1]
        waits[0].cancel()
        await asyncio.wait(waits)

        assert event["outcome"] == "ended"

    @pytest.mark.slow
    async def test_the_others_stay_in_step(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """Looks at what is behind neither hasten nor delay those at the rest."""
        monkeypatch.setattr(retry, "NOT_FOUND_FOR", 60.0)
        calls = [sandbox.add_call("dialing") for _ in range(2)]
        waits = start(trigger(call, interval=1.0) for call in calls)
        await until(lambda: looks(sandbox)["page"] == 2)
        began = time.monotonic()
        waits += start([trigger({"id": CALL_ID}, interval=1.0)])
        await until(lambda: looks(sandbox)["page"] == 4)
        took, singles = time.monotonic() - began, looks(sandbox)["single"]
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)

        assert 1.5 < took < 4
        assert singles > 4

    @pytest.mark.slow
    async def test_a_look_that_was_held_up_is_not_repeated_at_once(self, sandbox: Sandbox) -> None:
        """After an outage the next look comes an interval later: two right after another would be a burst."""
        calls = [sandbox.add_call("dialing") for _ in range(2)]
        waits = start(trigger(call, interval=1.0) for call in calls)
        await until(lambda: looks(sandbox)["page"] == 1)
        sandbox.faults.next("GET", status=429, retry_after="0.5")
        await until(lambda: looks(sandbox)["page"] == 3)
        began = time.monotonic()
        await until(lambda: looks(sandbox)["page"] == 4)
        took = time.monotonic() - began
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)

        assert took > 0.85  # it was 0.4


class TestTrouble:
    """What goes wrong with the API."""

    async def test_a_429_pauses_all(self, sandbox: Sandbox) -> None:
        """One answer with Retry-After stops every wait on the connection, for that long."""
        calls = [sandbox.add_call("dialing") for _ in range(5)]
        waits = start(map(trigger, calls))
        await until(lambda: len(sandbox.requests) >= 2)
        sandbox.faults.next("GET", status=429, retry_after="1", times=1)
        await until(lambda: sandbox.faults.waiting == 0)
        await asyncio.sleep(0.05)
        requests = len(sandbox.requests)

        await asyncio.sleep(0.8)
        requests_after_a_pause = len(sandbox.requests)
        for call in calls:
            sandbox.finish(call["id"])
        await asyncio.gather(*waits)

        assert requests_after_a_pause == requests

    async def test_recovery_is_no_stampede(self, sandbox: Sandbox) -> None:
        """300 waits come through an outage; the looks after it are pages, as before it."""
        calls = [sandbox.add_call("dialing") for _ in range(300)]
        waits = start(map(trigger, calls))
        await until(lambda: looks(sandbox)["page"] >= 3)
        sandbox.faults.next("GET", status=503, times=20)
        await until(lambda: sandbox.faults.waiting == 0)
        sandbox.requests.clear()

        await until(lambda: looks(sandbox)["page"] >= 9)
        recovery = looks(sandbox)
        for call in calls:
            sandbox.finish(call["id"])
        events = await asyncio.gather(*waits)

        assert recovery["single"] <= 2 * channel.MAX_IN_FLIGHT
        assert {event["outcome"] for event in events} == {"ended"}

    async def test_a_list_that_never_works(self, sandbox: Sandbox) -> None:
        """When only the list fails, it is left alone after three looks: the calls are fetched instead."""
        calls = [sandbox.add_call("dialing") for _ in range(30)]
        sandbox.faults.next("GET", "outbound-calls$", status=500, times=10_000)
        waits = start(map(trigger, calls))
        await until(lambda: len({request.path for request in sandbox.requests}) >= 31)
        pages = looks(sandbox)["page"]
        await until(lambda: looks(sandbox)["single"] >= 90)
        later_pages = looks(sandbox)["page"] - pages
        for call in calls:
            sandbox.finish(call["id"])

        events = await asyncio.gather(*waits)

        assert [event["status"] for event in events] == ["completed"] * 30
        assert pages <= MAX_MISSES
        assert later_pages == 0

    async def test_a_list_that_is_refused(self, sandbox: Sandbox) -> None:
        """Who may not list, but may look, waits all the same; the list is not asked at each look."""
        calls = [sandbox.add_call("dialing") for _ in range(3)]
        sandbox.faults.next("GET", "outbound-calls$", status=403, times=10_000)
        waits = start(map(trigger, calls))
        await until(lambda: looks(sandbox)["single"] >= 9)
        for call in calls:
            sandbox.finish(call["id"])

        events = await asyncio.gather(*waits)

        assert [event["status"] for event in events] == ["completed"] * 3
        assert looks(sandbox)["page"] == 1

    async def test_requests_that_fail_together_count_once(
        self, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Three pages in flight that fail for the same reason are one failure, and make one pause."""
        caplog.set_level("WARNING")
        calls = [sandbox.add_call("dialing") for _ in range(300)]
        waits = start(map(trigger, calls))
        await until(lambda: looks(sandbox)["page"] >= 3)
        sandbox.faults.next("GET", "outbound-calls$", status=503, retry_after="0.5", delay=0.2, times=3)
        await until(lambda: sandbox.faults.waiting == 0)
        for call in calls:
            sandbox.finish(call["id"])
        await asyncio.gather(*waits)

        assert len([each for each in caplog.records if "Pausing" in each.getMessage()]) == 1

    async def test_a_list_that_lags(self, connect: ConnectionSetter) -> None:
        """Calls that the list doesn't have yet are fetched."""
        with Sandbox(clock="manual", list_lag=3_600) as sandbox:
            connect(sandbox)
            calls = [sandbox.place() for _ in range(4)]
            waits = start(map(trigger, calls))
            for call in calls:
                sandbox.finish(call["id"])

            events = await asyncio.gather(*waits)

        assert [event["status"] for event in events] == ["completed"] * 4

    async def test_junk_in_the_list_is_not_an_outcome(self, sandbox: Sandbox) -> None:
        """An item without a status, or that isn't ours, says nothing; nor does an unknown status."""
        calls = [sandbox.add_call("dialing") for _ in range(3)]
        items = [
            {"id": calls[0]["id"]},
            {"id": calls[1]["id"], "status": None, "ended_at": "2026-01-01T00:00:00+00:00"},
            {"id": calls[2]["id"], "status": "pondering", "ended_at": None},
            {"id": "0" * 36, "status": "completed"},
        ]
        body = json.dumps({"data": items, "pagination": {"total": "many", "hasNext": False}})
        sandbox.faults.next("GET", "outbound-calls$", raw_body=body.encode(), times=4)
        waits = start(map(trigger, calls))
        await until(lambda: sandbox.faults.waiting <= 2)

        ended_early = [wait.done() for wait in waits]
        for call in calls:
            sandbox.finish(call["id"])
        events = await asyncio.gather(*waits)

        assert ended_early == [False] * 3
        assert [event["status"] for event in events] == ["completed"] * 3

    async def test_a_new_status_whose_end_the_list_does_not_tell(self, sandbox: Sandbox) -> None:
        """Without ``ended_at`` an item of an unknown status says nothing: the call is fetched."""
        ended = {"status": "voicemail", "ended_at": "2026-06-11T12:54:15.354244+00:00"}
        calls = [sandbox.add_call(**ended) for _ in range(2)]
        items = [{"id": call["id"], "status": call["status"]} for call in calls]
        body = json.dumps({"data": items, "pagination": {"total": 2, "hasNext": False}})
        sandbox.faults.next("GET", "outbound-calls$", raw_body=body.encode(), times=10_000)

        events = await asyncio.gather(*start(trigger(call, timeout=5) for call in calls))

        assert [event["outcome"] for event in events] == ["ended"] * 2

    async def test_a_list_that_ends_with_a_404(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A page after the last one may be refused, also before the others come: those count as before."""
        get_page = TelzinoAsyncHook.get_calls_page

        async def get_calls_page(hook: TelzinoAsyncHook, page: int, *args: Any, **options: Any) -> ListPage:
            if page > 1:
                raise TelzinoNotFoundError("There is no such page.")
            return await get_page(hook, page, *args, **options)

        monkeypatch.setattr(TelzinoAsyncHook, "get_calls_page", get_calls_page)
        calls = [sandbox.add_call("dialing") for _ in range(99)]
        unlisted = [{"id": f"00000000-0000-4000-8000-{number:012}"} for number in range(99)]
        waits = start(map(trigger, [*calls, *unlisted]))
        await until(lambda: looks(sandbox)["page"] >= 4)
        fetched = {request.path.rpartition("/")[2] for request in sandbox.requests}
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)

        assert fetched == {"outbound-calls", *(call["id"] for call in unlisted)}

    async def test_an_unknown_call_ends_alone(self, sandbox: Sandbox) -> None:
        """A 404 that repeats ends that wait; the others go on."""
        good = sandbox.add_call("dialing")
        bad = {"id": "00000000-0000-4000-8000-000000000000"}
        good_wait, bad_wait = start([trigger(good), trigger(bad)])

        event = await bad_wait
        still_waiting = not good_wait.done()
        sandbox.finish(good["id"])
        await good_wait

        assert (event["outcome"], event["error"]) == ("refused", "TelzinoNotFoundError")
        assert still_waiting

    async def test_a_call_that_is_visible_late(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The API needs a moment until it shows a call to who has placed it: the wait goes on."""
        monkeypatch.setattr(retry, "NOT_FOUND_FOR", 60.0)
        call = sandbox.add_call("completed")
        sandbox.faults.next("GET", call["id"], status=404, times=4)

        [event] = await asyncio.gather(*start([trigger(call)]))

        assert event["outcome"] == "ended"

    async def test_a_final_record_that_is_visible_late(self, sandbox: Sandbox) -> None:
        """The list may tell of an end before the call itself can be fetched."""
        record = sandbox.add_call("completed")
        sandbox.faults.next("GET", record["id"], status=404, times=4)
        log, deadline = logging.getLogger("telzino-tests"), time.time() + 30
        there, nowhere = (
            Wait(call_id, deadline=deadline, poll_interval=INTERVAL, log=log)
            for call_id in (record["id"], CALL_ID)
        )
        channel = Channel.of(asyncio.get_running_loop(), "telzino_default")
        try:
            assert await fetch_ended(there, channel, None) == record
            with pytest.raises(TelzinoNotFoundError):
                await fetch_ended(nowhere, channel, None)
        finally:
            await channel.release()

    async def test_unknown_calls_hold_up_no_look(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A look asks for each of them once."""
        monkeypatch.setattr(retry, "BACKOFF_BASE", 1.0)
        monkeypatch.setattr(retry, "NOT_FOUND_FOR", 60.0)
        good = [sandbox.add_call("dialing") for _ in range(2)]
        bad = [{"id": f"00000000-0000-4000-8000-{number:012}"} for number in range(8)]
        waits = start(map(trigger, [*good, *bad]))
        await until(lambda: looks(sandbox)["page"] >= 3)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)

        a_look: Counter[str] = Counter()
        for request in sandbox.requests:
            a_look = Counter() if request.path.endswith("outbound-calls") else a_look
            a_look[request.path] += 1
            assert a_look[request.path] == 1

    async def test_refused_credentials_end_all_at_once(
        self, sandbox: Sandbox, connect: ConnectionSetter
    ) -> None:
        """A hundred waits with a wrong token make a few requests, not hundreds; later ones start afresh."""
        calls = [sandbox.add_call("dialing") for _ in range(100)]
        connect(sandbox, password="wrong")

        events = await asyncio.gather(*start(map(trigger, calls)))
        requests = len(sandbox.requests)
        connect(sandbox)
        sandbox.finish(calls[0]["id"])
        [again] = await asyncio.gather(*start([trigger(calls[0])]))

        assert {event["error"] for event in events} == {"TelzinoCredentialsError"}
        assert requests <= channel.MAX_IN_FLIGHT
        assert again["outcome"] == "ended"

    async def test_a_connection_that_is_mended_meanwhile(
        self, sandbox: Sandbox, connect: ConnectionSetter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A token that was good and is refused now is read anew from the connection, and the wait goes on."""
        monkeypatch.setattr(channel, "RELOAD_AFTER", 0.0)
        calls = [sandbox.add_call("dialing") for _ in range(3)]
        waits = start(map(trigger, calls))
        await until(lambda: len(sandbox.requests) >= 2)

        connect(sandbox, oauth=True)
        sandbox.revoke_tokens()
        await asyncio.sleep(2 * INTERVAL)
        for call in calls:
            sandbox.finish(call["id"])
        events = await asyncio.gather(*waits)

        assert {event["outcome"] for event in events} == {"ended"}

    async def test_a_token_that_is_refused_to_several_requests_at_once(self, sandbox: Sandbox) -> None:
        """The first 401 has the connection read anew; those of the old token that follow are no verdict."""
        calls = [sandbox.add_call("dialing") for _ in range(300)]
        waits = start(map(trigger, calls))
        await until(lambda: looks(sandbox)["page"] >= 3)
        long_since_loaded()
        sandbox.faults.next("GET", "outbound-calls$", status=401, delay=0.2, times=3)
        await until(lambda: sandbox.faults.waiting == 0)
        for call in calls:
            sandbox.finish(call["id"])

        events = await asyncio.gather(*waits)

        assert Counter(event["outcome"] for event in events) == {"ended": 300}

    async def test_a_connection_that_is_read_anew_breaks_no_request(
        self, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One page is refused while two others are on their way: those arrive."""
        calls = [sandbox.add_call("dialing") for _ in range(300)]
        waits = start(map(trigger, calls))
        await until(lambda: looks(sandbox)["page"] >= 3)
        long_since_loaded()
        for call in calls:
            sandbox.finish(call["id"])
        sandbox.faults.next("GET", "outbound-calls$", status=401, delay=0.1)
        sandbox.faults.next("GET", "outbound-calls$", delay=0.4, times=2)

        events = await asyncio.gather(*waits)

        assert Counter(event["outcome"] for event in events) == {"ended": 300}
        assert caplog.text.count("Pausing all requests on this connection") == 1

    async def test_airflow_misses_the_connection_for_a_moment(
        self,
        sandbox: Sandbox,
        connect: ConnectionSetter,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Airflow 3.3 says "not defined" whatever the trouble is: it is believed only after a while."""
        calls = [sandbox.add_call("completed") for _ in range(3)]
        monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")
        waits = start(map(trigger, calls))
        await until(lambda: caplog.text.count("Pausing all requests on this connection") >= 3)
        connect(sandbox)

        events = await asyncio.gather(*waits)

        assert {event["outcome"] for event in events} == {"ended"}

    async def test_airflow_misses_the_connection_for_good(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a minute it is believed."""
        monkeypatch.setattr(channel, "MISSING_FOR", 0.1)
        monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")

        [event] = await asyncio.gather(*start([trigger({"id": CALL_ID})]))

        assert (event["outcome"], event["error"]) == ("refused", "AirflowNotFoundException")

    async def test_a_few_failures_do_not_have_the_connection_read_anew(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Running waits need Airflow only when the connection may be the trouble."""
        call = sandbox.add_call("dialing")
        [wait] = start([trigger(call, timeout=10)])
        await until(lambda: len(sandbox.requests) >= 2)
        long_since_loaded()
        monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")
        sandbox.faults.next("GET", status=503, times=2)
        await until(lambda: sandbox.faults.waiting == 0)
        sandbox.finish(call["id"])

        assert (await wait)["outcome"] == "ended"

    async def test_an_outage_has_the_connection_read_anew(
        self, sandbox: Sandbox, connect: ConnectionSetter
    ) -> None:
        """The API may have moved: a host that someone corrects is used without a restart."""
        call = sandbox.add_call("dialing")
        [wait] = start([trigger(call)])
        await until(lambda: len(sandbox.requests) >= 2)
        long_since_loaded()
        sandbox.faults.next("GET", status=503, times=10_000)
        with Sandbox(clock="manual") as elsewhere:
            elsewhere.add_call("completed", id=call["id"])
            connect(elsewhere)

            assert (await wait)["outcome"] == "ended"

    async def test_a_deadline_during_an_outage(self, sandbox: Sandbox) -> None:
        """The wait ends in time, and says both how the call stood and what the trouble was."""
        call = sandbox.add_call("dialing")
        sandbox.faults.next("GET", status=503, times=10_000)

        [event] = await asyncio.gather(*start([trigger(call, timeout=1)]))

        assert event["outcome"] == "timeout"
        assert event["status"] is None

    async def test_a_defect_of_ours_leaves_nobody_waiting(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An error that nobody foresaw ends the waits: Airflow then resumes their tasks."""
        monkeypatch.setattr(poll_requests, "PagePlan", None)
        waits = start(trigger(sandbox.add_call("dialing")) for _ in range(3))

        done, _ = await asyncio.wait(waits, timeout=20)

        assert {type(each.exception()) for each in done} == {TypeError}


class TestLeaving:
    """A wait may end at any moment."""

    @pytest.mark.slow
    async def test_cancelled_at_any_point(self, sandbox: Sandbox) -> None:
        """Wherever a cancellation hits: nothing is left, and the other waits go on."""
        calls = [sandbox.add_call("dialing") for _ in range(40)]
        survivor = sandbox.add_call("dialing")
        [wait] = start([trigger(survivor)])

        for index in range(40):
            [cancelled] = start([trigger(calls[index])])
            await asyncio.sleep(index * 0.01)
            cancelled.cancel()
            await asyncio.wait([cancelled])
        sandbox.finish(survivor["id"])

        assert (await wait)["status"] == "completed"

    @pytest.mark.parametrize("pause", [0.0, 0.005, 0.05, 0.3])
    async def test_all_cancelled(self, sandbox: Sandbox, pause: float) -> None:
        """The last one closes the door, also while a request is in flight."""
        sandbox.faults.latency = (0.02, 0.1)
        waits = start(trigger(sandbox.add_call("dialing"), interval=0.1) for _ in range(10))

        await asyncio.sleep(pause)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)

        assert all(wait.cancelled() for wait in waits)

    async def test_a_cancellation_that_gets_lost(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It may be taken for a timeout by aiohttp: a poller for whom nobody waits ends all the same."""
        ask = Channel.send

        async def ask_and_lose(channel: Channel, request: Any) -> Any:
            try:
                return await ask(channel, request)
            except asyncio.CancelledError:
                raise TelzinoUnavailableError("There was no answer.") from None

        monkeypatch.setattr(Channel, "send", ask_and_lose)
        sandbox.faults.next("GET", delay=1.0)
        [wait] = start([trigger(sandbox.add_call("dialing"))])
        await until(lambda: sandbox.faults.waiting == 0)

        wait.cancel()
        await asyncio.wait([wait], timeout=10)

        assert wait.cancelled()
        assert "The poller for the calls" not in caplog.text

    async def test_no_timer_is_left(self, sandbox: Sandbox) -> None:
        """Of a poller that was about to sleep for an hour, nothing stays for an hour."""
        [wait] = start([trigger(sandbox.add_call("dialing"), interval=3_600)])
        await asyncio.sleep(0.05)

        wait.cancel()
        await asyncio.wait([wait])

        scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        assert [each for each in scheduled if not each.cancelled() and "Event.set" in str(each)] == []

    async def test_a_new_wait_right_after_the_last_one(self, sandbox: Sandbox) -> None:
        """A poller that is just being closed is not joined."""
        first, second = sandbox.add_call("completed"), sandbox.add_call("completed")

        event = await first_event(trigger(first))
        again = await first_event(trigger(second))

        assert (event["outcome"], again["outcome"]) == ("ended", "ended")


class TestWords:
    """What people get to see of it."""

    async def test_each_wait_logs_in_its_own_context(
        self, sandbox: Sandbox, task_log: pytest.LogCaptureFixture
    ) -> None:
        """Airflow finds a line's task by context: it must be that of the wait, not of the poller."""
        task = contextvars.ContextVar("task", default="none")
        told: list[tuple[str, str]] = []

        class Recorder(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                told.append((task.get(), record.getMessage()))

        handler = Recorder()
        logging.getLogger("telzino-tests").addHandler(handler)
        calls = [sandbox.add_call("dialing") for _ in range(3)]

        async def run(call: dict[str, Any]) -> None:
            task.set(call["id"])
            await first_event(trigger(call))

        waits = [asyncio.ensure_future(run(call)) for call in calls]
        await until(lambda: len(sandbox.requests) >= 2)
        for call in calls:
            sandbox.finish(call["id"])
        await asyncio.gather(*waits)
        logging.getLogger("telzino-tests").removeHandler(handler)

        changes = [(context, message) for context, message in told if "→" in message or " is " in message]
        assert len(changes) == 6
        assert all(context in message for context, message in changes)

    @pytest.mark.slow
    async def test_each_way_of_looking_is_told_once(
        self, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A poller that goes to and fro between pages and single calls doesn't fill the log."""
        caplog.set_level("INFO")
        monkeypatch.setattr(page_plan, "UNLISTED_FOR", 5 * INTERVAL)
        calls = [sandbox.add_call("dialing") for _ in range(2)]
        waits = start(map(trigger, calls))
        await until(lambda: looks(sandbox)["page"] >= 1)
        for way in ("page", "single") * 2:
            if way == "single":
                sandbox.faults.next("GET", "outbound-calls$", status=403, times=1)
            seen = looks(sandbox)[way]
            await until(lambda way=way, seen=seen: looks(sandbox)[way] >= seen + 4)
        for call in calls:
            sandbox.finish(call["id"])
        await asyncio.gather(*waits)

        assert caplog.text.count("list pages and") == 1

    async def test_the_poller_tells_its_way_and_its_pauses(
        self, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It says when it turns to list pages, pauses, and is well again; and no secrets."""
        caplog.set_level("INFO")
        calls = [sandbox.add_call("dialing") for _ in range(3)]
        waits = start(map(trigger, calls))
        await until(lambda: len(sandbox.requests) >= 2)
        sandbox.faults.next("GET", status=503, times=2)
        await until(lambda: sandbox.faults.waiting == 0)
        for call in calls:
            sandbox.finish(call["id"])
        await asyncio.gather(*waits)

        text = "\n".join(each.getMessage() for each in caplog.records if "telzino.polling" in each.name)
        assert len(re.findall(r"Polling 3 calls of agent of the connection with 1 list pages", text)) == 1
        assert re.search(r"503.*connection telzino_default.* Pausing all requests on this connection", text)
        assert "responding again" in text
        assert "sandbox-token" not in text

    @pytest.mark.parametrize(
        "ended_at", ["2026-06-11T12:49:28+24:00", "soon", 7, None, "2026-06-11T12:49:28"]
    )
    async def test_a_time_that_is_none_harms_no_wait(self, sandbox: Sandbox, ended_at: Any) -> None:
        """Not the call's own, and not the others'."""
        calls = [sandbox.add_call("completed", ended_at=ended_at), sandbox.add_call("dialing")]
        waits = start(map(trigger, calls))
        odd = await waits[0]
        sandbox.finish(calls[1]["id"])

        assert (odd["outcome"], (await waits[1])["outcome"]) == ("ended", "ended")

    async def test_a_metrics_backend_that_raises_harms_no_wait(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Which one it is, is the user's choice. The log says so once."""
        monkeypatch.setattr(metrics, "stats", None)
        metrics._warn.cache_clear()
        calls = [sandbox.add_call("completed") for _ in range(3)]

        events = await asyncio.gather(*start(map(trigger, calls)))

        assert {event["outcome"] for event in events} == {"ended"}
        assert caplog.text.count("Could not emit Airflow metrics (AttributeError)") == 1

    async def test_waits_on_all_connections_are_counted(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A gauge holds one number: that of one connection would overwrite another's."""
        told: list[Any] = []

        def tell(kind: str, name: str, *value: Any) -> None:
            told.extend(value if name == metrics.WAITS else ())

        monkeypatch.setattr(metrics, "emit", tell)
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", os.environ["AIRFLOW_CONN_TELZINO_DEFAULT"])
        calls = [sandbox.add_call("dialing") for _ in range(5)]
        waits = start(map(trigger, calls[:2]))
        waits += start(trigger(call, telzino_conn_id="other") for call in calls[2:])
        await until(lambda: len(sandbox.requests) >= 4)
        for call in calls:
            sandbox.finish(call["id"])
        await asyncio.gather(*waits)

        assert max(told) == 5
        assert told[-1] == 0

    async def test_metrics(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """Airflow's metrics hear of waits, requests, errors, and how late the end was seen."""
        told: dict[str, list[Any]] = {}

        class Stats:
            """Airflow's Stats, as far as we use it."""

            def incr(self, name: str) -> None:
                told.setdefault(name, []).append(1)

            def gauge(self, name: str, value: float) -> None:
                told.setdefault(name, []).append(value)

            timing = gauge

        monkeypatch.setattr(metrics, "stats", Stats())
        calls = [sandbox.add_call("dialing") for _ in range(3)]
        waits = start(map(trigger, calls))
        sandbox.faults.next("GET", status=503, times=1)
        await until(lambda: len(sandbox.requests) >= 3)
        for call in calls:
            sandbox.finish(call["id"])
        await asyncio.gather(*waits)

        assert told[metrics.WAITS][0] == 3
        assert told[metrics.WAITS][-1] == 0
        assert len(told[metrics.REQUESTS]) == len(sandbox.requests)
        assert len(told[metrics.REQUEST_ERRORS]) == 1
        assert len(told[metrics.DETECTION_LAG]) == 3
        assert all(timedelta() <= lag < timedelta(minutes=1) for lag in told[metrics.DETECTION_LAG])
