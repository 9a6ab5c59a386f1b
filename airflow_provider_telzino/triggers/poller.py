"""How the triggerer looks after calls: the one place that knows when to ask Telzino for a status."""

from __future__ import annotations

import asyncio

from airflow_provider_telzino.exceptions import TelzinoTimeoutError, TelzinoTransientError
from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook
from airflow_provider_telzino.waiting import Wait


async def wait_until_ended(wait: Wait, *, telzino_conn_id: str, agent_id: str | None) -> None:
    """Return when the call has ended; its status is then in ``wait``.

    An outage is waited out, whatever its length, until the deadline.

    Args:
        wait: The wait, with the call and the deadline.
        telzino_conn_id: The Airflow connection.
        agent_id: The agent that made the call; by default the connection's.

    Raises:
        TelzinoTimeoutError: The deadline is over.
        TelzinoError: The API refused to tell, for good.
    """
    await asyncio.sleep(wait.first_pause())
    async with TelzinoAsyncHook(telzino_conn_id, agent_id) as hook:
        while True:
            try:
                record = await hook.get_call(wait.call_id, retry_for=wait.time_left())
            except TelzinoTransientError as error:
                raise TelzinoTimeoutError(str(error)) from error
            if wait.saw(record):
                return
            if wait.time_left() <= 0:
                raise TelzinoTimeoutError(f"The call has not ended; {wait.last_seen()}.")
            await asyncio.sleep(wait.pause())
