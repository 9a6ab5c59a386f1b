"""A process dies while its task calls again. Whatever runs next continues with the same attempt."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.placed_calls import (
    Clock,
    call_ends,
    carry_on,
    dies_after_post,
    goes,
    marked,
    pauses_until,
    posts,
    resumes,
    runs,
)
from tests.support.placing_runs import NEEDS_TASK_STATE, STATES, PlacingRun, TaskRuns, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")

MIN = 60.0


def redials(state: str | None, **arguments: Any) -> TaskRuns:
    """A task that calls at most twice."""
    given: dict[str, Any] = {"redial_on": ["busy", "no_answer"], "max_attempts": 2, "retries": 2}
    return runs(state=TaskStateStore() if state else None, **(given | arguments))


def pauses(run: PlacingRun, sandbox: Sandbox, clock: Clock) -> TaskDeferred:
    """Run the first attempt, which finds the line busy, and let the pause pass."""
    pause = resumes(run, call_ends(run.step("execute"), sandbox, "busy"))
    clock.advance_to(pauses_until(pause))
    assert isinstance(pause, TaskDeferred)
    return pause


@STATES
@pytest.mark.parametrize("next_run", ["retry", "same resumption again"])
def test_it_dies_after_the_post(sandbox: Sandbox, clock: Clock, state: str | None, next_run: str) -> None:
    """Airflow runs a retry; or it resumes the task once more, in the same try and with the same arguments."""
    task = redials(state)
    run = task.next_try()
    pause = pauses(run, sandbox, clock)
    dies_after_post(run, "resume_dialling", **(pause.kwargs or {}))
    clock.advance(MIN)

    if next_run == "retry":
        run = task.next_try()
        record = goes(run, clock, "completed")
    else:
        record = carry_on(run, run.step("resume_dialling", **(pause.kwargs or {})), clock, ["completed"])

    assert [call["status"] for call in sandbox.calls] == ["busy", "completed"]
    assert record == sandbox.calls[1]
    assert [each["id"] for each in run.ti.xcoms["attempts"]] == [call["id"] for call in sandbox.calls]


@STATES
@pytest.mark.parametrize("outcome", ["busy", "no_answer"])
@pytest.mark.parametrize("next_run", ["retry", "same resumption again"])
def test_its_last_call_ends_before_the_next_process_starts(
    sandbox: Sandbox, clock: Clock, state: str | None, next_run: str, outcome: str
) -> None:
    """Both attempts are used up, though no process has seen the outcome of the second."""
    task = redials(state, fail_on=[outcome])
    run = task.next_try()
    pause = pauses(run, sandbox, clock)
    dies_after_post(run, "resume_dialling", **(pause.kwargs or {}))
    sandbox.finish(sandbox.calls[-1]["id"], outcome)
    clock.advance(MIN)

    run = task.next_try() if next_run == "retry" else run
    with pytest.raises(exceptions.TelzinoOutcomeError, match=outcome):
        run.step("execute") if next_run == "retry" else run.step("resume_dialling", **(pause.kwargs or {}))

    assert posts(sandbox) == 2
    assert run.ti.xcoms["return_value"] == sandbox.calls[1]
    assert len(run.ti.xcoms["attempts"]) == 2


@STATES
def test_a_resumption_after_the_call_runs_twice(sandbox: Sandbox, clock: Clock, state: str | None) -> None:
    """Without a delay the process that takes the outcome dials at once, and dies."""
    task = redials(state, redial_delay=timedelta())
    run = task.next_try()
    deferral = call_ends(run.step("execute"), sandbox, "busy")
    event = run.fire(deferral)
    dies_after_post(run, "execute_complete", event=event, **(deferral.kwargs or {}))
    clock.advance(MIN)

    again = run.step("execute_complete", event=event, **(deferral.kwargs or {}))
    record = carry_on(run, again, clock, ["completed"])

    assert [call["status"] for call in sandbox.calls] == ["busy", "completed"]
    assert record == sandbox.calls[1]


@STATES
def test_the_first_dial_after_a_pause_runs_twice(sandbox: Sandbox, clock: Clock, state: str | None) -> None:
    """The task has waited for the calling hours, so its deferral knows of no call."""
    task = redials(state, calling_hours=("12:00", "20:00"), timezone="America/New_York")
    run = task.next_try()
    pause = run.step("execute")
    clock.advance_to(pauses_until(pause))
    dies_after_post(run, "resume_dialling", **(pause.kwargs or {}))
    for _ in range(150):
        sandbox.place()
    clock.advance(MIN)

    again = run.step("resume_dialling", **(pause.kwargs or {}))

    assert again.trigger.call_id == sandbox.calls[0]["id"]
    assert posts(sandbox) == 1


class Dying(TaskStateStore):
    """A task state whose process dies at one of its writes."""

    def __init__(self, write: int, *, written: bool) -> None:
        super().__init__()
        self.left = write
        self.written = written

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """Write, or die before or after it."""
        self.left -= 1
        if self.left == 0 and not self.written:
            raise SystemExit
        super().set(key, value, retention=retention)
        if self.left == 0:
            raise SystemExit


@NEEDS_TASK_STATE
@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("write", range(1, 6))
def test_it_dies_at_each_of_its_writes(sandbox: Sandbox, clock: Clock, write: int, written: bool) -> None:
    """The task started, was about to dial, has dialled; then the same for the second attempt."""
    state = Dying(write, written=written)
    task = redials("stored")
    task.state = state
    outcomes = ["busy", "completed"]

    for _ in range(3):
        run = task.next_try()
        try:
            record = goes(
                run, clock, *outcomes[sum(call["ended_at"] is not None for call in sandbox.calls) :]
            )
            break
        except SystemExit:
            clock.advance(MIN)

    assert state.left <= 0
    assert [call["status"] for call in sandbox.calls] == ["busy", "completed"]
    assert record == sandbox.calls[1]
    assert [each["id"] for each in run.ti.xcoms["attempts"]] == [call["id"] for call in sandbox.calls]
    marks = [call["request_metadata"] for call in sandbox.calls]
    assert marks == [marked(attempt, generation=2) for attempt in (1, 2)]


@NEEDS_TASK_STATE
def test_a_dial_that_is_unaccounted_for_is_searched_and_the_log_says_so(
    sandbox: Sandbox, clock: Clock, task_log: pytest.LogCaptureFixture
) -> None:
    """The process died between its mark and the POST: only then the task pauses for the list."""
    task = redials("stored")
    task.state = Dying(4, written=True)
    run = task.next_try()
    with pytest.raises(SystemExit):
        goes(run, clock, "busy")
    task_log.clear()
    clock.advance(MIN)
    before = clock.now()

    task.next_try().step("execute")

    assert posts(sandbox) == 2
    assert clock.now() - before >= timedelta(seconds=15)
    assert "Searching the agent's list for a call that this task may have placed before." in task_log.text
    assert "Searching again in 5 s." in task_log.text
    assert "Searching again in 10 s." in task_log.text


@NEEDS_TASK_STATE
def test_an_outcome_is_not_the_last_one_while_a_dial_is_unaccounted_for(
    sandbox: Sandbox, clock: Clock
) -> None:
    """The rules were edited meanwhile, so that the first call would have been enough."""
    task = redials("stored")
    task.state = Dying(4, written=True)
    with pytest.raises(SystemExit):
        goes(task.next_try(), clock, "busy")
    second = sandbox.place(metadata=marked(attempt=2, generation=2))
    sandbox.finish(second["id"], "completed")
    clock.advance(MIN)
    task.arguments["max_attempts"] = 1

    record = task.next_try().step("execute")

    assert record["id"] == second["id"]


@NEEDS_TASK_STATE
def test_the_task_state_has_nothing_personal(sandbox: Sandbox, clock: Clock) -> None:
    """It has ids and times only."""
    task = redials("stored", call_context="Call John.", metadata={"crm_id": "SECRET"})
    goes(task.next_try(), clock, "busy", "completed")
    assert task.state is not None

    kept = json.loads(task.state.stored["telzino_call"])

    assert set(kept) == {"started", "generation", "calls", "dialling", "expanded_at"}
    assert [set(call) for call in kept["calls"]] == [{"id", "agent_id"}] * 2
