"""Run a task that places calls in this process, on a clock that only tests move; its processes may die.

What a process leaves behind are its requests, its task state, and its deferral. So it is enough to let it die
directly before and after each of these: in between, its death changes nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
import time_machine
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)
from requests.adapters import HTTPAdapter

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator
from airflow_provider_telzino.placing.search import CallSearch
from airflow_provider_telzino.sandbox.clock import Clock
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from tests.support.crashing_tasks import Outcome
from tests.support.placing_runs import PlacingRun, TaskRuns, TaskStateStore

DEATH_RATE = 0.04  # at each moment at which a process may die
MOST_DEATHS = 4  # of one task
UNTIL_NOTICED = (30.0, 900.0)  # seconds until Airflow notices a death
STEP_TIME = 3.0  # seconds, at most, for a request or for a write
MAY_CALL_TIME = 240.0  # seconds that `may_call` needs, at most
CALL_TIME = (120.0, 300.0)  # seconds after which a call has ended
RETRY_DELAY = 60.0  # seconds, at most
LATE = 60.0  # seconds by which a trigger fires late, at most,
OUTAGE = 40_000.0  # unless no triggerer runs for so long
MOST_STEPS = 200


class SharedClock(Clock):
    """A sandbox's clock that shows the tests' time."""

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(timezone.utc)


class DeathError(BaseException):
    """The process of a task is killed."""


@dataclass
class World:
    """The time, and the death of the process that runs now."""

    randomness: random.Random
    traveller: time_machine.Traveller
    counts: Counter[str] = field(default_factory=Counter)
    """How many processes, deaths and waits there were."""
    deaths_left: int = 0
    is_dead: bool = False

    def begin_task(self, moment: datetime) -> None:
        """Go to the moment at which a task starts."""
        self.traveller.move_to(moment, tick=False)
        self.deaths_left = MOST_DEATHS

    def begin_process(self) -> None:
        """Be another process."""
        self.is_dead = False
        self.counts["processes"] += 1

    def may_die(self) -> None:
        """Die, or not. A dead process does nothing more, whatever it still executes here."""
        if not self.is_dead and self.deaths_left and self.randomness.random() < DEATH_RATE:
            self.is_dead = True
            self.deaths_left -= 1
            self.counts["deaths"] += 1
        if self.is_dead:
            raise DeathError

    def takes(self, most: float) -> None:
        """Let a random time pass, in seconds, and perhaps die meanwhile."""
        self.sleep(self.randomness.uniform(0, most))

    def sleep(self, seconds: float) -> None:
        """Let time pass, and perhaps die meanwhile."""
        self.traveller.shift(seconds)
        self.may_die()

    def passes(self, least: float, most: float) -> None:
        """Let a random time pass, in seconds, while no process of the task runs."""
        self.traveller.shift(self.randomness.uniform(least, most))

    def passes_until(self, moment: datetime) -> None:
        """Let time pass until a moment."""
        self.traveller.shift(max(0.0, (moment - datetime.now(timezone.utc)).total_seconds()))

    def may_call(self, _contact: object, _now: pendulum.DateTime) -> bool:
        """Be a list of numbers not to call that answers slowly."""
        self.takes(MAY_CALL_TIME)
        return True


class MortalState(TaskStateStore):
    """A task state, at each access to which the process may die."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def get(self, key: str) -> Any:
        """Read it."""
        self._world.takes(STEP_TIME)
        return super().get(key)

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """Write it."""
        self._world.takes(STEP_TIME)
        super().set(key, value, retention=retention)
        self._world.takes(STEP_TIME)


@contextmanager
def mortal_processes(world: World) -> Iterator[None]:
    """Let the requests and pauses of tasks take their time on the tests' clock, and be deadly."""
    send = HTTPAdapter.send

    def send_and_perhaps_die(adapter: HTTPAdapter, request: Any, *given: Any, **options: Any) -> Any:
        if request.method == "POST":
            world.may_die()  # The task has just checked the time, so none passes.
        else:
            world.takes(STEP_TIME)
        response = send(adapter, request, *given, **options)
        try:
            world.takes(STEP_TIME)
        except DeathError:
            response.close()  # as the system does, when a process is dead
            raise
        return response

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(HTTPAdapter, "send", send_and_perhaps_die)
        patched.setattr(CallSearch, "sleep", world.sleep)
        patched.setattr(TelzinoPlaceCallOperator, "sleep", world.sleep)
        patched.setattr("tenacity.nap.time", SimpleNamespace(sleep=world.sleep))
        yield


def run_task(runs: TaskRuns, world: World, outcome: Outcome) -> None:
    """Run all tries of a task, process after process, as Airflow does; note in ``outcome`` how it ends."""
    run, method, arguments = _next_try(runs, outcome)
    for _ in range(MOST_STEPS):
        try:
            result = _run_process(run, method, arguments, world)
        except DeathError:
            outcome.deaths += 1
            world.passes(*UNTIL_NOTICED)
            # Airflow may also resume a task once more in the same try.
            if method == "execute" or world.randomness.random() < 0.5:
                run, method, arguments = _next_try(runs, outcome)
        except AirflowException as error:
            outcome.error, outcome.errors = str(error), [*outcome.errors, type(error).__name__]
            outcome.xcoms = run.ti.xcoms
            if isinstance(error, (AirflowFailException, AirflowSkipException)):
                return
            world.passes(0, RETRY_DELAY)
            run, method, arguments = _next_try(runs, outcome)
        else:
            if not isinstance(result, TaskDeferred):
                outcome.error, outcome.xcoms = None, {**run.ti.xcoms, "return_value": result}
                return
            method = result.method_name or ""
            arguments = {**(result.kwargs or {}), "event": _event(run, result, world)}
    raise AssertionError(f"The task has not ended after {MOST_STEPS} processes: {outcome}")


def _next_try(runs: TaskRuns, outcome: Outcome) -> tuple[PlacingRun, str, dict[str, Any]]:
    outcome.tries += 1
    return runs.next_try(), "execute", {}


def _run_process(run: PlacingRun, method: str, arguments: dict[str, Any], world: World) -> Any:
    world.begin_process()
    try:
        return run.step(method, **arguments)
    finally:
        world.may_die()  # before Airflow has stored how it ended


def _event(run: PlacingRun, deferral: TaskDeferred, world: World) -> Any:
    """Wait as the triggerer does, and return the event."""
    event: Any = "the moment"
    if isinstance(deferral.trigger, TelzinoCallTrigger):
        world.passes(*CALL_TIME)
        event = run.fire(deferral)
    else:
        world.counts["waits"] += 1
        world.passes_until(datetime.fromtimestamp(deferral.trigger.moment.timestamp(), timezone.utc))
    world.passes(0, OUTAGE if world.randomness.random() < 0.05 else LATE)
    return event
