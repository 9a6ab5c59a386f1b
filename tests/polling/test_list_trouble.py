"""A list that fails, lags or contains junk, and calls that do not exist: every wait still gets its end."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.api.answers import ListPage
from airflow_provider_telzino.exceptions import TelzinoNotFoundError
from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook
from airflow_provider_telzino.polling.page_plan import MAX_MISSES
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ConnectionSetter
from tests.support.polling import AN_INTERVAL, INTERVAL, Clock, cancel, finish, requests, start, trigger

pytestmark = pytest.mark.usefixtures("connected", "nothing_is_left")

ALWAYS = 10_000  # times


def unknown_calls(number: int) -> list[dict[str, Any]]:
    """Make calls that the API does not know."""
    return [{"id": f"00000000-0000-4000-8000-{index:012}"} for index in range(number)]


async def test_a_list_that_never_works(sandbox: Sandbox, clock: Clock) -> None:
    """When only the list fails, it is left alone after three polls: the calls are fetched instead."""
    calls = [sandbox.add_call("dialing") for _ in range(30)]
    sandbox.faults.next("GET", "outbound-calls$", status=500, times=ALWAYS)
    waits = start(trigger(call, interval=1.0) for call in calls)
    await clock.until(lambda: len({request.path for request in sandbox.requests}) >= 31)

    pages = requests(sandbox)["page"]
    for _ in range(5):
        await clock.advance(1.03)
    later_pages = requests(sandbox)["page"] - pages
    finish(sandbox, calls)
    events = await clock.events(waits)

    assert pages <= MAX_MISSES
    assert later_pages == 0
    assert [event["status"] for event in events] == ["completed"] * 30


async def test_a_list_that_is_refused(sandbox: Sandbox, clock: Clock) -> None:
    """Who may not list calls, but may get one, waits all the same; the list is not requested at each poll."""
    calls = [sandbox.add_call("dialing") for _ in range(3)]
    sandbox.faults.next("GET", "outbound-calls$", status=403, times=ALWAYS)
    waits = start(map(trigger, calls))
    await clock.advance(INTERVAL / 2)

    await clock.advance(AN_INTERVAL)
    seen = requests(sandbox)
    finish(sandbox, calls)
    events = await clock.events(waits)

    assert seen == {"page": 1, "single": 6}
    assert [event["status"] for event in events] == ["completed"] * 3


async def test_a_list_that_lags(connect: ConnectionSetter, clock: Clock) -> None:
    """Calls that the list lacks are fetched."""
    with Sandbox(clock="manual", list_lag=3_600) as sandbox:
        connect(sandbox)
        calls = [sandbox.place() for _ in range(4)]
        waits = start(map(trigger, calls))

        finish(sandbox, calls)
        events = await clock.events(waits)

    assert [event["status"] for event in events] == ["completed"] * 4


async def test_junk_in_the_list_is_not_an_outcome(sandbox: Sandbox, clock: Clock) -> None:
    """An item without a status, or of another call, shows nothing; nor does an unknown status."""
    calls = [sandbox.add_call("dialing") for _ in range(3)]
    items = [
        {"id": calls[0]["id"]},
        {"id": calls[1]["id"], "status": None, "ended_at": "2026-01-01T00:00:00+00:00"},
        {"id": calls[2]["id"], "status": "pondering", "ended_at": None},
        {"id": "0" * 36, "status": "completed"},
    ]
    body = json.dumps({"data": items, "pagination": {"total": "many", "hasNext": False}})
    sandbox.faults.next("GET", "outbound-calls$", raw_body=body.encode(), times=2)
    waits = start(map(trigger, calls))

    await clock.until(lambda: sandbox.faults.waiting == 0)
    ended_early = [wait.done() for wait in waits]
    finish(sandbox, calls)
    events = await clock.events(waits)

    assert ended_early == [False] * 3
    assert [event["status"] for event in events] == ["completed"] * 3


async def test_a_new_status_whose_end_the_list_does_not_show(sandbox: Sandbox, clock: Clock) -> None:
    """Without ``ended_at`` an item of an unknown status shows nothing: the call is fetched."""
    ended = {"status": "voicemail", "ended_at": "2026-06-11T12:54:15.354244+00:00"}
    calls = [sandbox.add_call(**ended) for _ in range(2)]
    items = [{"id": call["id"], "status": call["status"]} for call in calls]
    body = json.dumps({"data": items, "pagination": {"total": 2, "hasNext": False}})
    sandbox.faults.next("GET", "outbound-calls$", raw_body=body.encode(), times=ALWAYS)

    events = await clock.events(start(map(trigger, calls)))

    assert [event["outcome"] for event in events] == ["ended"] * 2


async def test_a_list_that_ends_with_a_404(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page after the last one may be refused, even before the others arrive: those still count."""
    get_page = TelzinoAsyncHook.get_calls_page

    async def get_calls_page(hook: TelzinoAsyncHook, page: int, *args: Any, **options: Any) -> ListPage:
        if page > 1:
            raise TelzinoNotFoundError("There is no such page.")
        return await get_page(hook, page, *args, **options)

    monkeypatch.setattr(TelzinoAsyncHook, "get_calls_page", get_calls_page)
    calls, unlisted = [sandbox.add_call("dialing") for _ in range(99)], unknown_calls(99)
    waits = start(map(trigger, [*calls, *unlisted]))

    await clock.advance(INTERVAL / 2)
    await clock.advance(AN_INTERVAL)
    fetched = {request.path.rpartition("/")[2] for request in sandbox.requests}
    await cancel(waits)

    assert fetched == {"outbound-calls", *(call["id"] for call in unlisted)}


async def test_an_unknown_call_ends_alone(sandbox: Sandbox, clock: Clock) -> None:
    """A 404 that repeats ends that wait; the others continue."""
    good = sandbox.add_call("dialing")
    good_wait, bad_wait = start(map(trigger, [good, *unknown_calls(1)]))

    [event] = await clock.events([bad_wait])
    still_waiting = not good_wait.done()
    finish(sandbox, [good])
    await clock.events([good_wait])

    assert (event["outcome"], event["error"]) == ("refused", "TelzinoNotFoundError")
    assert still_waiting


async def test_a_call_that_is_visible_late(sandbox: Sandbox, clock: Clock) -> None:
    """The API may need a moment until it shows a call that was just placed: the wait continues."""
    call = sandbox.add_call("completed")
    sandbox.faults.next("GET", call["id"], status=404, times=4)

    events = await clock.events(start([trigger(call, interval=1.0)]))

    assert [event["outcome"] for event in events] == ["ended"]
    assert requests(sandbox) == {"single": 5}


async def test_unknown_calls_do_not_delay_a_poll(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll requests each of them once."""
    monkeypatch.setattr(retry, "NOT_FOUND_FOR", 3_600.0)
    good, bad = [sandbox.add_call("dialing") for _ in range(2)], unknown_calls(8)
    waits = start(map(trigger, [*good, *bad]))
    await clock.advance(INTERVAL / 2)
    sandbox.requests.clear()

    await clock.advance(AN_INTERVAL)
    a_poll = Counter(request.path for request in sandbox.requests)
    await cancel(waits)

    assert len(a_poll) == 9
    assert set(a_poll.values()) == {1}
