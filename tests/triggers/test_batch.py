"""The trigger that waits for many calls."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import pytest
from airflow.models.trigger import Trigger
from cryptography.fernet import Fernet

from airflow_provider_telzino.rules.batch import MAX_CALLS
from airflow_provider_telzino.triggers.batch import TelzinoCallBatchTrigger
from tests.conftest import AGENT_ID
from tests.support.polling import batch_trigger

MYSQL_TEXT = 65_535  # bytes


def test_the_arguments_of_a_thousand_calls_fit_into_mysql() -> None:
    """Serialised by Airflow itself, and encrypted as with a key, which makes them a third longer."""
    trigger = TelzinoCallBatchTrigger(
        [str(uuid4()) for _ in range(MAX_CALLS)],
        deadline=time.time() + 7_200,
        poll_interval=10.0,
        telzino_conn_id="telzino_" + "x" * 200,
        agent_id=AGENT_ID,
        until_ended=MAX_CALLS,
        resume_after=dict.fromkeys(("no_answer", "busy", "failed", "unknown"), 1_800.0),
    )
    classpath, arguments = trigger.serialize()

    row = Trigger(classpath, arguments)  # these tests have no key, so Airflow itself doesn't encrypt
    encrypted = Fernet(Fernet.generate_key()).encrypt(row.encrypted_kwargs.encode())

    assert 50_000 < len(encrypted) < MYSQL_TEXT
    assert row.kwargs == arguments


def test_a_task_that_is_stopped_says_that_its_calls_continue(task_log: pytest.LogCaptureFixture) -> None:
    """Telzino documents no way to end a call."""
    asyncio.run(batch_trigger([{"id": str(uuid4())}] * 2).on_kill())

    assert "of its 2 calls, those that are live continue" in task_log.text
