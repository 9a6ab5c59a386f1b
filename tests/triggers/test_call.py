"""The trigger that waits for a call."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.triggers import base
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from tests.conftest import CALL_ID
from tests.support.waits import TaskInstance, first_event

pytestmark = pytest.mark.usefixtures("connected")


@pytest.mark.parametrize("waiting", [TaskInstance(), None])
def test_a_task_stays_deferred_for_a_while(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, waiting: Any
) -> None:
    """Airflow may consider a task dead that resumes too soon; under ``dag.test()`` it doesn't."""
    shortest = 0.3 if waiting else 3_600.0
    monkeypatch.setattr(base, "SHORTEST_DEFERRAL", shortest)
    trigger = TelzinoCallTrigger(sandbox.add_call("completed")["id"], time.time() + 30, poll_interval=0.1)
    trigger.task_instance = waiting
    began = time.monotonic()

    event = asyncio.run(asyncio.wait_for(first_event(trigger), 30))

    assert event["outcome"] == "ended"
    assert not waiting or time.monotonic() - began >= shortest


def test_a_task_that_is_stopped_says_that_the_call_continues(task_log: pytest.LogCaptureFixture) -> None:
    """Telzino documents no way to end a call."""
    asyncio.run(TelzinoCallTrigger(CALL_ID, time.time() + 30).on_kill())

    assert f"call {CALL_ID} continues" in task_log.text
