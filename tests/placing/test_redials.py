"""The task calls again whoever it didn't reach: a worker for each attempt, and none in between."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.operators.call import SHORTEST_PAUSE
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.placed_calls import (
    CALL_TIME,
    DELAY,
    LIST_LAG,
    START,
    Clock,
    call_ends,
    carry_on,
    ends_meanwhile,
    goes,
    marked,
    methods,
    pauses_until,
    placed,
    posts,
    resumes,
    runs,
)
from tests.support.placing_runs import NEEDS_TASK_STATE, STATES, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")

REDIALS: dict[str, Any] = {"redial_on": ["no_answer", "busy"]}


def ids_and_statuses(attempts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Of the XCom ``attempts``."""
    return [(each["id"], each["status"]) for each in attempts]


@STATES
def test_it_calls_until_somebody_answers(sandbox: Sandbox, clock: Clock, state: str | None) -> None:
    """Busy, no answer, then somebody is there: three calls, each half an hour after the one before."""
    run = runs(**REDIALS, state=TaskStateStore() if state else None).next_try()

    record = goes(run, clock, "busy", "no_answer", "completed")

    assert [call["status"] for call in sandbox.calls] == ["busy", "no_answer", "completed"]
    assert record == sandbox.calls[-1]
    assert run.ti.xcoms["attempts"] == [
        {name: call[name] for name in ("id", "status", "created_at")} for call in sandbox.calls
    ]
    for earlier, later in zip(sandbox.calls, sandbox.calls[1:], strict=False):
        assert later["created_at"] > earlier["ended_at"]
    assert [call["request_metadata"] for call in sandbox.calls] == [marked(attempt=n) for n in (1, 2, 3)]


def test_it_needs_one_worker_for_each_attempt(sandbox: Sandbox, clock: Clock) -> None:
    """In between it waits in the triggerer: for the call, and until ``redial_delay`` after its end."""
    run = runs(**REDIALS).next_try()

    deferral = run.step("execute")
    clock.advance(CALL_TIME)
    pause = resumes(run, call_ends(deferral, sandbox, "busy"))

    assert [type(each.trigger).__name__ for each in run.deferrals] == [
        "TelzinoCallTrigger",
        "DateTimeTrigger",
    ]
    assert abs(pauses_until(pause) - START - timedelta(seconds=CALL_TIME) - DELAY) < timedelta(seconds=5)
    assert posts(sandbox) == 1


@NEEDS_TASK_STATE
def test_an_ordinary_redial_searches_nothing(sandbox: Sandbox, clock: Clock) -> None:
    """Airflow's task state has all that the task has dialled: no list is read, and nothing pauses."""
    run = runs(**REDIALS, state=TaskStateStore()).next_try()
    paused = carry_on(run, run.step("execute"), clock, ["busy"])
    before = clock.now()

    assert isinstance(paused, TaskDeferred)
    first, second = sandbox.calls
    assert methods(sandbox) == [
        "GET outbound-calls",  # the very first try reads a page
        "POST outbound-calls",
        *[f"GET {first['id']}"] * 4,  # by the trigger, by the worker that it resumes, and by the redial
        "POST outbound-calls",
    ]
    assert second["status"] == "queued"
    assert clock.now() - before < timedelta(seconds=5)


def test_before_airflow_3_3_a_redial_reads_the_newest_part_of_the_list(
    sandbox: Sandbox, clock: Clock
) -> None:
    """Once and without a pause, since Airflow may have resumed the task twice."""
    for _ in range(250):
        sandbox.place()
    clock.advance(3_600)
    run = runs(**REDIALS).next_try()
    goes(run, clock, "busy")
    lists = [method for method in methods(sandbox) if method == "GET outbound-calls"]

    assert len(lists) == 2
    assert len(sandbox.calls) == 252


