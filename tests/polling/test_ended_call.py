"""The final record of a call that a poll found ended: it may come late, but not after the deadline."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from airflow_provider_telzino.exceptions import TelzinoNotFoundError, TelzinoUnavailableError
from airflow_provider_telzino.polling.channel import Channel
from airflow_provider_telzino.polling.ended_call import fetch_ended
from airflow_provider_telzino.rules.waiting import Wait
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import CALL_ID
from tests.support.polling import A_DAY, INTERVAL, Clock

pytestmark = pytest.mark.usefixtures("connected", "nothing_is_left")


def fetch(call_id: str, *, timeout: float = A_DAY) -> asyncio.Task[dict[str, Any]]:
    """Fetch the final record of a call, as the trigger does."""
    log = logging.getLogger("telzino-tests")
    wait = Wait(call_id, deadline=time.time() + timeout, poll_interval=INTERVAL, log=log)

    async def run() -> dict[str, Any]:
        channel = Channel.of(asyncio.get_running_loop(), "telzino_default")
        try:
            return await fetch_ended(wait, channel, None)
        finally:
            await channel.release()

    return asyncio.ensure_future(run())


async def test_a_final_record_that_is_visible_late(sandbox: Sandbox, clock: Clock) -> None:
    """The list may show the end before the call itself can be fetched."""
    record = sandbox.add_call("completed")
    sandbox.faults.next("GET", record["id"], status=404, times=4)
    fetched = fetch(record["id"])

    await clock.until(fetched.done, step=1.0)

    assert fetched.result() == record


async def test_a_final_record_that_never_comes(clock: Clock) -> None:
    """A 404 that repeats for 15 seconds is final."""
    fetched = fetch(CALL_ID)

    await clock.until(fetched.done, step=1.0)

    assert isinstance(fetched.exception(), TelzinoNotFoundError)


async def test_a_retry_after_beyond_the_deadline(sandbox: Sandbox, clock: Clock) -> None:
    """Nothing is sent before the API allows it, and the deadline ends the attempt."""
    record = sandbox.add_call("completed")
    sandbox.faults.next("GET", record["id"], status=429, retry_after="3600")
    fetched = fetch(record["id"], timeout=60.0)

    await clock.until(fetched.done, step=1.0, steps=70)

    assert isinstance(fetched.exception(), TelzinoUnavailableError)
    assert len(sandbox.requests) == 1
