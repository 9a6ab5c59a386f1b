"""A retry, after an earlier process of the task has placed its call and died."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.rules import search
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.placed_calls import LIST_LAG, NUMBER, ends, marked, methods, placed, runs

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.mark.parametrize("status", ["queued", "in_progress", "completed"])
def test_it_continues_with_the_call(sandbox: Sandbox, status: str) -> None:
    """It finds the call by its identity, whether it is live or has ended."""
    call = placed(sandbox, status)
    sandbox.clock.advance(LIST_LAG)
    task = runs(tries=1)
    run = task.next_try()

    record = ends(run, sandbox) if status != "completed" else run.step("execute")

    assert record == sandbox.call(call["id"])
    assert len(sandbox.calls) == 1


def test_it_waits_for_a_list_that_lags(sandbox: Sandbox) -> None:
    """The retry starts so early that the call is not in the list yet."""
    placed(sandbox, "dialing")
    task = runs(tries=1)

    record = ends(task.next_try(), sandbox)

    assert [record] == sandbox.calls
    assert methods(sandbox)[:2] == ["GET outbound-calls", "GET outbound-calls"]


def test_a_call_behind_a_thousand_others_is_found(sandbox: Sandbox) -> None:
    """They were placed later, some of them by other instances of the mapped task."""
    call = placed(sandbox, "dialing")
    for index in range(1_000):
        sandbox.place(NUMBER, metadata=marked(map_index=index))
    sandbox.clock.advance(LIST_LAG)
    task = runs(wait_for_completion=False, tries=1)

    answer = task.next_try().to_the_end()

    assert answer["id"] == call["id"]
    assert methods(sandbox) == ["GET outbound-calls"] * 11 + [f"GET {call['id']}"]


def test_too_many_calls_to_search_are_an_error(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search is limited, and reaching the limit never leads to a second call."""
    monkeypatch.setattr(search, "MAX_SEARCH_PAGES", 2)
    for _ in range(300):
        sandbox.place(NUMBER)
    sandbox.clock.advance(LIST_LAG)
    task = runs(tries=1)

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="too many"):
        task.next_try().step("execute")

    assert methods(sandbox) == ["GET outbound-calls"] * 2


def test_the_search_goes_back_to_the_start_of_the_run(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older calls can't be the task's, so no request is spent on them."""
    monkeypatch.setattr(search, "MAX_SEARCH_PAGES", 1)
    long_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    for _ in range(150):
        sandbox.add_call("completed", created_at=long_ago)
    task = runs(wait_for_completion=False, tries=1)

    task.next_try().to_the_end()

    assert len(sandbox.calls) == 151
    assert methods(sandbox)[-1] == "POST outbound-calls"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"raw_body": b'{"data": [], "pagination": {}}'},
        {"raw_body": b'{"data": [], "pagination": {"hasNext": true}}'},
    ],
    ids=str,
)
def test_a_list_that_can_not_be_read_proves_nothing(
    sandbox: Sandbox, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage, or a list that doesn't say whether more pages follow: the task fails and doesn't dial."""
    monkeypatch.setattr("airflow_provider_telzino.hooks.telzino.RETRY_FOR", 0.05)
    sandbox.faults.next("GET", "outbound-calls$", times=1_000, **fault)
    task = runs(tries=1)

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="Could not determine"):
        task.next_try().step("execute")

    assert sandbox.calls == []


def test_a_first_try_searches_too(sandbox: Sandbox) -> None:
    """Airflow may be wrong, for example after its database was restored: one page is read."""
    call = placed(sandbox, "dialing")
    sandbox.clock.advance(LIST_LAG)

    answer = runs(wait_for_completion=False).next_try().to_the_end()

    assert answer["id"] == call["id"]
    assert len(sandbox.calls) == 1


def test_a_first_try_searches_one_page_only(sandbox: Sandbox) -> None:
    """Of a thousand mapped tasks, none must search through the calls of all others."""
    for _ in range(300):
        sandbox.place(NUMBER)
    sandbox.clock.advance(LIST_LAG)

    runs(wait_for_completion=False).next_try().to_the_end()

    assert methods(sandbox) == ["GET outbound-calls", "POST outbound-calls"]


def test_the_pushed_answer_of_a_retry(sandbox: Sandbox) -> None:
    """It has the same fields as that of a first try: no phone number, and the current status."""
    call = placed(sandbox, "in_progress")
    sandbox.clock.advance(LIST_LAG)
    task = runs(wait_for_completion=False, tries=1)

    answer = task.next_try().to_the_end()

    assert answer == {name: call[name] for name in ("id", "status", "created_at", "agent_id")}


def test_the_log_says_which_call_and_why(sandbox: Sandbox, task_log: pytest.LogCaptureFixture) -> None:
    """It has ids and statuses, and no argument of the task."""
    call = placed(sandbox, "in_progress")
    sandbox.clock.advance(LIST_LAG)
    task = runs(call_context="Call John.", wait_for_completion=False, tries=1)

    task.next_try().to_the_end()
    runs(call_context="Call John.", wait_for_completion=False, map_index=1).next_try().to_the_end()

    log = task_log.text
    assert f"Waiting for call {call['id']}: it is in_progress." in log
    assert "Placing a call: the task has placed no call yet." in log
    assert f"Placed call {sandbox.calls[-1]['id']}." in log
    for secret in (NUMBER, "Call John", "sandbox-token", "crm"):
        assert secret not in log
