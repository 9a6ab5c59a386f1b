"""A campaign calls nobody before the agent's list is sure to show what was placed before."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from tests.support.campaign_runs import campaign, numbers
from tests.support.placed_calls import Clock
from tests.support.placing_runs import STATES, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")

REFUSED = {"outcome": "refused", "total": 1, "ended": 0, "missing": 0, "counts": {}, "error": "TelzinoError"}


@STATES
def test_a_campaign_that_resumes_too_soon(clock: Clock, state: str | None) -> None:
    """Its trigger was refused at once, when the list does not show the calls that were just placed."""
    stored = TaskStateStore() if state else None
    drive = campaign(clock, contacts=numbers(3), redial_on=(), state=stored)
    run = drive.runs.next_try()
    deferral = drive.step(run, "execute")
    assert isinstance(deferral, TaskDeferred)

    clock.advance(1.0)
    drive.carry_on(run, drive.step(run, "resume", event=REFUSED, **(deferral.kwargs or {})))

    assert set(drive.placements().values()) == {1}


@STATES
def test_a_contact_that_a_dead_process_has_called_and_the_next_one_does_not_know(
    clock: Clock, state: str | None
) -> None:
    """A function returns it to the worker that dies, not to the next one, and again to the one after that."""
    stored = TaskStateStore() if state else None
    first, second = numbers(2)
    people = [first]
    drive = campaign(clock, contacts=lambda: list(people), redial_on=(), retries=9, state=stored)
    drive.step(drive.runs.next_try(), "execute")
    clock.advance(10.0)
    people[:] = [first, second]
    drive.step(drive.runs.next_try(), "execute")  # it dies before it defers
    people[:] = [first]
    run = drive.runs.next_try()
    deferral = drive.step(run, "execute")
    assert isinstance(deferral, TaskDeferred)

    clock.advance(1.0)
    people[:] = [first, second]
    drive.carry_on(run, drive.step(run, "resume", event=REFUSED, **(deferral.kwargs or {})))

    assert set(drive.placements().values()) == {1}
