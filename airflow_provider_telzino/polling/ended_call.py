"""What triggers await: the end of a call, and its final record."""

from __future__ import annotations

import asyncio
import itertools

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.exceptions import (
    TelzinoNotFoundError,
    TelzinoTimeoutError,
    TelzinoTransientError,
    TelzinoUnavailableError,
)
from airflow_provider_telzino.hooks.telzino import Record
from airflow_provider_telzino.polling.channel import Channel
from airflow_provider_telzino.polling.poller import AgentPoller
from airflow_provider_telzino.polling.watched_call import CallWaiter
from airflow_provider_telzino.rules.waiting import Wait

DEADLINE_PASSED = TelzinoTimeoutError("The deadline has passed.")


async def wait_until_ended(wait: Wait, *, telzino_conn_id: str, agent_id: str | None) -> None:
    """Return when the call has ended; its status is then in ``wait``.

    An outage of any length is waited out, until the deadline.

    Args:
        wait: The wait, with the call and the deadline.
        telzino_conn_id: The Airflow connection.
        agent_id: The agent that made the call; by default the connection's.

    Raises:
        TelzinoTimeoutError: The deadline has passed.
        AirflowException: The API, or Airflow, refused for good.
    """
    loop = asyncio.get_running_loop()
    waiter = CallWaiter(wait, loop.create_future())
    poller = AgentPoller.of(telzino_conn_id, agent_id)
    poller.join(waiter)
    timer = loop.call_later(wait.time_left(), waiter.end, DEADLINE_PASSED)
    try:
        problem = await waiter.ended
    finally:
        timer.cancel()
        await poller.leave(waiter)
    if problem is DEADLINE_PASSED:
        last_problem = poller.channel.backoff.problem
        trouble = f" The last request failed: {last_problem}" if last_problem else ""
        raise TelzinoTimeoutError(f"The call has not ended; {wait.last_seen()}.{trouble}")
    if problem is not None:
        raise problem.with_traceback(None)  # Many waits raise the same one.


async def fetch_ended(wait: Wait, channel: Channel, agent_id: str | None) -> Record:
    """Fetch the final record of a call that has ended according to a poll.

    An outage, or a pause that the API asks for, is waited out until the deadline.

    Raises:
        TelzinoUnavailableError: The API did not give the record before the deadline.
        TelzinoError: The API refused.
    """
    try:
        return await asyncio.wait_for(_fetch_ended(wait, channel, agent_id), wait.time_left())
    except asyncio.TimeoutError:
        raise TelzinoUnavailableError(
            "The API did not give the call's final record before the deadline."
        ) from None


async def _fetch_ended(wait: Wait, channel: Channel, agent_id: str | None) -> Record:
    now = asyncio.get_running_loop().time
    missing_since: float | None = None
    for attempt in itertools.count(1):
        try:
            record = await channel.send(lambda hook: hook.get_call(wait.call_id, agent_id, retry_for=0))
            if wait.observe(record):
                return record
            missing_since = None  # The list has shown the end, but the call's own record does not yet.
        except TelzinoTransientError:
            missing_since = None
        except TelzinoNotFoundError:
            missing_since = now() if missing_since is None else missing_since
            if retry.is_missing_for_good(missing_since, now()):
                raise
        await asyncio.sleep(retry.backoff(attempt, floor=retry.BACKOFF_BASE, time_left=wait.time_left()))
    raise AssertionError("unreachable: count() has no end")
