"""The trigger that waits for many calls."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest
from airflow.models import crypto
from airflow.models.trigger import Trigger
from cryptography.fernet import Fernet

from airflow_provider_telzino.rules.batch import MAX_CALLS
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.triggers.batch import TelzinoCallBatchTrigger
from tests.conftest import AGENT_ID
from tests.support.polling import batch_trigger
from tests.support.waits import TaskInstance, first_event

MYSQL_TEXT = 65_535  # bytes


def test_the_arguments_of_a_thousand_calls_fit_into_mysql(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serialised by Airflow itself, and encrypted, which makes them a third longer."""
    fernet = Fernet(Fernet.generate_key())
    monkeypatch.setattr(crypto, "get_fernet", lambda: fernet)
    trigger = TelzinoCallBatchTrigger(
        [str(uuid4()) for _ in range(MAX_CALLS)],
        deadline=time.time() + 7_200,
        poll_interval=10.0,
        telzino_conn_id="telzino_" + "x" * 200,
        agent_id=AGENT_ID,
        until_ended=MAX_CALLS,
        resume_after=dict.fromkeys(("no_answer", "busy", "failed", "unknown"), 1_800.0),
    )
    _, arguments = trigger.serialize()

    encrypted = Trigger.encrypt_kwargs(arguments)

    assert len(encrypted) < MYSQL_TEXT
    assert Trigger._decrypt_kwargs(encrypted) == arguments


@pytest.mark.parametrize("waiting", [TaskInstance(), None])
@pytest.mark.usefixtures("connected")
def test_a_task_stays_deferred_for_a_while(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, waiting: Any
) -> None:
    """Airflow may consider a task dead that resumes too soon; under ``dag.test()`` it doesn't."""
    shortest = 0.3 if waiting else 3_600.0
    monkeypatch.setattr("airflow_provider_telzino.triggers.base.SHORTEST_DEFERRAL", shortest)
    trigger = batch_trigger([sandbox.add_call("completed")], interval=0.1)
    trigger.task_instance = waiting
    began = time.monotonic()

    event = asyncio.run(asyncio.wait_for(first_event(trigger), 30))

    assert event["outcome"] == "ended"
    assert not waiting or time.monotonic() - began >= shortest


def test_a_task_that_is_stopped_says_that_its_calls_continue(task_log: pytest.LogCaptureFixture) -> None:
    """Telzino documents no way to end a call."""
    asyncio.run(batch_trigger([{"id": str(uuid4())}] * 2).on_kill())

    assert "of its 2 calls, those that are live continue" in task_log.text
