"""The task is cleared after it has finished."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_telzino.placing.placer import CallPlacer
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from tests.support.placed_calls import LIST_LAG, NUMBER, die, ends, runs
from tests.support.placing_runs import STATES, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")


@STATES
@pytest.mark.parametrize("reattach", [True, False])
def test_reattach(sandbox: Sandbox, state: str | None, reattach: bool) -> None:
    """``True`` pushes the same record again; ``False`` calls the person again."""
    task = runs(reattach=reattach, retries=2, state=TaskStateStore() if state else None)
    first = ends(task.next_try(), sandbox)
    sandbox.clock.advance(3600)
    task.clear()
    run = task.next_try()

    second = run.step("execute") if reattach else ends(run, sandbox)

    assert (second == first) is reattach
    assert len(sandbox.calls) == (1 if reattach else 2)


@STATES
def test_without_reattach_a_crash_still_dials_once(sandbox: Sandbox, state: str | None) -> None:
    """The second call has ended well by the time of the retry: it is not placed a third time."""
    task = runs(reattach=False, retries=2, state=TaskStateStore() if state else None)
    ends(task.next_try(), sandbox)
    sandbox.clock.advance(3600)
    task.clear()
    assert isinstance(task.next_try().step("execute"), TaskDeferred)
    sandbox.finish(sandbox.calls[-1]["id"])
    sandbox.clock.advance(60)

    record = task.next_try().step("execute")

    assert record == sandbox.calls[1]
    assert len(sandbox.calls) == 2


@STATES
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 500, "after_commit": True}], ids=str)
def test_without_reattach_the_retry_is_for_the_call_that_the_clear_asked_for(
    sandbox: Sandbox, state: str | None, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try after the clear dies during its POST: the record of the old call is not the result."""
    task = runs(reattach=False, retries=2, state=TaskStateStore() if state else None)
    first = ends(task.next_try(), sandbox)
    sandbox.clock.advance(3600)
    task.clear()
    sandbox.faults.next("POST", "outbound-calls$", **fault)
    with monkeypatch.context() as patched:  # the process dies before it searches
        patched.setattr(CallPlacer, "_find_lost", die)
        with pytest.raises(SystemExit):
            task.next_try().step("execute")
    sandbox.clock.advance(60)

    record = ends(task.next_try(), sandbox)

    assert record["id"] != first["id"]
    assert len(sandbox.calls) == 2


def test_a_call_to_another_number_is_logged(sandbox: Sandbox, task_log: pytest.LogCaptureFixture) -> None:
    """The number was corrected before the clear; the log contains neither number."""
    task = runs()
    first = ends(task.next_try(), sandbox)
    sandbox.clock.advance(60)
    task.clear()
    assert task.next_try().step("execute") == first
    assert "another number" not in task_log.text
    task.arguments["to_number"] = MAGIC_NUMBERS["busy"]
    task.clear()

    assert task.next_try().step("execute") == first

    assert f"Call {first['id']} went to another number than the task has now." in task_log.text
    assert NUMBER not in task_log.text
    assert MAGIC_NUMBERS["busy"] not in task_log.text
    task.arguments["reattach"] = False
    task.clear()
    assert ends(task.next_try(), sandbox)["to_number"] == MAGIC_NUMBERS["busy"]


def test_without_reattach_a_live_call_is_continued(sandbox: Sandbox) -> None:
    """Nobody is called twice at the same time."""
    task = runs(reattach=False)
    task.next_try().step("execute")
    sandbox.clock.advance(LIST_LAG)
    task.clear()

    record = ends(task.next_try(), sandbox)

    assert [record] == sandbox.calls
