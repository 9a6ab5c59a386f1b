"""What operators of the triggerer see: its log and its metrics."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import os
import re
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_telzino.polling import metrics
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.polling import AN_INTERVAL, INTERVAL, Clock, finish, requests, start, trigger
from tests.support.waits import first_event

pytestmark = pytest.mark.usefixtures("connected", "nothing_is_left")


class RecordedStats:
    """Airflow's Stats, as far as we use it."""

    def __init__(self) -> None:
        self.emitted: dict[str, list[Any]] = {}

    def gauge(self, name: str, value: float) -> None:
        """Note a gauge."""
        self.emitted.setdefault(name, []).append(value)

    timing = gauge

    def incr(self, name: str) -> None:
        """Note a counter."""
        self.gauge(name, 1)


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """All values that were emitted, by metric."""
    stats = RecordedStats()
    monkeypatch.setattr(metrics, "stats", stats)
    return stats.emitted


async def test_each_wait_logs_in_its_own_context(
    sandbox: Sandbox, clock: Clock, task_log: pytest.LogCaptureFixture
) -> None:
    """Airflow finds a line's task by context: it must be that of the wait, not that of the poller."""
    task = contextvars.ContextVar("task", default="none")
    logged: list[tuple[str, str]] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append((task.get(), record.getMessage()))

    async def run(call: dict[str, Any]) -> dict[str, Any]:
        task.set(call["id"])
        return await first_event(trigger(call))

    handler = Recorder()
    logging.getLogger("telzino-tests").addHandler(handler)
    calls = [sandbox.add_call("dialing") for _ in range(3)]
    waits = [asyncio.ensure_future(run(call)) for call in calls]
    await clock.advance(INTERVAL)

    finish(sandbox, calls)
    await clock.events(waits)
    logging.getLogger("telzino-tests").removeHandler(handler)

    changes = [(context, message) for context, message in logged if "→" in message or " is " in message]
    assert len(changes) == 6
    assert all(context in message for context, message in changes)


async def test_list_pages_are_logged_once(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A poller that changes between pages and single calls does not fill the log."""
    caplog.set_level("INFO")
    calls = [sandbox.add_call("dialing") for _ in range(2)]
    waits = start(map(trigger, calls))
    await clock.advance(INTERVAL)

    for kind in ("single", "page") * 2:
        if kind == "single":
            sandbox.faults.next("GET", "outbound-calls$", status=403, times=1)
        wanted = requests(sandbox)[kind] + 2
        await clock.until(functools.partial(_has_received, sandbox, kind, wanted))
    finish(sandbox, calls)
    await clock.events(waits)

    assert caplog.text.count("list pages") == 1


async def test_pauses_and_recovery_are_logged(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """With the reason and the connection, and without secrets."""
    caplog.set_level("INFO")
    calls = [sandbox.add_call("dialing") for _ in range(3)]
    waits = start(map(trigger, calls))
    await clock.advance(INTERVAL)
    sandbox.faults.next("GET", status=503, times=2)

    await clock.until(lambda: sandbox.faults.waiting == 0)
    finish(sandbox, calls)
    await clock.events(waits)

    text = "\n".join(each.getMessage() for each in caplog.records if "telzino.polling" in each.name)
    assert "Polling 3 calls of agent of the connection with 1 list pages and 0 single requests." in text
    assert re.search(r"503.*connection telzino_default.* Pausing all requests on this connection for", text)
    assert re.search(r"The API is responding again, after \d failures in a row.", text)
    assert "sandbox-token" not in text


@pytest.mark.parametrize("ended_at", ["2026-06-11T12:49:28+24:00", "soon", 7, None, "2026-06-11T12:49:28"])
async def test_an_invalid_time_affects_no_wait(sandbox: Sandbox, clock: Clock, ended_at: Any) -> None:
    """Not the call's own, and not the others'."""
    calls = [sandbox.add_call("completed", ended_at=ended_at), sandbox.add_call("dialing")]
    waits = start(map(trigger, calls))

    [odd] = await clock.events(waits[:1])
    finish(sandbox, calls[1:])
    [other] = await clock.events(waits[1:])

    assert (odd["outcome"], other["outcome"]) == ("ended", "ended")


async def test_a_metrics_backend_that_raises_affects_no_wait(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The backend is the user's choice. The log says once that it fails."""
    monkeypatch.setattr(metrics, "stats", None)
    metrics._warn.cache_clear()
    calls = [sandbox.add_call("completed") for _ in range(3)]

    events = await clock.events(start(map(trigger, calls)))

    assert {event["outcome"] for event in events} == {"ended"}
    assert caplog.text.count("Could not emit Airflow metrics (AttributeError)") == 1


async def test_waits_on_all_connections_are_counted(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch, emitted: dict[str, list[Any]]
) -> None:
    """A gauge holds one number: that of one connection would overwrite another's."""
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", os.environ["AIRFLOW_CONN_TELZINO_DEFAULT"])
    calls = [sandbox.add_call("dialing") for _ in range(5)]
    waits = start(map(trigger, calls[:2]))
    waits += start(trigger(call, telzino_conn_id="other") for call in calls[2:])
    await clock.advance(AN_INTERVAL)

    finish(sandbox, calls)
    await clock.events(waits)

    assert max(emitted[metrics.WAITS]) == 5
    assert emitted[metrics.WAITS][-1] == 0


async def test_metrics(sandbox: Sandbox, clock: Clock, emitted: dict[str, list[Any]]) -> None:
    """Airflow's metrics get waits, requests, errors, and how late the end was noticed."""
    calls = [sandbox.add_call("dialing") for _ in range(3)]
    waits = start(map(trigger, calls))
    sandbox.faults.next("GET", status=503, times=1)
    await clock.advance(INTERVAL / 2)
    await clock.advance(AN_INTERVAL)

    finish(sandbox, calls)
    await clock.events(waits)

    assert emitted[metrics.WAITS][0] == 3
    assert emitted[metrics.WAITS][-1] == 0
    assert len(emitted[metrics.REQUESTS]) == len(sandbox.requests)
    assert len(emitted[metrics.REQUEST_ERRORS]) == 1
    assert len(emitted[metrics.DETECTION_LAG]) == 3
    assert all(timedelta() <= lag < timedelta(minutes=1) for lag in emitted[metrics.DETECTION_LAG])


def _has_received(sandbox: Sandbox, kind: str, number: int) -> bool:
    return requests(sandbox)[kind] >= number
