"""A campaign dials no more once a person has marked it, before Airflow stops its process."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from tests.support.campaign_runs import campaign, numbers
from tests.support.placed_calls import Clock, posts
from tests.support.placing_runs import IDENTITY

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.mark.parametrize("state", ["success", "failed", "restarting"])
def test_a_task_that_was_marked_dials_no_more(clock: Clock, state: str) -> None:
    """Airflow still accepts what it stores, and stops its process some seconds later."""
    drive = campaign(clock, contacts=numbers(6), max_active_calls=2, redial_on=(), retries=1)
    run = drive.runs.next_try()
    run.ti.get_task_states = lambda **_: {IDENTITY["run_id"]: {IDENTITY["task_id"]: state}}  # type: ignore[attr-defined]

    with pytest.raises(exceptions.TelzinoError, match="marked or cleared"):
        drive.step(run, "execute")

    assert posts(drive.sandbox) == 0


def test_no_call_is_placed_if_airflow_cannot_tell_whether_the_task_runs(clock: Clock) -> None:
    """Its API is unavailable; a retry continues."""

    def unavailable(**_: Any) -> Any:
        raise RuntimeError("API_SERVER_ERROR")

    drive = campaign(clock, contacts=numbers(6), redial_on=(), retries=1)
    run = drive.runs.next_try()
    run.ti.get_task_states = unavailable  # type: ignore[attr-defined]

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="API is unavailable"):
        drive.step(run, "execute")

    assert posts(drive.sandbox) == 0
    assert len(drive.to_the_end()) == 6
