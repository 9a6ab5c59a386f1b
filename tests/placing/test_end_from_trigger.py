"""A task that ends in the triggerer: only after an outcome that is final and good."""

from __future__ import annotations

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from tests.support.placed_calls import Clock, call_ends, pauses_until, runs
from tests.support.triggerer import FROM_3_3, Supervisor, fire
from tests.triggers.conftest import supervisor as supervisor_fixture

pytestmark = [FROM_3_3, pytest.mark.usefixtures("surroundings")]

supervisor = supervisor_fixture


def test_the_last_call_ends_the_task_with_all_attempts(
    sandbox: Sandbox, clock: Clock, supervisor: Supervisor
) -> None:
    """A worker dials again after the first one; the trigger of the second pushes what a worker would."""
    run = runs(redial_on=["busy"], end_from_trigger=True).next_try()
    deferral = call_ends(run.step("execute"), sandbox, "busy")

    event = fire(deferral.trigger)
    assert event.payload["status"] == "busy"
    assert supervisor.xcoms == {}
    pause = run.step("execute_complete", event=event.payload, **(deferral.kwargs or {}))
    clock.advance_to(pauses_until(pause))
    deferral = call_ends(run.step("resume_dialling", **(pause.kwargs or {})), sandbox, "completed")
    event = fire(deferral.trigger)

    assert type(event).__name__ == "TaskSuccessEvent"
    assert supervisor.xcoms == {
        ("wait", "return_value"): sandbox.calls[1],
        ("wait", "attempts"): [
            {name: call[name] for name in ("id", "status", "created_at")} for call in sandbox.calls
        ],
    }


@pytest.mark.parametrize("outcome", ["busy", "no_answer", "failed"])
def test_a_worker_judges_other_outcomes(sandbox: Sandbox, supervisor: Supervisor, outcome: str) -> None:
    """It calls again, skips or fails the task."""
    run = runs(redial_on=["busy"], skip_on=["busy", "no_answer"], end_from_trigger=True).next_try()

    event = fire(call_ends(run.step("execute"), sandbox, outcome).trigger)

    assert event.payload["status"] == outcome
    assert supervisor.xcoms == {}


def test_without_xcoms_it_ends_there_too(sandbox: Sandbox, supervisor: Supervisor) -> None:
    """``do_xcom_push=False`` is about the attempts, too."""
    run = runs(end_from_trigger=True, do_xcom_push=False).next_try()

    event = fire(call_ends(run.step("execute"), sandbox, "completed").trigger)

    assert type(event).__name__ == "TaskSuccessEvent"
    assert supervisor.xcoms == {}
