"""A task no longer dials once a person has marked or cleared it, before Airflow stops its process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.campaign_runs import campaign, numbers
from tests.support.placed_calls import Clock, ends, posts, runs
from tests.support.placing_runs import IDENTITY, PlacingRun

pytestmark = pytest.mark.usefixtures("surroundings")

Begin = Callable[[Clock], PlacingRun]

BOTH = pytest.mark.parametrize(
    "begin",
    [
        pytest.param(lambda _: runs(retries=1).next_try(), id="single call"),
        pytest.param(
            lambda clock: campaign(clock, contacts=numbers(6), retries=1).runs.next_try(), id="campaign"
        ),
    ],
)


@BOTH
@pytest.mark.parametrize("state", ["running", "scheduled", "queued", None])
def test_a_task_that_runs_dials(clock: Clock, begin: Begin, state: str | None) -> None:
    """Under ``dag.test()``, Airflow 2.11 has it as one that is still to run."""
    run = begin(clock)
    run.ti.current_state = lambda: state  # type: ignore[attr-defined]

    run.step("execute")

    assert posts(clock.sandbox) > 0


@BOTH
@pytest.mark.parametrize("state", ["success", "failed", "restarting"])
def test_a_task_that_was_marked_dials_no_more(clock: Clock, begin: Begin, state: str) -> None:
    """Airflow still accepts what it stores, and stops its process some seconds later."""
    run = begin(clock)
    run.ti.get_task_states = lambda **_: {IDENTITY["run_id"]: {IDENTITY["task_id"]: state}}  # type: ignore[attr-defined]

    with pytest.raises(exceptions.TelzinoError, match="marked or cleared"):
        run.step("execute")

    assert posts(clock.sandbox) == 0


@BOTH
def test_no_call_is_placed_if_airflow_cannot_tell_whether_the_task_runs(clock: Clock, begin: Begin) -> None:
    """Its API is unavailable."""

    def unavailable(**_: Any) -> Any:
        raise RuntimeError("API_SERVER_ERROR")

    run = begin(clock)
    run.ti.get_task_states = unavailable  # type: ignore[attr-defined]

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="API is unavailable"):
        run.step("execute")

    assert posts(clock.sandbox) == 0


def test_a_retry_dials_once_airflow_can_tell(clock: Clock, sandbox: Sandbox) -> None:
    """Nothing was placed, so the next try places the call."""
    task = runs(retries=1)
    run = task.next_try()
    run.ti.get_task_states = lambda **_: 1 / 0  # type: ignore[attr-defined]
    with pytest.raises(exceptions.TelzinoUnknownPlacementError):
        run.step("execute")

    record = ends(task.next_try(), sandbox)

    assert sandbox.calls == [record]
