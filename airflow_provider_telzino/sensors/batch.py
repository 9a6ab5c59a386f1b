"""``TelzinoCallBatchSensor``: waits until many calls have ended."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseSensorOperator

from airflow_provider_telzino.api.arguments import check_literals, naming_the_task
from airflow_provider_telzino.api.call_lists import checked_calls
from airflow_provider_telzino.api.retry import RETRY_FOR
from airflow_provider_telzino.exceptions import TelzinoArgumentError, TelzinoTransientError
from airflow_provider_telzino.rules.waiting import DEFAULT_POLL_INTERVAL
from airflow_provider_telzino.waiting.arguments import WaitArguments
from airflow_provider_telzino.waiting.batch_wait import BatchWait
from airflow_provider_telzino.waiting.poking import PokingSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.waiting.batch_poll import BatchPoll

NOT_FOR_BATCHES = ("end_from_trigger", "start_from_trigger", "multiple_outputs")


class TelzinoCallBatchSensor(PokingSensor, BatchWait, WaitArguments, BaseSensorOperator):
    """Wait until all of many calls have ended, and push their final records, in order, as ``return_value``.

    Besides the arguments below, the sensor takes the parameters that all waits share: ``agent_id``,
    ``telzino_conn_id``, ``skip_on``, ``record_fields``, ``deferrable`` and ``timeout``. They are documented
    with :class:`~airflow_provider_telzino.waiting.arguments.WaitArguments`, and in docs/batch.md.

    Args:
        call_ids: The calls: a list of ids (UUIDs), or of records that have an ``id``, such as the output of
            mapped tasks. Where the task names no agent, a record's ``agent_id`` counts. Templated.
        fail_on: Statuses that fail the task if any call ends with one. The records are pushed first.
        poke_interval: Seconds between two polls, or a ``timedelta``.
        mode: How to wait with ``deferrable=False``: ``poke`` (the default) or ``reschedule``.
        kwargs: The parameters that all waits share, and those of Airflow's sensors. ``soft_fail`` skips the
            task instead of failing it, in all modes alike.

    Raises:
        TelzinoCallEndedBadlyError: Calls ended in a status of ``fail_on``. Not retried: a call's outcome
            doesn't change.
        TelzinoNotFoundError: The API doesn't know some of the calls. The other records are pushed.
        TelzinoSensorTimeoutError: Some calls had not ended when ``timeout`` was over. The other records are
            pushed.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    def __init__(
        self,
        *,
        call_ids: str | Sequence[str | Mapping[str, Any]],
        fail_on: Collection[str] = (),
        poke_interval: float | timedelta = DEFAULT_POLL_INTERVAL,
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        with naming_the_task(kwargs.get("task_id", "")):
            _refuse_what_is_not_for_batches(kwargs)
        super().__init__(fail_on=fail_on, **kwargs if mode is None else {**kwargs, "mode": mode})
        self.call_ids = call_ids
        self.use_mode(mode, poke_interval)
        self._poking: tuple[BatchPoll, float] | None = None
        self.check_template_fields()

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        _refuse_what_is_not_for_batches(given)
        super().check_arguments(given)
        check_literals(given, call_ids=lambda calls: checked_calls(calls, None))

    def execute(self, context: Context) -> Any:
        """Wait, in the triggerer or in Airflow's ``mode``.

        Returns:
            The final records, for XCom.
        """
        if self.deferrable:
            return self.wait_for_batch(context)
        with self._softly():
            hook = self.hook()
            batch = self.new_poll(hook)
        with hook:
            self._poking = batch, time.time() + self.wait_timeout  # one session and one token for all polls
            try:
                self.poke_until_done(context, lambda: self.timed_out(context, batch, answered=True))
            finally:
                self._poking = None
        return self.finish(context, batch)

    def poke(self, context: Context) -> bool:
        """Poll the calls once, for Airflow's modes ``poke`` and ``reschedule``.

        An outage that lasts longer than the request's own retries is waited out, like a call that is live.
        """
        with self._softly():
            batch, deadline = self._poking or (self.new_poll(self.hook()), time.time() + self.wait_timeout)
            time_left = max(0.0, deadline - time.time())
            self.retry_after = 0.0
            try:
                batch.poll(retry_for=min(RETRY_FOR, time_left))
            except TelzinoTransientError as error:
                self.log.warning("%s", error)
                self.retry_after = min(error.retry_after or 0.0, time_left)
                return False
            return batch.is_complete


def _refuse_what_is_not_for_batches(given: Mapping[str, Any]) -> None:
    for name in NOT_FOR_BATCHES:
        if given.get(name):
            raise TelzinoArgumentError(
                f"`{name}` doesn't apply to a batch: a worker reads the records, and pushes them as one "
                "list. Leave it out."
            )
