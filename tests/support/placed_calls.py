"""Steps of the tests that place calls: what a task asks for, and what the sandbox has seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest import mock

import pytest
import time_machine
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_telzino.hooks.telzino import TelzinoHook
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from tests.support.placing_runs import IDENTITY, PlacingRun, TaskRuns

START = datetime(2026, 6, 9, 15, tzinfo=timezone.utc)  # a Tuesday, 11:00 in New York
NUMBER = MAGIC_NUMBERS["completed"]
LIST_LAG = 5.0  # seconds until a call appears in the sandbox's list
DELAY = timedelta(minutes=30)  # the default `redial_delay`
CALL_TIME = 60.0  # seconds that each call takes


@dataclass
class Clock:
    """The clock of the tasks, and that of the sandbox."""

    sandbox: Sandbox
    traveller: time_machine.Traveller

    def now(self) -> datetime:
        """Return the tasks' time."""
        return datetime.now(timezone.utc)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.traveller.shift(seconds)
        self.sandbox.clock.advance(seconds)

    def advance_to(self, moment: datetime) -> None:
        """Let time pass until a moment."""
        self.advance(max(0.0, (moment - self.now()).total_seconds()))


def runs(**arguments: Any) -> TaskRuns:
    """A task that places a call to the number that completes."""
    known = {
        name: arguments.pop(name)
        for name in ("retries", "state", "map_index", "due", "tries", "created")
        if name in arguments
    }
    return TaskRuns({"to_number": NUMBER} | arguments, **known)


def marked(attempt: int = 1, generation: int = 0, **identity: Any) -> dict[str, Any]:
    """The metadata of a call that the task has placed."""
    return {"airflow": {**IDENTITY, "attempt": attempt, "generation": generation, **identity}}


def placed(
    sandbox: Sandbox, status: str, *, attempt: int = 1, generation: int = 0, **fields: Any
) -> dict[str, Any]:
    """A call that an earlier process of the task has placed."""
    return sandbox.add_call(status, request_metadata=marked(attempt, generation), **fields)


def methods(sandbox: Sandbox) -> list[str]:
    """The requests so far: their methods, and the last part of their paths."""
    return [f"{each.method} {each.path.rpartition('/')[2]}" for each in sandbox.requests]


def posts(sandbox: Sandbox) -> int:
    """How many calls were requested."""
    return methods(sandbox).count("POST outbound-calls")


def ends(run: PlacingRun, sandbox: Sandbox, status: str = "completed") -> Any:
    """Run a try that defers; the call ends while the task waits. Returns what the task returns."""
    return resumes(run, call_ends(run.step("execute"), sandbox, status))


def call_ends(deferral: Any, sandbox: Sandbox, status: str = "completed") -> TaskDeferred:
    """End the call that a deferred task waits for."""
    assert isinstance(deferral, TaskDeferred)
    assert isinstance(deferral.trigger, TelzinoCallTrigger)
    sandbox.finish(deferral.trigger.call_id, status)
    return deferral


def resumes(run: PlacingRun, deferral: TaskDeferred) -> Any:
    """Run the trigger of a deferral, and resume the task in another process."""
    event = run.fire(deferral)
    return run.step(deferral.method_name or "", event=event, **(deferral.kwargs or {}))


def pauses_until(deferral: Any) -> datetime:
    """Return until when a task pauses in the triggerer."""
    assert isinstance(deferral, TaskDeferred), deferral
    assert deferral.method_name == "resume_dialling", deferral.trigger
    moment = deferral.trigger.moment  # Airflow's own trigger has it
    return datetime.fromtimestamp(moment.timestamp(), timezone.utc)


def carry_on(run: PlacingRun, result: Any, clock: Clock, outcomes: Sequence[str] = ()) -> Any:
    """Let calls end and pauses pass, until the task ends or waits for a call that has no outcome here."""
    left = list(outcomes)
    while isinstance(result, TaskDeferred):
        if isinstance(result.trigger, TelzinoCallTrigger):
            if not left:
                break
            clock.advance(CALL_TIME)
            result = resumes(run, call_ends(result, clock.sandbox, left.pop(0)))
        else:
            clock.advance_to(pauses_until(result))
            result = run.step("resume_dialling", event="the moment", **(result.kwargs or {}))
    return result


def goes(run: PlacingRun, clock: Clock, *outcomes: str) -> Any:
    """Run a try until the task ends, or until it waits for a call that has no outcome here."""
    return carry_on(run, run.step("execute"), clock, outcomes)


def dies_after_post(run: PlacingRun, step: str = "execute", **arguments: Any) -> None:
    """Run a step whose process is killed directly after its POST."""
    place_call = TelzinoHook.place_call

    def place_and_die(*given: Any, **options: Any) -> None:
        place_call(*given, **options)
        raise SystemExit

    with mock.patch.object(TelzinoHook, "place_call", place_and_die), pytest.raises(SystemExit):
        run.step(step, **arguments)


def ends_meanwhile(sandbox: Sandbox, *statuses: str, clock: Clock | None = None) -> threading.Thread:
    """End each of the task's calls as soon as it has been polled once."""

    def end() -> None:
        deadline = time.monotonic() + 20
        for number, status in enumerate(statuses or ("completed",)):
            while time.monotonic() < deadline:
                calls = sandbox.calls[number:]
                if calls and any(calls[0]["id"] in each.path for each in sandbox.requests):
                    if clock is not None:
                        clock.advance(CALL_TIME)
                    sandbox.finish(calls[0]["id"], status)
                    break
                time.sleep(0.01)

    thread = threading.Thread(target=end)
    thread.start()
    return thread


def die(*_arguments: object) -> None:
    """Be killed."""
    raise SystemExit
