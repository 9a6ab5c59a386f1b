"""The records of many calls: in order, a few requests at a time, which pause together."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from requests.adapters import HTTPAdapter

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.api.call_lists import CallOfAgent
from airflow_provider_telzino.hooks import records
from airflow_provider_telzino.hooks.records import MAX_IN_FLIGHT, fetch_records
from airflow_provider_telzino.hooks.telzino import TelzinoHook
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import AGENT_ID, ConnectionSetter

pytestmark = pytest.mark.usefixtures("connected", "quick_retries")

log = logging.getLogger("telzino-tests")


class FirstOnesTogether(HTTPAdapter):
    """Sends the first requests when as many as are allowed are about to be sent."""

    def __init__(self) -> None:
        super().__init__()
        self._barrier = threading.Barrier(MAX_IN_FLIGHT)

    def send(self, *arguments: Any, **options: Any) -> Any:
        """Send a request."""
        self._barrier.wait(20)
        return super().send(*arguments, **options)


def fetch(calls: list[dict[str, Any]], **arguments: Any) -> list[str | None]:
    """Fetch the records of calls, and keep their ids."""
    with TelzinoHook() as hook:
        wanted = [CallOfAgent(call["id"], call.get("agent_id")) for call in calls]
        return fetch_records(hook, wanted, log=log, keep=lambda record: str(record["id"]), **arguments)


def ids(calls: list[dict[str, Any]]) -> list[str]:
    """Return the ids of calls."""
    return [call["id"] for call in calls]


def test_records_come_in_order(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """Whichever answer comes first; over few connections, with one token."""
    connect(sandbox, oauth=True)
    sandbox.faults.latency = (0.0, 0.02)
    calls = [sandbox.add_call("completed") for _ in range(60)]

    assert fetch(calls) == ids(calls)

    assert len([each for each in sandbox.requests if "/oauth/token" in each.path]) == 1
    assert len({each.client for each in sandbox.requests}) <= MAX_IN_FLIGHT


def test_no_calls_need_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked, of Airflow neither."""
    monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")

    assert fetch([]) == []


def test_only_what_is_kept_is_in_memory(sandbox: Sandbox) -> None:
    """Each record is cut as it comes."""
    call = sandbox.add_call("busy", summary_text="x" * 1_000)
    with TelzinoHook() as hook:
        kept = fetch_records(
            hook, [CallOfAgent(call["id"], None)] * 3, log=log, keep=lambda record: record["status"]
        )

    assert kept == ["busy"] * 3


def test_calls_of_several_agents(connect: ConnectionSetter) -> None:
    """Each is asked for under the agent that made it; without one, the connection's."""
    with Sandbox(clock="manual", agents=3) as sandbox:
        connect(sandbox)
        calls = [sandbox.add_call("completed", agent_id=agent) for agent in sandbox.agent_ids]
        own = sandbox.add_call("completed", agent_id=AGENT_ID)
        own["agent_id"] = None

        assert fetch([*calls, own]) == ids([*calls, own])


def test_a_429_pauses_all_requests_together(sandbox: Sandbox, task_log: pytest.LogCaptureFixture) -> None:
    """The requests in flight share one pause, and none is sent before ``Retry-After``."""
    calls = [sandbox.add_call("completed") for _ in range(30)]
    sandbox.faults.next("GET", "outbound-calls", status=429, times=4, retry_after="0.3")
    began = time.monotonic()

    fetched = fetch(calls)

    assert fetched == ids(calls)
    assert time.monotonic() - began >= 0.3
    assert len(sandbox.requests) == 34
    assert task_log.text.count("Pausing all requests for") <= 4
    assert "The API is responding again" in task_log.text


def test_a_rate_limit_slows_it_down(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some requests succeed meanwhile, so it may take any time."""
    ticks = itertools.count()
    hurried = SimpleNamespace(monotonic=lambda: float(next(ticks)), sleep=time.sleep)
    monkeypatch.setattr(records, "time", hurried)  # a second for each time that it is read
    calls = [sandbox.add_call("completed") for _ in range(100)]
    for call in calls[::2]:
        sandbox.faults.next("GET", call["id"], status=429)

    assert fetch(calls, retry_for=60.0) == ids(calls)
    assert next(ticks) > 120


def test_an_outage_is_waited_out(sandbox: Sandbox) -> None:
    """Through failures of every kind."""
    calls = [sandbox.add_call("completed") for _ in range(10)]
    for fault in ({"status": 503}, {"reset": True}, {"raw_body": b"<html>"}):
        sandbox.faults.next("GET", "outbound-calls", times=5, **fault)

    assert fetch(calls) == ids(calls)


def test_an_outage_that_lasts_is_an_error(sandbox: Sandbox) -> None:
    """After ``retry_for``, and without a request for each call."""
    calls = [sandbox.add_call("completed") for _ in range(100)]
    sandbox.faults.next("GET", "outbound-calls", status=503, times=100_000)

    with pytest.raises(exceptions.TelzinoUnavailableError):
        fetch(calls, retry_for=0.3)

    assert len(sandbox.requests) < 100


def test_a_retry_after_that_is_too_long_is_an_error_at_once(sandbox: Sandbox) -> None:
    """The caller knows better than to hold a worker for an hour."""
    calls = [sandbox.add_call("completed") for _ in range(10)]
    sandbox.faults.next("GET", "outbound-calls", status=429, times=100, retry_after="3600")

    with pytest.raises(exceptions.TelzinoRateLimitError) as caught:
        fetch(calls)

    assert caught.value.retry_after == 3600
    assert len(sandbox.requests) <= MAX_IN_FLIGHT


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, exceptions.TelzinoCredentialsError), (403, exceptions.TelzinoPermissionError)],
)
def test_a_refusal_ends_it(sandbox: Sandbox, status: int, error: type[Exception]) -> None:
    """No further requests are sent, even while others wait for the end of a pause."""
    calls = [sandbox.add_call("completed") for _ in range(100)]
    sandbox.faults.next("GET", f"outbound-calls/{calls[0]['id']}", status=429, retry_after="50")
    for call in calls[1:]:
        sandbox.faults.next("GET", f"outbound-calls/{call['id']}", status=status, delay=0.2)

    with TelzinoHook() as hook:
        hook.get_conn().mount("http://", FirstOnesTogether())
        with pytest.raises(error):
            fetch_records(hook, [CallOfAgent(call["id"], None) for call in calls], log=log, keep=len)

    assert len(sandbox.requests) == MAX_IN_FLIGHT


def test_calls_that_are_not_there(sandbox: Sandbox) -> None:
    """They are missing when a 404 has lasted, which takes no longer for many of them than for one."""
    calls = [sandbox.add_call("completed") for _ in range(5)]
    absent = [{"id": str(uuid4())} for _ in range(20)]

    fetched = fetch([*absent, *calls, *absent])

    assert fetched == [None] * 20 + ids(calls) + [None] * 20
    counts = [sum(call["id"] in each.path for each in sandbox.requests) for call in (*absent, *calls)]
    assert min(counts[:20]) > 2
    assert counts[20:] == [1] * 5


def test_a_call_that_appears_late(sandbox: Sandbox) -> None:
    """The API doesn't promise that a call can be read as soon as it is placed."""
    call = sandbox.add_call("completed")
    sandbox.faults.next("GET", "outbound-calls", status=404, times=2)

    assert fetch([call]) == [call["id"]]


def test_a_404_may_be_final_at_once(sandbox: Sandbox) -> None:
    """For a caller who asks again later anyway."""
    assert fetch([{"id": str(uuid4())}], not_found_is_final=True) == [None]
    assert len(sandbox.requests) == 1