def test_no_attempt_is_left(sandbox: Sandbox, clock: Clock) -> None:
    """The last outcome counts: by default it lets the task succeed."""
    run = runs(**REDIALS, max_attempts=2).next_try()

    record = goes(run, clock, "busy", "no_answer")

    assert record == sandbox.calls[-1]
    assert ids_and_statuses(run.ti.xcoms["attempts"]) == [
        (call["id"], call["status"]) for call in sandbox.calls
    ]
    assert len(sandbox.calls) == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"fail_on": ["busy"]}, exceptions.TelzinoBusyError),
        ({"skip_on": ["busy"]}, AirflowSkipException),
        ({"fail_on": ["busy"], "soft_fail": True}, AirflowSkipException),
    ],
    ids=str,
)
def test_the_last_call_is_judged(
    sandbox: Sandbox, clock: Clock, arguments: dict[str, Any], error: type[Exception]
) -> None:
    """Not those before it, though their outcome is in ``fail_on`` or ``skip_on``, too."""
    task = runs(**REDIALS, max_attempts=2, **arguments)
    run = task.next_try()

    with pytest.raises(error):
        goes(run, clock, "busy", "busy")
    good = goes(
        runs(**REDIALS, max_attempts=2, **arguments, map_index=1).next_try(), clock, "busy", "completed"
    )

    assert good == sandbox.calls[-1]
    assert run.ti.xcoms["return_value"] == sandbox.calls[1]
    assert len(sandbox.calls) == 4


def test_each_outcome_has_its_delay(sandbox: Sandbox, clock: Clock) -> None:
    """Those that aren't named have the default one."""
    delays = {"busy": timedelta(minutes=5)}
    busy, unanswered = (runs(**REDIALS, redial_delay=delays, map_index=index).next_try() for index in (0, 1))

    waits = []
    for run, outcome in ((busy, "busy"), (unanswered, "no_answer")):
        ended = call_ends(run.step("execute"), sandbox, outcome)
        waits.append(pauses_until(resumes(run, ended)) - clock.now())

    assert [round(wait / timedelta(minutes=1)) for wait in waits] == [5, 30]


def test_without_a_delay_the_same_worker_dials_again(sandbox: Sandbox) -> None:
    """It has resumed anyway."""
    run = runs(**REDIALS, redial_delay=timedelta()).next_try()

    deferral = resumes(run, call_ends(run.step("execute"), sandbox, "busy"))

    assert deferral.method_name == "execute_complete"
    assert posts(sandbox) == 2


def test_a_pause_is_never_so_short_that_airflow_takes_the_task_for_dead(
    sandbox: Sandbox, clock: Clock
) -> None:
    """It may, if a task resumes within seconds of its deferral."""
    run = runs(**REDIALS, redial_delay=timedelta(seconds=1)).next_try()

    pause = resumes(run, call_ends(run.step("execute"), sandbox, "busy"))

    assert pauses_until(pause) - clock.now() > SHORTEST_PAUSE - timedelta(seconds=2)


