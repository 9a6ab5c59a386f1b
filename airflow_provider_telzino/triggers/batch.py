"""``TelzinoCallBatchTrigger``: waits in the triggerer until many calls have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import TriggerEvent

from airflow_provider_telzino.polling.ended_batch import EndedBatch
from airflow_provider_telzino.rules.batch import BatchEvent, BatchTally, Outcome
from airflow_provider_telzino.triggers.base import TelzinoTrigger


class TelzinoCallBatchTrigger(TelzinoTrigger):
    """Wait until calls of one agent have ended. It only reads, so it may safely run twice at the same time.

    It emits one event, as soon as one of these is true: enough calls have ended; the time of ``resume_after``
    is over; the deadline has passed; the API, or Airflow, refuses requests over the connection. A call that
    the API doesn't know (404) is counted as missing, and the others are waited for.

    Args:
        call_ids: The calls (UUIDs), at most ``MAX_CALLS`` of :mod:`~airflow_provider_telzino.rules.batch`.
        deadline: When to give up, in seconds since the epoch.
        poll_interval: Seconds between two polls.
        telzino_conn_id: The Airflow connection. Only its id is stored, never the token.
        agent_id: The agent that made the calls (UUID); ``None`` is the connection's.
        until_ended: How many calls have to end, or be missing; by default all.
        resume_after: By status (``"unknown"`` is any that isn't documented): seconds after the first call
            that ended so, when the task resumes although others are live. They count from when the trigger
            noticed that call.
        not_before: Seconds since the epoch before which the task doesn't resume, unless requests are refused.
    """

    def __init__(
        self,
        call_ids: Sequence[str],
        *,
        deadline: float,
        poll_interval: float,
        telzino_conn_id: str,
        agent_id: str | None,
        until_ended: int | None = None,
        resume_after: Mapping[str, float] | None = None,
        not_before: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's isn't typed
        self.call_ids = list(call_ids)
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.telzino_conn_id = telzino_conn_id
        self.agent_id = agent_id
        self.until_ended = until_ended
        self.resume_after = resume_after
        self.not_before = not_before

    def what_continues(self) -> str:
        """Return a sentence for the log about what isn't stopped with the task."""
        return f"of its {len(self.call_ids):,} calls, those that are live continue"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: a :class:`BatchEvent`."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        offset = began_at - time.time()
        tally = BatchTally(
            len({call_id.lower() for call_id in self.call_ids}),
            deadline=self.deadline + offset,
            until_ended=self.until_ended,
            resume_after=self.resume_after,
            not_before=self.not_before + offset,
        )
        batch = EndedBatch(self.call_ids, tally, poll_interval=self.poll_interval, log=self.log)
        outcome: Outcome
        error_class = None
        try:
            outcome = await batch.wait(telzino_conn_id=self.telzino_conn_id, agent_id=self.agent_id)
        except AirflowException as error:
            outcome, error_class = "refused", type(error).__name__
            self.log.warning("The wait for %s calls can't continue: %s", f"{tally.total:,}", error)
        await self.stay_deferred(began_at)
        event = BatchEvent(
            outcome=outcome,
            total=tally.total,
            ended=tally.counts.total(),
            missing=tally.missing,
            counts=dict(tally.counts),
            error=error_class,
            deadline=self.deadline,
        )
        yield TriggerEvent(event.payload())
