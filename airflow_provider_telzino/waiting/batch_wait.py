"""The course of a wait for many calls: poll, defer a portion, resume, and end according to the outcomes.

What follows a trigger's event is decided by :func:`~airflow_provider_telzino.rules.waiting.step_while_live`,
as for a single call. Nothing is kept from one worker to the next but the deadline: each one polls all calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_telzino.api.arguments import checked_agent_id, naming_the_connection
from airflow_provider_telzino.api.call_lists import checked_calls, positions_text
from airflow_provider_telzino.api.retry import RETRY_FOR
from airflow_provider_telzino.exceptions import (
    TelzinoCallEndedBadlyError,
    TelzinoNotFoundError,
    TelzinoSensorTimeoutError,
    TelzinoTransientError,
    TelzinoUnavailableError,
)
from airflow_provider_telzino.rules.batch import MAX_CALLS, BatchEvent, counts_text
from airflow_provider_telzino.rules.waiting import (
    UNKNOWN,
    DeferAgain,
    Fail,
    TimedOut,
    longest_deferral,
    outcome_name,
    step_while_live,
)
from airflow_provider_telzino.waiting.batch_poll import BatchPoll
from airflow_provider_telzino.waiting.outcome_task import OutcomeTask

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import TelzinoHook


class BatchWait(OutcomeTask):
    """Waits for many calls, and ends the task according to their outcomes. A mixin of the batch sensor."""

    template_fields: Sequence[str] = ("call_ids", "agent_id", "telzino_conn_id")

    call_ids: Any

    # --- A worker's run ---

    def wait_for_batch(self, context: Context) -> Any:
        """Wait in the triggerer until all calls have ended.

        Returns:
            The final records, for XCom.
        """
        return self._advance(context, "started", time.time() + self.wait_timeout)

    def execute_complete(
        self,
        context: Context,
        event: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        agent_id: str | None = None,
        refused_before: bool = False,
    ) -> Any:
        """Resume after a portion of the calls: wait for the next one, or end the task.

        Args:
            context: Airflow's context.
            event: The payload of the trigger's :class:`BatchEvent`.
            deadline: When the wait gives up, in seconds since the epoch. Under ``dag.test()`` only the event
                has it.
            agent_id: The agent of the calls for which neither task nor record names one.
            refused_before: Whether the trigger before this one was refused, while the worker was not.
        """
        with self._softly():
            parsed = BatchEvent.parse(event)
            if parsed is None:
                raise self.unknown_event()
        until = parsed.deadline if deadline is None else deadline
        return self._advance(
            context,
            parsed.outcome,
            time.time() if until is None else until,
            agent_id=agent_id,
            error=parsed.error,
            refused_before=refused_before,
        )

    def resume_without_event(
        self, outcome: Literal["stopped", "broken"], context: Context, raise_airflows_error: Callable[[], Any]
    ) -> Any:
        """Resume although the trigger has emitted no event."""
        return self._advance(context, outcome, time.time(), raise_airflows_error=raise_airflows_error)

    def _advance(
        self,
        context: Context,
        outcome: str,
        deadline: float,
        *,
        agent_id: str | None = None,
        error: str | None = None,
        refused_before: bool = False,
        raise_airflows_error: Callable[[], Any] | None = None,
    ) -> Any:
        """Poll all calls, and defer again or end the task."""
        with self._softly(), self.hook() as hook:
            batch = self.new_poll(hook, agent_id)
            # Where the triggerer can wait for the end of an outage, the worker needn't.
            answered = self._poll(batch, 0.0 if outcome in ("started", "refused") else RETRY_FOR)
            if not batch.is_complete:
                # That a portion has ended says nothing of the others, once those were polled.
                step = step_while_live(
                    "portion" if answered and outcome == "ended" else outcome,
                    answered=answered,
                    time_left=max(0.0, deadline - time.time()),
                    refused_before=refused_before,
                )
                if isinstance(step, DeferAgain):
                    self._defer(batch, deadline, refused=step.refused)
                if isinstance(step, TimedOut):
                    raise self.timed_out(context, batch, answered=answered)
                if step == Fail("trigger broken") and raise_airflows_error is not None:
                    return raise_airflows_error()
                if step == Fail("refused in the triggerer"):
                    raise self.refused_in_triggerer(error)
                raise TelzinoUnavailableError(
                    "The calls have ended, but their records are temporarily unavailable. Clear the task, or "
                    "let it retry, to get the records.",
                    conn_id=self.telzino_conn_id,
                )
        return self.finish(context, batch)

    def _poll(self, batch: BatchPoll, retry_for: float) -> bool:
        """Poll all calls. Returns whether the API answered."""
        try:
            batch.poll(retry_for=retry_for)
        except TelzinoTransientError as error:
            self.log.warning("%s", error)
            return False
        return True

    def _defer(self, batch: BatchPoll, deadline: float, *, refused: bool) -> NoReturn:
        """Wait for a portion: calls of one agent, as many as a trigger may have."""
        from airflow_provider_telzino.triggers.batch import TelzinoCallBatchTrigger

        awaited = batch.awaited()
        agent_id = awaited[0].agent_id
        portion = [call.call_id for call in awaited if call.agent_id == agent_id][:MAX_CALLS]
        self.log.info("Waiting for %s calls in the triggerer; %s.", f"{len(portion):,}", batch)
        self.defer(
            trigger=TelzinoCallBatchTrigger(
                portion,
                deadline=deadline,
                poll_interval=self.wait_interval,
                telzino_conn_id=self.telzino_conn_id,
                agent_id=agent_id,
            ),
            method_name="execute_complete",
            kwargs={"deadline": deadline, "agent_id": batch.default_agent_id}
            | ({"refused_before": True} if refused else {}),
            timeout=longest_deferral(max(0.0, deadline - time.time()), self.wait_interval),
        )
        raise AssertionError("unreachable: defer() raises")  # it isn't typed so on every Airflow

    # --- The calls ---

    def hook(self) -> TelzinoHook:
        """Create the hook for this task's connection."""
        from airflow_provider_telzino.hooks.telzino import TelzinoHook

        return TelzinoHook(self.telzino_conn_id)

    def new_poll(self, hook: TelzinoHook, agent_id: str | None = None) -> BatchPoll:
        """Check the task's calls, and begin to poll them.

        Args:
            hook: Sends the requests.
            agent_id: The agent of the calls for which neither task nor record names one; by default the
                connection's. The wait stays with it, even if the connection gets another one.
        """
        with naming_the_connection(self.telzino_conn_id):
            calls = checked_calls(self.call_ids, self.agent_id)
            if any(call.agent_id is None for call in calls):
                agent_id = checked_agent_id(agent_id or hook.settings.agent_id)
                calls = [call._replace(agent_id=call.agent_id or agent_id) for call in calls]
        return BatchPoll(hook, calls, policy=self.policy, log=self.log, default_agent_id=agent_id)

    # --- The outcome ---

    def finish(self, context: Context, batch: BatchPoll) -> list[dict[str, Any] | None]:
        """End the task according to the outcomes of all calls.

        Returns:
            The records, or their ``record_fields``, for XCom.

        Raises:
            TelzinoOutcomeError: Statuses are in ``fail_on``. The records have been pushed.
            TelzinoNotFoundError: The API doesn't know some of the calls. The other records have been pushed.
            AirflowSkipException: Statuses are in ``skip_on``. The records have been pushed.
        """
        records, counts, missing = batch.records(), batch.counts, batch.missing_positions()
        failing = {status: counts[status] for status in counts if self.policy.is_failure(status)}
        skipping = {status: counts[status] for status in counts if self.policy.is_skip(status)}
        if not (failing or missing or skipping):
            self._warn_of_unknown_outcomes(counts)
            return records
        self._push(context, records)
        pushed = " The records are in XCom." if self.do_xcom_push else ""
        with self._softly():
            if failing:
                raise TelzinoCallEndedBadlyError(
                    f"Of {batch.total:,} calls, some ended with a status in `fail_on`: "
                    f"{counts_text(failing)}.{pushed}",
                    conn_id=self.telzino_conn_id,
                )
            if missing:
                raise TelzinoNotFoundError(
                    f"The API doesn't know {len(missing):,} of the calls (404), at {positions_text(missing)} "
                    f"of `call_ids` (the first is 1). Check these ids, and their agents.{pushed}",
                    conn_id=self.telzino_conn_id,
                )
        raise AirflowSkipException(
            f"Of {batch.total:,} calls, some ended with a status in `skip_on`: "
            f"{counts_text(skipping)}.{pushed}"
        )

    def timed_out(self, context: Context, batch: BatchPoll, *, answered: bool) -> TelzinoSensorTimeoutError:
        """Push the records that are there, and create the error for a wait whose deadline has passed.

        Args:
            context: Airflow's context.
            batch: The calls.
            answered: Whether the API answered the last poll.
        """
        if answered:
            try:
                batch.read_records()
            except TelzinoTransientError as error:
                self.log.warning("%s", error)
        pushed = ""
        if batch.has_records:
            self._push(context, batch.records())
            if self.do_xcom_push:
                pushed = " The records of those that ended are in XCom, with None in place of the others."
        return TelzinoSensorTimeoutError(
            f"When the timeout of {self.wait_timeout:g} s was over, {batch}.{pushed} The other calls may "
            "still be in progress.",
            conn_id=self.telzino_conn_id,
        )

    def _warn_of_unknown_outcomes(self, counts: Mapping[str, int]) -> None:
        unknown = {status: number for status, number in counts.items() if outcome_name(status) == UNKNOWN}
        if unknown:
            self.log.warning(
                "Calls ended with statuses that are not documented: %s. The task succeeds; to fail or skip "
                'it, add "%s" to `fail_on` or `skip_on`.',
                counts_text(unknown),
                UNKNOWN,
            )
