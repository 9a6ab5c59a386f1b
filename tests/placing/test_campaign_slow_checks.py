"""What a campaign asks before a call may take long: nobody is called after hours for that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from tests.support.campaign_runs import campaign, numbers
from tests.support.placed_calls import Clock, posts
from tests.support.placing_runs import NEEDS_TASK_STATE, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")

HOURS: dict[str, Any] = {"calling_hours": ("09:00", "11:01"), "timezone": "America/New_York"}  # it is 11:00
LONG = 120.0  # seconds


class SlowStore(TaskStateStore):
    """The task state of an Airflow that is slow when a task is about to dial."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        super().__init__()
        self._sleep = sleep

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """Write, two minutes later."""
        if value["dialling"]:
            self._sleep(LONG)
        super().set(key, value, retention=retention)


@NEEDS_TASK_STATE
def test_airflow_takes_long_to_confirm_that_the_task_runs(clock: Clock) -> None:
    """The hours are over when it has."""
    drive = campaign(clock, contacts=numbers(1), state=SlowStore(clock.advance), **HOURS)

    deferral = drive.step(drive.runs.next_try(), "execute")

    assert isinstance(deferral, TaskDeferred)
    assert posts(drive.sandbox) == 0


def test_may_call_takes_long(clock: Clock) -> None:
    """So are they when it returns."""

    def may_call(*_: Any) -> bool:
        clock.advance(LONG)
        return True

    drive = campaign(clock, contacts=numbers(1), may_call=may_call, **HOURS)

    deferral = drive.step(drive.runs.next_try(), "execute")

    assert isinstance(deferral, TaskDeferred)
    assert posts(drive.sandbox) == 0
