"""The course of a wait: poll, defer, resume, and end the task according to the call's outcome.

What follows a trigger's event is decided by :func:`~airflow_provider_telzino.rules.waiting.next_step`, and
carried out here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow_provider_telzino.api.arguments import checked_call_id, naming_the_connection
from airflow_provider_telzino.api.retry import RETRY_FOR
from airflow_provider_telzino.exceptions import (
    TelzinoTimeoutError,
    TelzinoTransientError,
    TelzinoUnavailableError,
)
from airflow_provider_telzino.models import has_ended
from airflow_provider_telzino.rules.waiting import (
    CallEvent,
    DeferAgain,
    Fail,
    Finish,
    NextStep,
    TimedOut,
    Wait,
    longest_deferral,
    next_step,
)
from airflow_provider_telzino.waiting.call_task import CallTask
from airflow_provider_telzino.waiting.without_workers import TriggererTask

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import Record


class DeferrableWait(TriggererTask, CallTask):
    """Waits for a call, in the triggerer or on a worker, and ends the task according to the outcome.

    A mixin: sensor and operators name the call, and this does the rest.
    """

    deferrable: bool
    timeout_error: type[TelzinoTimeoutError] = TelzinoTimeoutError
    after_timeout = "The call itself may still be in progress."
    """What a timeout's message adds about the call."""

    # --- The start of a task ---

    def wait_for_call(self, context: Context, known: Record | None = None) -> Any:
        """Wait until the call has ended, in the triggerer or on this worker.

        Args:
            context: Airflow's context.
            known: What the task already knows of the call, such as the answer to placing it.

        Returns:
            The final record, for XCom.
        """
        if self.deferrable:
            return self._wait_in_triggerer(context, known)
        return self._wait_on_worker(context)

    def _wait_in_triggerer(self, context: Context, known: Record | None) -> Any:
        """Poll once, unless the call is known to be live, and defer if it has not ended.

        If the trigger can end the task, it also does the first poll: it would need no other worker even then.
        """
        self.log_what_needs_a_worker()
        with self._softly(), self.hook() as hook:
            wait = self.new_wait()
            record = known
            must_poll = self.task_end() is None if known is None else has_ended(known)
            if must_poll:
                record = self.poll(hook)
            if record is None or not wait.observe(record):
                # The wait stays with this agent, even if the connection gets another default agent.
                self.agent_id = self._agent_id() or hook.settings.agent_id
                self._defer(wait)
        return self.finish(context, record)

    def _wait_on_worker(self, context: Context) -> Any:
        with self._softly(), self.hook() as hook:
            wait = self.new_wait()
            while True:
                try:
                    record = hook.get_call(wait.call_id, retry_for=wait.time_left())
                except TelzinoTransientError as error:
                    if wait.time_left() > 0:  # the API asked to wait for longer than that
                        raise
                    raise self.timed_out(wait) from error
                if wait.observe(record):
                    break
                if wait.time_left() <= 0:
                    raise self.timed_out(wait)
                time.sleep(wait.pause())
        return self.finish(context, record)

    # --- The end of its trigger ---

    def execute_complete(
        self,
        context: Context,
        event: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        refused_before: bool = False,
    ) -> Any:
        """Resume after the deferral: get the final record, and end the task according to the outcome.

        Args:
            context: Airflow's context.
            event: The payload of the trigger's :class:`CallEvent`.
            deadline: When the wait gives up, in seconds since the epoch. If a trigger began the task, or
                under ``dag.test()``, only the event has it.
            refused_before: Whether the trigger before this one was refused, while the worker was not.
        """
        with self._softly():
            parsed = CallEvent.parse(event)
            if parsed is None:
                raise self.unknown_event()
            until = parsed.deadline if deadline is None else deadline
            wait, step = self._after_trigger(context, parsed, until, refused_before)
            record = self._carry_out(step, wait, parsed)
        return self.finish(context, record)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume as Airflow does, but request the call first if the trigger has emitted no event."""
        if self.start_from_trigger:
            self.delete_earlier_xcoms(context)
        return super().resume_execution(next_method, next_kwargs, context)

    def resume_without_event(
        self, outcome: Literal["stopped", "broken"], context: Context, raise_airflows_error: Callable[[], Any]
    ) -> Any:
        """Resume although the trigger has emitted no event."""
        event = CallEvent(outcome)
        with self._softly():
            wait, step = self._after_trigger(context, event, time.time())
            if step == Fail("trigger broken"):
                return raise_airflows_error()
            record = self._carry_out(step, wait, event)
        return self.finish(context, record)

    def restore_call(self, context: Context, event: CallEvent) -> None:
        """Set, in the new process of a task that resumes, which call and agent it waits for."""
        self.agent_id = event.agent_id or self.agent_id

    def _after_trigger(
        self, context: Context, event: CallEvent, deadline: float | None, refused_before: bool = False
    ) -> tuple[Wait, NextStep]:
        """Request the call's record and decide what follows."""
        self.restore_call(context, event)
        with self.hook() as hook:
            wait = self.new_wait(deadline)
            if not event.concerns(wait.call_id):
                raise self.unknown_event(wait.call_id)
            wait.status, wait.since = event.status, event.status_since or wait.since
            record = self.poll(
                hook,
                retry_for=RETRY_FOR if event.outcome == "ended" else 0,
                # A worker that is refused, too, raises the error with its details.
                not_found_is_final=event.outcome == "refused",
            )
        if record is not None:
            wait.observe(record)
        left = wait.time_left()
        return wait, next_step(event, record, time_left=left, refused_before=refused_before)

    def _carry_out(self, step: NextStep, wait: Wait, event: CallEvent) -> Mapping[str, Any]:
        """Return the final record to finish with; otherwise defer again, or raise the error of the step."""
        if isinstance(step, Finish):
            return step.record
        if isinstance(step, DeferAgain):
            self._defer(wait, refused=step.refused)
        if isinstance(step, TimedOut):
            raise self.stopped_by_airflow(wait) if event.outcome == "stopped" else self.timed_out(wait)
        if step.reason == "record unavailable":
            raise TelzinoUnavailableError(
                f"The call ended with {wait.status}, but its record is temporarily unavailable. Clear the "
                "task, or let it retry, to get the record.",
                conn_id=self.telzino_conn_id,
                call_id=wait.call_id,
            )
        raise self.refused_in_triggerer(event.error, wait.call_id)

    def _defer(self, wait: Wait, *, refused: bool = False) -> NoReturn:
        from airflow_provider_telzino.triggers.call import TelzinoCallTrigger

        self.defer(
            trigger=TelzinoCallTrigger(
                call_id=wait.call_id,
                deadline=wait.deadline,
                agent_id=self._agent_id(),
                telzino_conn_id=self.telzino_conn_id,
                poll_interval=wait.poll_interval,
                status=wait.status,
                status_since=wait.since,
                end=self.task_end(),
            ),
            method_name="execute_complete",
            kwargs={"deadline": wait.deadline}
            | ({"refused_before": True} if refused else {})
            | self.deferral_kwargs(),
            timeout=longest_deferral(wait.time_left(), wait.poll_interval),
        )
        raise AssertionError("unreachable: defer() raises")  # it isn't typed so on every Airflow

    def deferral_kwargs(self) -> dict[str, Any]:
        """Return what else ``execute_complete`` gets when the task resumes."""
        return {}

    # --- Its deadline ---

    def new_wait(self, deadline: float | None = None) -> Wait:
        """Start a wait for the call of this task, until a deadline or for the task's whole timeout."""
        with naming_the_connection(self.telzino_conn_id):
            call_id = checked_call_id(self.call_id)
        return Wait(
            call_id,
            deadline=time.time() + self.wait_timeout if deadline is None else deadline,
            poll_interval=self.wait_interval,
            log=self.log,
        )

    def timed_out(self, wait: Wait) -> TelzinoTimeoutError:
        """Create the error for a wait whose deadline has passed."""
        return self.timeout_error(
            f"The call had not ended when the timeout of {self.wait_timeout:g} s was over; "
            f"{wait.last_seen()}. {self.after_timeout}",
            conn_id=self.telzino_conn_id,
            call_id=wait.call_id,
        )

    def stopped_by_airflow(self, wait: Wait) -> TelzinoTimeoutError:
        """Create the error for a trigger that Airflow stopped, at the timeout of the deferral.

        For a task that began in the triggerer, that is also its ``execution_timeout``.
        """
        limit = self.execution_timeout.total_seconds() if self.execution_timeout else self.wait_timeout
        if not self.start_from_trigger or limit >= self.wait_timeout:
            return self.timed_out(wait)
        return TelzinoTimeoutError(
            f"The call had not ended when the task's `execution_timeout` of {limit:g} s was over. "
            f"{self.after_timeout}",
            conn_id=self.telzino_conn_id,
            call_id=wait.call_id,
        )
