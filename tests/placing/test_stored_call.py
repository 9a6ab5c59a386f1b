"""Airflow 3.3 stores the id of the call between the tries of a task."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import AGENT_ID, CALL_ID, ConnectionSetter
from tests.support.placed_calls import NUMBER, OURS, ends, methods, placed, runs
from tests.support.placing_runs import NEEDS_TASK_STATE, TaskStateStore

pytestmark = [pytest.mark.usefixtures("surroundings"), NEEDS_TASK_STATE]


def test_a_retry_needs_no_search(sandbox: Sandbox) -> None:
    """The id was stored before the task deferred, and never expires."""
    state = TaskStateStore()
    task = runs(state=state, wait_for_completion=False)
    first = task.next_try().to_the_end()
    sandbox.requests.clear()

    second = task.next_try().to_the_end()

    assert second["id"] == first["id"]
    assert methods(sandbox) == [f"GET {first['id']}"]
    assert state.writes == [("telzino_dialling", timedelta.max), ("telzino_call", timedelta.max)]
    assert json.loads(state.stored["telzino_call"]) == {"id": first["id"], "agent_id": AGENT_ID}


def test_a_stored_call_does_not_hide_a_newer_one(sandbox: Sandbox) -> None:
    """The task dialled again, and died before it could store the second call."""
    state = TaskStateStore()
    task = runs(state=state, wait_for_completion=False, fail_on=["busy"])
    first = task.next_try().to_the_end()
    sandbox.finish(first["id"], "busy")
    sandbox.clock.advance(3600)
    second = sandbox.place(NUMBER, metadata=OURS)

    answer = task.next_try().to_the_end()

    assert answer["id"] == second["id"]
    assert len(sandbox.calls) == 2
    assert json.loads(state.stored["telzino_call"])["id"] == second["id"]


@pytest.mark.parametrize("garbage", [None, '"text"', '{"id": "nonsense"}', "17"])
def test_an_unreadable_task_state_is_not_an_empty_one(
    sandbox: Sandbox, garbage: str | None, task_log: pytest.LogCaptureFixture
) -> None:
    """Even a first try then searches the list for as long as a call may be missing from it."""
    state = TaskStateStore()
    if garbage is None:
        state.broken = True
    else:
        state.stored["telzino_call"] = garbage
    call = placed(sandbox, "dialing")

    answer = runs(state=state, wait_for_completion=False).next_try().to_the_end()

    assert answer["id"] == call["id"]
    assert "Could not read this task's state" in task_log.text


def test_a_call_that_could_not_be_stored(sandbox: Sandbox, task_log: pytest.LogCaptureFixture) -> None:
    """It is placed, so the task continues."""
    state = TaskStateStore()
    state.unwritable = {"telzino_call"}

    ends(runs(state=state).next_try(), sandbox)

    assert f"Could not store call {sandbox.calls[0]['id']}" in task_log.text


def test_the_agent_of_the_stored_call_counts(connect: ConnectionSetter) -> None:
    """A task whose agent has changed meanwhile doesn't lose its call."""
    with Sandbox(agents=2, clock="manual") as two:
        connect(two)
        task = runs(state=TaskStateStore(), wait_for_completion=False)
        first = task.next_try().to_the_end()
        task.arguments["agent_id"] = two.agent_ids[1]

        second = task.next_try().to_the_end()

        assert (second["id"], second["agent_id"]) == (first["id"], AGENT_ID)
        assert len(two.calls) == 1


def test_a_stored_call_that_the_api_does_not_know(sandbox: Sandbox) -> None:
    """Another Telzino may have answered, so the task doesn't dial; the error says what to do."""
    state = TaskStateStore()
    task = runs(state=state)
    state.stored["telzino_call"] = json.dumps({"id": CALL_ID, "agent_id": AGENT_ID})
    task.tries = 1

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match=f"{CALL_ID}.*new DAG run"):
        task.next_try().step("execute")
    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match=CALL_ID):
        task.next_try().step("__fail__", error="Trigger timeout")

    assert sandbox.calls == []
