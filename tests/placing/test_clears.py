"""The task is cleared after it has finished."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_telzino.exceptions import TelzinoOutcomeError
from airflow_provider_telzino.placing.placer import CallPlacer
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from tests.support.placed_calls import (
    CALL_TIME,
    DELAY,
    LIST_LAG,
    NUMBER,
    Clock,
    call_ends,
    carry_on,
    die,
    ends,
    goes,
    methods,
    pauses_until,
    posts,
    resumes,
    runs,
)
from tests.support.placing_runs import NEEDS_TASK_STATE, STATES, TaskStateStore

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
def test_a_call_that_continued_over_a_clear_is_redialled_after_the_delay(
    sandbox: Sandbox, clock: Clock, state: str | None
) -> None:
    """Also if it seems to have ended before the clear, since Telzino's clock is two minutes behind."""
    clock.traveller.shift(120)
    task = runs(redial_on=["busy"], max_attempts=2, state=TaskStateStore() if state else None)
    task.next_try().step("execute")
    clock.advance(20)
    task.clear()
    run = task.next_try()
    deferral = run.step("execute")
    clock.advance(CALL_TIME)

    pause = resumes(run, call_ends(deferral, sandbox, "busy"))

    assert len(sandbox.calls) == 1
    assert pauses_until(pause) == clock.now() - timedelta(seconds=120) + DELAY
    carry_on(run, pause, clock, ["busy"])
    assert len(sandbox.calls) == 2


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


@STATES
@pytest.mark.parametrize("reattach", [True, False])
@pytest.mark.parametrize("outcomes", [["busy", "no_answer"], ["busy", "failed"]], ids=str)
def test_a_clear_after_a_bad_outcome_dials_again_from_attempt_1(
    sandbox: Sandbox, clock: Clock, state: str | None, reattach: bool, outcomes: list[str]
) -> None:
    """Both ``redial_on`` and ``fail_on`` are bad; all attempts are available again."""
    task = runs(
        redial_on=["busy", "no_answer"],
        max_attempts=2,
        reattach=reattach,
        state=TaskStateStore() if state else None,
    )
    run = task.next_try()
    with contextlib.suppress(TelzinoOutcomeError):
        goes(run, clock, *outcomes)
    clock.advance(3600)
    task.clear()
    cleared = task.next_try()

    record = goes(cleared, clock, "no_answer", "completed")

    assert record == sandbox.calls[3]
    assert len(sandbox.calls) == 4
    marks = [call["request_metadata"]["airflow"] for call in sandbox.calls]
    assert [(mark["generation"], mark["attempt"]) for mark in marks] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert [each["id"] for each in cleared.ti.xcoms["attempts"]] == [call["id"] for call in sandbox.calls[2:]]


@STATES
def test_a_clear_after_a_good_outcome_pushes_all_attempts_again(
    sandbox: Sandbox, clock: Clock, state: str | None
) -> None:
    """The record and the XCom ``attempts`` are those of the time before."""
    task = runs(redial_on=["busy"], state=TaskStateStore() if state else None)
    first = task.next_try()
    record = goes(first, clock, "busy", "completed")
    clock.advance(3600)
    task.clear()
    cleared = task.next_try()

    assert goes(cleared, clock) == record

    assert cleared.ti.xcoms == first.ti.xcoms
    assert posts(sandbox) == 2


@STATES
def test_a_call_that_was_live_at_the_clear_belongs_to_the_new_round(
    sandbox: Sandbox, clock: Clock, state: str | None
) -> None:
    """It is continued, and its outcome is followed by the next attempt, as ever."""
    task = runs(redial_on=["busy"], max_attempts=2, state=TaskStateStore() if state else None)
    task.next_try().step("execute")
    clock.advance(60)
    task.clear()
    cleared = task.next_try()

    record = goes(cleared, clock, "busy", "busy")

    assert record == sandbox.calls[-1]
    assert len(sandbox.calls) == 2


@STATES
@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_a_clear_dials_the_new_number(
    sandbox: Sandbox, clock: Clock, state: str | None, outcome: str, task_log: pytest.LogCaptureFixture
) -> None:
    """The number was corrected before the clear, whatever came of the old one."""
    task = runs(state=TaskStateStore() if state else None)
    with contextlib.suppress(TelzinoOutcomeError):
        goes(task.next_try(), clock, outcome)
    clock.advance(3600)
    task.arguments["to_number"] = MAGIC_NUMBERS["busy"]
    task.clear()
    cleared = task.next_try()

    record = goes(cleared, clock, "completed")

    assert record["to_number"] == MAGIC_NUMBERS["busy"]
    assert len(sandbox.calls) == 2
    assert [each["id"] for each in cleared.ti.xcoms["attempts"]] == [record["id"]]
    assert NUMBER not in task_log.text
    assert MAGIC_NUMBERS["busy"] not in task_log.text


@NEEDS_TASK_STATE
def test_a_clear_with_a_new_number_needs_no_search(sandbox: Sandbox, clock: Clock) -> None:
    """All calls of the task are known, and none is unaccounted for."""
    task = runs(state=TaskStateStore())
    goes(task.next_try(), clock, "completed")
    clock.advance(3600)
    task.arguments["to_number"] = MAGIC_NUMBERS["busy"]
    task.clear()
    sandbox.requests.clear()

    task.next_try().step("execute")

    assert methods(sandbox) == [f"GET {sandbox.calls[0]['id']}", "POST outbound-calls"]


def test_without_reattach_a_live_call_is_continued(sandbox: Sandbox) -> None:
    """Nobody is called twice at the same time."""
    task = runs(reattach=False)
    task.next_try().step("execute")
    sandbox.clock.advance(LIST_LAG)
    task.clear()

    record = ends(task.next_try(), sandbox)

    assert [record] == sandbox.calls
