"""Airflow 3.3 stores that a task is about to dial, and only if this process runs the task."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.rules import search
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ConnectionSetter
from tests.support.placed_calls import LIST_LAG, NUMBER, dies_after_post, ends, methods, posts, runs
from tests.support.placing_runs import NEEDS_TASK_STATE, PlacingTaskInstance, TaskStateStore

pytestmark = [pytest.mark.usefixtures("surroundings"), NEEDS_TASK_STATE]


@pytest.mark.parametrize("others", [0, 150])
def test_a_process_that_no_longer_runs_the_task_does_not_dial(sandbox: Sandbox, others: int) -> None:
    """It was frozen, the retry has dialled, and the first page of the list doesn't show that call."""
    state = TaskStateStore()
    task = runs(state=state, wait_for_completion=False)
    frozen = task.next_try()
    task.next_try().step("execute")
    for _ in range(others):
        sandbox.place(NUMBER)
    sandbox.clock.advance(60 if others else 0)

    state.superseded = True
    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="another process"):
        frozen.step("execute")

    assert len(sandbox.calls) == 1 + others


def test_it_is_stored_before_each_post(sandbox: Sandbox) -> None:
    """During the pause after a 429, another process may take over the task."""
    state = TaskStateStore()
    sandbox.faults.next("POST", "outbound-calls$", status=429, times=2)

    class Superseded(TaskStateStore):
        def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
            self.superseded = value["dialling"] is not None and posts(sandbox) == 2
            super().set(key, value, retention=retention)

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="another process"):
        runs(state=Superseded()).next_try().step("execute")
    ends(runs(state=state).next_try(), sandbox)

    assert methods(sandbox).count("POST outbound-calls") == 3
    assert len(sandbox.calls) == 1


def test_it_is_stored_before_a_post_with_a_new_token(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """While a refused token is replaced, another process may take over the task."""
    connect(sandbox, oauth=True)
    sandbox.faults.next("POST", "outbound-calls$", status=401)

    class SupersededAfterTheFirstPost(TaskStateStore):
        def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
            super().set(key, value, retention=retention)
            self.superseded = value["dialling"] is not None

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="another process"):
        runs(state=SupersededAfterTheFirstPost()).next_try().step("execute")

    assert methods(sandbox).count("POST outbound-calls") == 1
    assert sandbox.calls == []


def test_if_it_was_never_stored_no_earlier_try_has_dialled(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy agent can't block a task that has never dialled, such as one of a backfill."""
    monkeypatch.setattr(search, "MAX_SEARCH_PAGES", 2)
    for _ in range(300):
        sandbox.place(NUMBER)
    sandbox.clock.advance(LIST_LAG)
    task = runs(state=TaskStateStore(), wait_for_completion=False, tries=1)

    task.next_try().to_the_end()

    assert methods(sandbox) == ["GET outbound-calls"] * 2 + ["POST outbound-calls"]


def test_if_it_was_never_stored_a_cleared_task_may_still_have_dialled(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow can be configured to delete the state of a task that has succeeded."""
    monkeypatch.setattr(search, "MAX_SEARCH_PAGES", 2)
    task = runs(state=TaskStateStore(), wait_for_completion=False)
    task.next_try().to_the_end()
    task.state = TaskStateStore()
    for _ in range(300):
        sandbox.place(NUMBER)
    sandbox.clock.advance(LIST_LAG)
    task.clear()

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="too many to search"):
        task.next_try().to_the_end()

    assert len(sandbox.calls) == 301


def test_the_search_goes_back_to_the_first_time(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older calls cost no requests, however long ago the run was due."""
    monkeypatch.setattr(search, "MAX_SEARCH_PAGES", 1)
    now = datetime.now(timezone.utc)
    for _ in range(150):
        sandbox.add_call("completed", created_at=now - timedelta(hours=1))
    task = runs(state=TaskStateStore(), wait_for_completion=False, due=now - timedelta(days=30), retries=2)
    sandbox.faults.next("POST", "outbound-calls$", status=500, times=2)
    stored = []
    for _ in range(2):
        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="request to place the call failed"):
            task.next_try().step("execute")
        assert task.state is not None
        stored.append(json.loads(task.state.stored["telzino_call"])["dialling"])

    task.next_try().to_the_end()

    assert len(sandbox.calls) == 151
    assert stored[0] == stored[1] is not None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 429, "retry_after": "120"}, exceptions.TelzinoRateLimitError),
        ({"status": 400}, exceptions.TelzinoBadRequestError),
        ({"status": 401}, exceptions.TelzinoCredentialsError),
        ({"status": 403}, exceptions.TelzinoPermissionError),
        ({"status": 404}, exceptions.TelzinoNotFoundError),
    ],
    ids=str,
)
def test_a_refused_post_is_accounted_for(
    sandbox: Sandbox, fault: dict[str, Any], error: type[exceptions.TelzinoError]
) -> None:
    """It has placed no call for certain, so the retry searches for none and pauses for none."""
    task = runs(state=TaskStateStore(), wait_for_completion=False, retries=1)
    sandbox.faults.next("POST", "outbound-calls$", **fault)
    with pytest.raises(error):
        task.next_try().step("execute")
    sandbox.requests.clear()

    task.next_try().to_the_end()

    assert methods(sandbox) == ["GET outbound-calls", "POST outbound-calls"]
    assert len(sandbox.calls) == 1


def test_the_same_try_again_does_not_dial_again(sandbox: Sandbox) -> None:
    """What is stored counts, not the try number. The list shows the call late."""
    task = runs(state=TaskStateStore())
    dies_after_post(task.next_try())

    record = ends(task.same_try(), sandbox)

    assert task.tries == 1
    assert [record] == sandbox.calls
    assert posts(sandbox) == 1


def test_a_running_task_whose_clear_deletes_what_is_stored_does_not_dial_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3.4 deletes it, and doesn't report the clear if the DAG run isn't reset."""
    monkeypatch.setattr(PlacingTaskInstance, "region_id", UUID(int=0), raising=False)
    task = runs(state=TaskStateStore())
    dies_after_post(task.next_try())
    task.state = TaskStateStore()

    record = ends(task.next_try(), sandbox)

    assert [record] == sandbox.calls
    assert posts(sandbox) == 1
