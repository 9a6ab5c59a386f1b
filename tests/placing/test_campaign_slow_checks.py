"""What a campaign asks before a call may take long: nobody is called after hours for that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_telzino.hooks.access_token import AccessToken
from airflow_provider_telzino.placing import wave
from tests.support.campaign_runs import campaign, numbers
from tests.support.placed_calls import Clock, posts
from tests.support.placing_runs import NEEDS_TASK_STATE, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")

HOURS: dict[str, Any] = {"calling_hours": ("09:00", "11:01"), "timezone": "America/New_York"}  # it is 11:00
LONG = 120.0  # seconds
SOON = 0.3  # seconds, longer than a confirmation counts


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


def test_a_token_takes_long_while_another_contact_is_checked(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was confirmed for the one, meanwhile, says nothing of the other, whose hours are over."""
    in_new_york, in_chicago = numbers(2)
    get, others_turn = AccessToken.get, threading.Event()

    def may_call(contact: Any, _: Any) -> bool:
        if contact["to_number"] == in_chicago:
            clock.advance(LONG)
            time.sleep(1.5 * SOON)  # no test moves the monotonic clock
        return True

    def slow(token: AccessToken, *arguments: Any, **options: Any) -> str:
        if threading.current_thread().name == "telzino-dial_0":
            others_turn.wait(10)
        elif threading.current_thread().name == "telzino-dial_1":
            others_turn.set()
        return get(token, *arguments, **options)

    monkeypatch.setattr(AccessToken, "get", slow)
    monkeypatch.setattr(wave, "MAX_SEND_DELAY", SOON)
    contacts = [in_new_york, {"to_number": in_chicago, "timezone": "America/Chicago"}]
    drive = campaign(clock, contacts=contacts, may_call=may_call, redial_on=(), **HOURS)

    drive.step(drive.runs.next_try(), "execute")

    assert drive.placements() == {in_chicago: 1}