@STATES
def test_on_a_worker(
    sandbox: Sandbox, clock: Clock, state: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``deferrable=False`` waits there, for the calls and between them."""
    run = runs(**REDIALS, deferrable=False, state=TaskStateStore() if state else None).next_try()

    thread = ends_meanwhile(sandbox, "busy", "no_answer", "completed", clock=clock)
    record = run.step("execute")
    thread.join()

    assert [call["status"] for call in sandbox.calls] == ["busy", "no_answer", "completed"]
    assert record == sandbox.calls[-1]
    assert run.deferrals == []
    assert len(run.ti.xcoms["attempts"]) == 3
    assert clock.now() - START >= 2 * DELAY


def test_the_kwargs_of_a_deferral_are_dropped(sandbox: Sandbox, clock: Clock) -> None:
    """``dag.test()`` does so on 3.3.2: the task finds its calls in the list."""
    run = runs(**REDIALS).next_try()
    event = run.fire(call_ends(run.step("execute"), sandbox, "busy"))
    clock.advance(CALL_TIME)
    pause = run.step("execute_complete", event=event)
    clock.advance_to(pauses_until(pause))
    deferral = run.step("resume_dialling", event="the moment")
    clock.advance(CALL_TIME)

    event = run.fire(call_ends(deferral, sandbox, "completed"))
    record = run.step("execute_complete", event=event)

    assert record == sandbox.calls[-1]
    assert ids_and_statuses(run.ti.xcoms["attempts"]) == [
        (call["id"], call["status"]) for call in sandbox.calls
    ]
    assert [call["status"] for call in sandbox.calls] == ["busy", "completed"]


def test_the_kwargs_are_dropped_and_the_sandbox_is_hours_ahead(sandbox: Sandbox, clock: Clock) -> None:
    """``airflow dags test`` beside a sandbox that runs fast: the task has waited, and need not wait again."""
    run = runs(**REDIALS).next_try()
    deferral = run.step("execute")
    sandbox.clock.advance(5 * 3_600)
    event = run.fire(call_ends(deferral, sandbox, "busy"))
    clock.advance(CALL_TIME)
    pause = run.step("execute_complete", event=event)

    clock.advance_to(pauses_until(pause))
    deferral = run.step("resume_dialling", event="the moment")

    assert deferral.method_name == "execute_complete"
    assert posts(sandbox) == 2


def test_every_outcome_reaches_xcom_even_if_the_redial_fails(sandbox: Sandbox, clock: Clock) -> None:
    """The task knows the first outcome, and is refused when it is due to dial again."""
    run = runs(**REDIALS).next_try()
    pause = resumes(run, call_ends(run.step("execute"), sandbox, "busy"))
    clock.advance_to(pauses_until(pause))
    sandbox.faults.next("GET", "outbound-calls", status=403)

    with pytest.raises(exceptions.TelzinoPermissionError):
        run.step("resume_dialling", event="the moment", **(pause.kwargs or {}))

    assert ids_and_statuses(run.ti.xcoms["attempts"]) == [(sandbox.calls[0]["id"], "busy")]


@STATES
def test_a_list_with_an_outdated_status(sandbox: Sandbox, clock: Clock, state: str | None) -> None:
    """It says that the first call still rings, though the task has seen its end."""
    run = runs(**REDIALS, state=TaskStateStore() if state else None).next_try()
    pause = resumes(run, call_ends(run.step("execute"), sandbox, "no_answer"))
    stale = sandbox.calls[0] | {"status": "dialing", "ended_at": None}
    page = {"data": [stale], "pagination": {"hasNext": False}}
    sandbox.faults.next("GET", "outbound-calls$", raw_body=json.dumps(page).encode())

    record = carry_on(run, pause, clock, ["completed"])

    assert [call["status"] for call in sandbox.calls] == ["no_answer", "completed"]
    assert record == sandbox.calls[1]


def test_a_record_that_lags_behind_the_list(sandbox: Sandbox, clock: Clock) -> None:
    """The list already has the call, so the task continues with it."""
    placed(sandbox, "dialing")
    clock.advance(LIST_LAG)
    sandbox.faults.next("GET", "outbound-calls/", status=404)
    run = runs(**REDIALS, tries=1).next_try()

    record = goes(run, clock, "completed")

    assert [record] == sandbox.calls


def test_the_log_says_when_and_why_it_calls_again(
    sandbox: Sandbox, clock: Clock, task_log: pytest.LogCaptureFixture
) -> None:
    """And never whom."""
    goes(runs(**REDIALS).next_try(), clock, "busy", "completed")

    busy, completed = sandbox.calls
    log = task_log.text
    assert "Placing a call: the task has placed no call yet." in log
    assert "Calling nobody until 2026-06-09T15:31:0" in log
    assert f"call {busy['id']} ended with busy; attempt 2 of 3" in log
    assert f"Placing a call: call {busy['id']} ended with busy; attempt 2 of 3." in log
    assert f"Placed call {completed['id']}." in log
    assert completed["to_number"] not in log


def test_redials_need_an_outcome() -> None:
    """A task that doesn't wait has none."""
    with pytest.raises(exceptions.TelzinoConfigurationError, match="wait_for_completion") as caught:
        runs(**REDIALS, wait_for_completion=False).task()

    assert "task place" in str(caught.value)
