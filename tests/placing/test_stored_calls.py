"""Airflow 3.3 keeps what a task has dialled between its tries: one record, intent first and then the call."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from tests.conftest import AGENT_ID, CALL_ID, ConnectionSetter
from tests.support.placed_calls import NUMBER, START, ends, marked, methods, placed, posts, runs
from tests.support.placing_runs import NEEDS_TASK_STATE, TaskStateStore

pytestmark = [pytest.mark.usefixtures("surroundings"), NEEDS_TASK_STATE]

KEY = "telzino_call"


def stored(*calls: tuple[str, str], **fields: Any) -> str:
    """What a task has stored of its calls."""
    return json.dumps(
        {
            "started": START.isoformat(),
            "generation": 0,
            "calls": [{"id": call, "agent_id": agent} for call, agent in calls],
            "dialling": None,
            **fields,
        }
    )


def test_a_retry_needs_no_search(sandbox: Sandbox) -> None:
    """The call was stored before the task deferred, and never expires."""
    state = TaskStateStore()
    task = runs(state=state, wait_for_completion=False)
    first = task.next_try().to_the_end()
    sandbox.requests.clear()

    second = task.next_try().to_the_end()

    assert second["id"] == first["id"]
    assert methods(sandbox) == [f"GET {first['id']}"]
    assert set(state.writes) == {(KEY, timedelta.max)}
    kept = json.loads(state.stored[KEY])
    assert kept["calls"] == [{"id": first["id"], "agent_id": AGENT_ID}]
    assert (kept["dialling"], kept["generation"]) == (None, 0)


def test_it_is_one_record_in_two_steps(sandbox: Sandbox) -> None:
    """Before the POST it says that the task is about to dial, and by which agent; after it the call."""
    steps = []

    class Recording(TaskStateStore):
        def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
            steps.append((value["dialling"] and value["dialling"]["agent_id"], len(value["calls"])))
            super().set(key, value, retention=retention)

    runs(state=Recording(), wait_for_completion=False).next_try().to_the_end()

    assert steps == [(None, 0), (AGENT_ID, 0), (None, 1)]


def test_a_stored_call_does_not_hide_a_newer_one(sandbox: Sandbox) -> None:
    """The task was about to dial again, and died before it could store the second call."""
    first = placed(sandbox, "busy")
    state = TaskStateStore()
    state.stored[KEY] = stored(
        (first["id"], AGENT_ID), dialling={"since": START.isoformat(), "agent_id": AGENT_ID}
    )
    second = sandbox.place(NUMBER, metadata=marked(attempt=2))
    task = runs(state=state, wait_for_completion=False, tries=1)

    answer = task.next_try().to_the_end()

    assert answer["id"] == second["id"]
    assert posts(sandbox) == 0
    assert [call["id"] for call in json.loads(state.stored[KEY])["calls"]] == [first["id"], second["id"]]


def test_an_agent_that_changes_while_a_dial_is_unaccounted_for(connect: ConnectionSetter) -> None:
    """The list of the agent that was about to dial is searched, not that of the new one."""
    with Sandbox(agents=2, clock="manual") as two:
        connect(two)
        state = TaskStateStore()
        state.stored[KEY] = stored(dialling={"since": START.isoformat(), "agent_id": AGENT_ID})
        call = two.place(NUMBER, metadata=marked())
        task = runs(state=state, wait_for_completion=False, agent_id=two.agent_ids[1], tries=1)

        answer = task.next_try().to_the_end()

        assert (answer["id"], answer["agent_id"]) == (call["id"], AGENT_ID)
        assert len(two.calls) == 1


GARBAGE = [
    '"text"',
    "17",
    '{"id": "nonsense"}',
    stored(("nonsense", AGENT_ID)),
    stored((CALL_ID, "nonsense")),
    stored(calls=[17]),
    stored(dialling="now"),
    stored(dialling={}),
    stored(dialling={"since": "yesterday"}),
    stored(started=None),
]


@pytest.mark.parametrize("garbage", [None, *GARBAGE])
def test_an_unreadable_task_state_is_not_an_empty_one(
    sandbox: Sandbox, garbage: str | None, task_log: pytest.LogCaptureFixture
) -> None:
    """Even a first try then searches the list for as long as a call may be missing from it."""
    state = TaskStateStore()
    if garbage is None:
        state.broken = True
    else:
        state.stored[KEY] = garbage
    call = placed(sandbox, "dialing")

    answer = runs(state=state, wait_for_completion=False).next_try().to_the_end()

    assert answer["id"] == call["id"]
    assert "Could not read this task's state" in task_log.text


def test_a_call_that_could_not_be_stored(sandbox: Sandbox, task_log: pytest.LogCaptureFixture) -> None:
    """It is placed, so the task continues."""

    class Breaking(TaskStateStore):
        def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
            super().set(key, value, retention=retention)
            self.broken = value["dialling"] is not None

    record = ends(runs(state=Breaking()).next_try(), sandbox)

    assert [record] == sandbox.calls
    assert "Could not store the calls of this task" in task_log.text


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
    state.stored[KEY] = stored((CALL_ID, AGENT_ID))
    task = runs(state=state, tries=1)

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match=f"{CALL_ID}.*docs/placing.md"):
        task.next_try().step("execute")
    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match=CALL_ID):
        task.next_try().step("__fail__", error="Trigger timeout")

    assert sandbox.calls == []


@pytest.mark.parametrize(
    "foreign",
    [
        {"request_metadata": marked(run_id="manual__2")},
        {"request_metadata": marked(task_id="other")},
        {"request_metadata": marked(map_index=3)},
        {"request_metadata": {"crm_id": 5}},
        {"request_metadata": None},
    ],
    ids=str,
)
def test_a_stored_call_of_another_task_is_not_believed(sandbox: Sandbox, foreign: dict[str, Any]) -> None:
    """A Telzino that was restored, or a sandbox with the same seed, gives ids out again: the list counts."""
    other = sandbox.add_call("completed", **foreign)
    own = placed(sandbox, "dialing")
    state = TaskStateStore()
    state.stored[KEY] = stored((other["id"], AGENT_ID))
    task = runs(state=state, wait_for_completion=False, tries=1)

    answer = task.next_try().to_the_end()

    assert answer["id"] == own["id"]
    assert json.loads(state.stored[KEY])["calls"] == [{"id": own["id"], "agent_id": AGENT_ID}]


def test_a_retry_whose_number_has_changed_continues_with_its_call(
    sandbox: Sandbox, task_log: pytest.LogCaptureFixture
) -> None:
    """Only a clear dials the new number; the log contains neither."""
    task = runs(state=TaskStateStore(), wait_for_completion=False)
    first = task.next_try().to_the_end()
    task.arguments["to_number"] = MAGIC_NUMBERS["busy"]

    second = task.next_try().to_the_end()

    assert second["id"] == first["id"]
    assert f"Call {first['id']} went to another number than the task has now." in task_log.text
    assert NUMBER not in task_log.text
    assert MAGIC_NUMBERS["busy"] not in task_log.text
