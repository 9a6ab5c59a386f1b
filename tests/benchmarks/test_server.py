"""The benchmark's server: our hook reads it like the real API, and it logs what was requested."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from airflow_provider_telzino.exceptions import TelzinoUnavailableError
from airflow_provider_telzino.hooks.telzino import TelzinoHook
from benchmarks.calls import RequestLog
from benchmarks.worlds import TOKEN, server, world

pytestmark = pytest.mark.slow


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
    """Over all pages our hook finds each call once, the newest first, and the log has each status."""
    with world(url, waits=150, older=100) as there:
        agent_id = there.calls[0][0]
        start = time.time()

        records = list(hook.list_calls(agent_id=agent_id))

        log = there.summary(start, time.time())
    assert [record["id"] for record in records[:150]] == [call_id for _, call_id, _ in reversed(there.calls)]
    assert len({record["id"] for record in records}) == 250
    assert {record["status"] for record in records[150:]} == {"completed"}
    assert (log["requests"], log["statuses"], log["connections"]) == (3, 150, 1)


def test_a_call_ends_when_the_run_says(url: str, hook: TelzinoHook) -> None:
    """A call is in progress until its end, and has ``ended_at`` from then on."""
    with world(url, waits=2, ends=(-1000, 1000)) as there:
        ended, lasting = sorted(there.calls, key=lambda call: call[2])

        records = [hook.get_call(call_id, agent_id) for agent_id, call_id, _ in (ended, lasting)]

    assert [record["status"] for record in records] == ["completed", "in_progress"]
    assert [record["ended_at"] is None for record in records] == [False, True]


def test_the_log_finds_the_busiest_time() -> None:
    """``most`` is the most requests within any time of that width, not only within fixed ones."""
    log = RequestLog()
    for moment in (1.0, 4.8, 5.1, 5.2, 9.0):
        log.add(moment, statuses=1, connection=1)

    assert log.summary(0, 10, width=1)["most"] == 3
    assert log.summary(0, 5, width=1)["most"] == 1


def test_an_outage_ends_by_itself(url: str, hook: TelzinoHook) -> None:
    """Until then, everything is answered with 503."""
    with world(url, waits=1) as there:
        agent_id, call_id, _ = there.calls[0]
        there.begin_outage(0.3)

        with pytest.raises(TelzinoUnavailableError):
            hook.get_call(call_id, agent_id, retry_for=0)

        time.sleep(0.4)
        assert hook.get_call(call_id, agent_id, retry_for=0)["id"] == call_id


def test_places_calls_that_end(url: str, hook: TelzinoHook) -> None:
    """A call is placed as it was given, ends, and counts among those that were live at the same time."""
    with world(url, waits=0, placed_last=(0.2, 0.2), latency=0.05) as there:
        (agent_id,) = there.agents

        placed = [
            hook.place_call(number, None, {"n": number}, agent_id=agent_id)
            for number in ("+18135550001", "+18135550002")
        ]
        time.sleep(0.3)
        listed = list(hook.list_calls(agent_id=agent_id))

        counted = there.placed()
    assert [call["status"] for call in placed] == ["in_progress"] * 2
    assert [(call["to_number"], call["request_metadata"], call["status"]) for call in listed] == [
        ("+18135550002", {"n": "+18135550002"}, "completed"),
        ("+18135550001", {"n": "+18135550001"}, "completed"),
    ]
    assert (counted["calls"], counted["most_live"]) == (2, 2)
    assert counted["seconds"] >= 0.1
