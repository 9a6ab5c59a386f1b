"""What the trigger of a batch awaits: the end of many calls, with one object for each and no task."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_telzino.exceptions import TelzinoNotFoundError
from airflow_provider_telzino.models import has_ended
from airflow_provider_telzino.polling import metrics
from airflow_provider_telzino.polling.poller import MAX_SLEEP, AgentPoller
from airflow_provider_telzino.rules.batch import BatchTally, Outcome, Progress


class BatchedCall:
    """One call of a batch, as a poller's waiter."""

    __slots__ = ("_batch", "call_id", "poll_interval")  # there may be thousands

    def __init__(self, batch: EndedBatch, call_id: str, poll_interval: float) -> None:
        self._batch = batch
        self.call_id = call_id
        self.poll_interval = poll_interval

    def observe(self, record: Mapping[str, Any]) -> None:
        """Note a record of the call, whole or from a list."""
        if has_ended(record):
            self._batch.ended(self, record)

    def end(self, problem: Exception | None) -> None:
        """End the wait for the call because of a problem."""
        if problem is not None:
            self._batch.failed(self, problem)


class EndedBatch:
    """The wait for the end of many calls of one agent, in one event loop.

    Args:
        call_ids: The calls. One that is given twice is polled once.
        tally: Counts them, and decides when the wait is over, on the event loop's clock.
        poll_interval: Seconds between two polls.
        log: The logger for the progress.
    """

    def __init__(self, call_ids: Iterable[str], tally: BatchTally, *, poll_interval: float, log: Any) -> None:
        self._tally = tally
        self._log = log
        self._loop = asyncio.get_running_loop()
        # As the API and its lists write the ids.
        unique = dict.fromkeys(call_id.lower() for call_id in call_ids)
        self._live = {call_id: BatchedCall(self, call_id, poll_interval) for call_id in unique}
        self._settled: list[BatchedCall] = []  # still to be taken out of the poller
        self._problem: Exception | None = None
        self._changed = asyncio.Event()

    def ended(self, call: BatchedCall, record: Mapping[str, Any]) -> None:
        """Note that a call has ended. One poll may show that twice."""
        if self._live.pop(call.call_id, None) is not None:
            self._tally.add(str(record["status"]), self._loop.time())
            metrics.emit_detection_lag(record)
            self._settle(call)

    def failed(self, call: BatchedCall, problem: Exception) -> None:
        """Note that a call can't be polled: the API doesn't know it, or refuses all of them."""
        if not isinstance(problem, TelzinoNotFoundError):
            self._problem = self._problem or problem
            self._changed.set()
        elif self._live.pop(call.call_id, None) is not None:
            self._tally.add_missing()
            self._settle(call)

    def _settle(self, call: BatchedCall) -> None:
        self._settled.append(call)
        self._changed.set()

    async def wait(self, *, telzino_conn_id: str, agent_id: str | None) -> Outcome:
        """Wait until there is something to report.

        An outage of any length is waited out, until the deadline.

        Raises:
            AirflowException: The API, or Airflow, refused for good.
        """
        if not self._live:
            return "ended"
        poller = AgentPoller.of(telzino_conn_id, agent_id)
        for call in self._live.values():
            poller.join(call)
        try:
            return await self._until_over(poller)
        finally:
            for call in [*self._settled, *self._live.values()]:
                await poller.leave(call)

    async def _until_over(self, poller: AgentPoller) -> Outcome:
        progress = Progress(self._tally.total, self._loop.time())
        while True:
            now = self._loop.time()
            if self._problem is not None:
                raise self._problem.with_traceback(None)  # Other waits raise the same one.
            outcome = self._tally.outcome(now)
            if outcome is not None or progress.is_due(self._tally.settled, now):
                self._log.info("%s.", str(self._tally))  # now: it changes
            if outcome is not None:
                if outcome == "timeout" and (last_problem := poller.channel.backoff.problem):
                    self._log.warning("The deadline has passed. The last request failed: %s", last_problem)
                return outcome
            while self._settled:
                await poller.leave(self._settled.pop())
            await self._change(min(self._tally.changes_at, progress.due_at))

    async def _change(self, until: float) -> None:
        """Return when a call has ended, or at a time."""
        pause = min(until - self._loop.time(), MAX_SLEEP)
        alarm = self._loop.call_later(max(pause, 0.0), self._changed.set)
        try:
            await self._changed.wait()
        finally:
            alarm.cancel()
        self._changed.clear()
