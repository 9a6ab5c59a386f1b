"""What triggers await: the end of a call, and its final record."""

from __future__ import annotations

import asyncio
import itertools

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.exceptions import (
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoTimeoutError,
    TelzinoTransientError,
    TelzinoUnavailableError,
)
from airflow_provider_telzino.hooks.telzino import Record
from airflow_provider_telzino.polling.channel import Channel
from airflow_provider_telzino.polling.poller import AgentPoller
from airflow_provider_telzino.polling.watched_call import Waiter
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
    waiter = Waiter(wait, loop.create_future())
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

    An outage is waited out, but not beyond the deadline.

    Raises:
        TelzinoTransientError: The API did not give the record in time.
        TelzinoError: The API refused.
    """
    loop = asyncio.get_running_loop()
    missing_since: float | None = None
    problem: TelzinoError = TelzinoUnavailableError("Requests on this connection pause beyond the deadline.")
    for attempt in itertools.count(1):
        if channel.pause() > wait.time_left():
            raise problem
        try:
            record = await channel.send(lambda hook: hook.get_call(wait.call_id, agent_id, retry_for=0))
            if wait.observe(record):
                return record
            problem = TelzinoUnavailableError("The call's own record does not show yet that it has ended.")
            missing_since = None
        except TelzinoTransientError as error:
            problem, missing_since = error, None
        except TelzinoNotFoundError as error:
            problem, missing_since = error, loop.time() if missing_since is None else missing_since
            if retry.is_missing_for_good(missing_since, loop.time()):
                raise
        if wait.time_left() <= channel.pause():
            raise problem
        await asyncio.sleep(retry.backoff(attempt, floor=retry.BACKOFF_BASE, time_left=wait.time_left()))
    raise AssertionError("unreachable: count() has no end")
