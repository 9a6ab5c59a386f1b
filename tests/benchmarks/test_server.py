"""The benchmark's server: our hook reads it like the real API, and its book holds what was asked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pendulum
import pytest
import requests

from airflow_provider_telzino.exceptions import TelzinoUnavailableError
from airflow_provider_telzino.hooks.telzino import TelzinoHook
from airflow_provider_telzino.models import Call
from benchmarks.calls import Book
from benchmarks.worlds import TOKEN, WorldHandle, server, world


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A running server."""
    with server() as address:
        yield address


@pytest.fixture
def hook(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TelzinoHook]:
    """Our hook, connected to the server."""
    connection = {"conn_type": "telzino", "host": url, "password": TOKEN}
    monkeypatch.setenv("AIRFLOW_CONN_TELZINO_DEFAULT", json.dumps(connection))
    with TelzinoHook() as connected:
        yield connected


def test_lists_calls_newest_first(url: str, hook: TelzinoHook) -> None:
    """Over all pages our hook finds each call once, the newest first."""
    with world(url, waits=150, older=100) as there:
        agent_id = there.calls[0][0]

        records = list(hook.list_calls(agent_id=agent_id))

    assert [record["id"] for record in records[:150]] == [call_id for _, call_id, _ in reversed(there.calls)]
    assert len({record["id"] for record in records}) == 250
    assert {record["status"] for record in records[150:]} == {"completed"}


def test_filters_by_status(url: str, hook: TelzinoHook) -> None:
    """The list's filter gives the calls in that status only."""
    with world(url, waits=2, older=3) as there:
        records = list(hook.list_calls(status="completed", agent_id=there.calls[0][0]))

    assert len(records) == 3


def test_call_ends_when_the_run_says(url: str, hook: TelzinoHook) -> None:
    """A call is in progress until its end, and has ``ended_at`` from then on."""
    with world(url, waits=2, ends=(-1000, 1000)) as there:
        ended, lasting = sorted(there.calls, key=lambda call: call[2])

        records = [hook.get_call(call_id, agent_id) for agent_id, call_id, _ in (ended, lasting)]

    assert [record["status"] for record in records] == ["completed", "in_progress"]
    assert Call.from_record(records[0]).ended_at == pendulum.from_timestamp(round(ended[2], 6))
    assert records[1]["ended_at"] is None


def test_call_lasts_from_its_first_look(url: str) -> None:
    """A call may last from its first look on, and its page for ``HttpSensor`` is a 404 until then."""
    with world(url, waits=1, lasts=0.3) as there:
        agent_id, call_id, _ = there.calls[0]
        page = f"{url}/ended/{agent_id}/{call_id}"
        time.sleep(0.4)

        first = requests.get(page, timeout=5)
        time.sleep(0.4)
        second = requests.get(page, timeout=5)

    assert (first.status_code, second.status_code) == (404, 200)


def test_book_has_requests_and_connections(url: str, hook: TelzinoHook) -> None:
    """Three requests over one session: the book has three, one connection, and each waited call told of."""
    with world(url, waits=40, older=100) as there:
        agent_id, call_id, _ = there.calls[0]
        start = time.time()

        list(hook.list_calls(agent_id=agent_id))
        hook.get_call(call_id, agent_id)

        book = there.read(start, time.time())
    assert (book["requests"], book["told"], book["connected"]) == (3, 41, 1)


def test_book_finds_the_busiest_time() -> None:
    """``most`` is the most requests within any time of that width, not only within fixed ones."""
    book = Book()
    for moment in (1.0, 4.8, 5.1, 5.2, 9.0):
        book.enter(moment, told=1)

    assert book.between(0, 10, width=1)["most"] == 3
    assert book.between(0, 5, width=1)["most"] == 1


def test_goes_away_for_a_while(url: str, hook: TelzinoHook) -> None:
    """An outage answers 503, and ends by itself."""
    with world(url, waits=1) as there:
        agent_id, call_id, _ = there.calls[0]
        there.go_away(0.3)

        with pytest.raises(TelzinoUnavailableError):
            hook.get_call(call_id, agent_id, retry_for=0)

        time.sleep(0.4)
        assert hook.get_call(call_id, agent_id, retry_for=0)["id"] == call_id


def test_worlds_keep_apart(url: str) -> None:
    """What is asked of one world is in no other's book."""
    with world(url, waits=1) as asked, world(url, waits=1) as other:
        agent_id, call_id, _ = asked.calls[0]

        requests.get(f"{url}/v1/agents/{agent_id}/outbound-calls/{call_id}", timeout=5)

        assert (_requests(asked), _requests(other)) == (1, 0)


def _requests(there: WorldHandle) -> float:
    return there.read(0, time.time() + 1)["requests"]
