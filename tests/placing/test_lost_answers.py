"""The POST got no valid answer: was the call placed?"""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ConnectionSetter
from tests.support.placed_calls import ends, methods, placed, runs
from tests.support.placing_runs import STATES, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")


BEFORE = [{"status": 500}, {"status": 503}, {"reset": True}, {"hang": True}, {"status": 408}]
AFTER = [
    {"status": 500, "after_commit": True},
    {"reset": True, "after_commit": True},
    {"hang": True, "after_commit": True},
    {"cut_off": True},
    {"raw_body": b"<html>", "after_commit": True},
    {"raw_body": b"{}", "after_commit": True},
    {"delay": 5},
]


@pytest.fixture
def impatient(sandbox: Sandbox, connect: ConnectionSetter, surroundings: None) -> None:
    """The hook waits a second for an answer. This time is real, whatever the tests' clocks say."""
    connect(sandbox, extra={"timeout": 1})


@STATES
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", AFTER, ids=str)
def test_a_call_that_was_placed_is_found(sandbox: Sandbox, fault: dict[str, Any], state: str | None) -> None:
    """The same try finds it, though the list shows it late, and continues as usual."""
    task = runs(state=TaskStateStore() if state else None)
    sandbox.faults.next("POST", "outbound-calls$", **fault)

    record = ends(task.next_try(), sandbox)

    assert [record] == sandbox.calls


@STATES
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", BEFORE, ids=str)
def test_a_call_that_was_not_placed_is_not_placed_blindly(
    sandbox: Sandbox, fault: dict[str, Any], state: str | None
) -> None:
    """The task fails and says why; its retry searches again, and dials."""
    task = runs(retries=1, state=TaskStateStore() if state else None)
    sandbox.faults.next("POST", "outbound-calls$", **fault)

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match=r"No call of this task.*within 15 s"):
        task.next_try().step("execute")
    assert sandbox.calls == []
    record = ends(task.next_try(), sandbox)

    assert [record] == sandbox.calls


def test_a_refusal_that_certainly_had_no_effect_is_retried(sandbox: Sandbox) -> None:
    """After a 429 the POST is sent again, within the same try of the task."""
    sandbox.faults.next("POST", "outbound-calls$", status=429, times=3)

    record = ends(runs().next_try(), sandbox)

    assert [record] == sandbox.calls


def test_retry_after_is_respected(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """No POST is sent sooner."""
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=pauses.append))
    sandbox.faults.next("POST", "outbound-calls$", status=429, retry_after="20")

    ends(runs().next_try(), sandbox)

    assert pauses == [20]


def test_a_retry_after_of_over_a_minute_is_left_to_airflow(sandbox: Sandbox) -> None:
    """The task fails at once instead of sending a request too early."""
    sandbox.faults.next("POST", "outbound-calls$", status=429, retry_after="120", times=9)

    with pytest.raises(exceptions.TelzinoRateLimitError):
        runs().next_try().step("execute")

    assert methods(sandbox) == ["GET outbound-calls", "POST outbound-calls"]


def test_an_unavailable_api_has_placed_no_call(
    sandbox: Sandbox, connect: ConnectionSetter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens on the port: the error says that, and nothing about a call that may exist."""
    monkeypatch.setattr("airflow_provider_telzino.hooks.telzino.RETRY_FOR", 0.05)
    connect("http://127.0.0.1:9")

    with pytest.raises(exceptions.TelzinoUnavailableError, match="connection failed"):
        runs().next_try().step("execute")


def test_the_search_for_a_lost_call_fails(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has both reasons, and the task doesn't dial again."""
    monkeypatch.setattr("airflow_provider_telzino.hooks.telzino.RETRY_FOR", 0.05)
    sandbox.faults.next("POST", "outbound-calls$", reset=True, after_commit=True)
    sandbox.faults.next("GET", "outbound-calls$", delay=0.001)  # the search before the POST
    sandbox.faults.next("GET", "outbound-calls$", status=503, times=1_000)

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match=r"search for the call failed.*503"):
        runs().next_try().step("execute")

    assert methods(sandbox).count("POST outbound-calls") == 1


def test_an_older_call_of_the_task_is_not_mistaken_for_the_lost_one(sandbox: Sandbox) -> None:
    """It was the first attempt, and the POST of the second one got no answer."""
    busy = placed(sandbox, "busy")
    sandbox.clock.advance(60)
    task = runs(redial_on=["busy"], redial_delay=timedelta(), tries=1)
    sandbox.faults.next("POST", "outbound-calls$", reset=True, after_commit=True)

    record = ends(task.next_try(), sandbox)

    assert record["id"] != busy["id"]
    assert len(sandbox.calls) == 2
