"""What sensor and operators share: a wait for one call that ends the task as its outcome says."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException

from airflow_provider_telzino.api.arguments import (
    agent_of,
    checked_agent_id,
    checked_call_id,
    naming_the_connection,
)
from airflow_provider_telzino.api.retry import RETRY_FOR
from airflow_provider_telzino.exceptions import (
    TelzinoCallEndedBadlyError,
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoOutcomeError,
    TelzinoTimeoutError,
    TelzinoTransientError,
    TelzinoUnavailableError,
)
from airflow_provider_telzino.rules.waiting import Wait, longest_deferral
from airflow_provider_telzino.version_compat import TRIGGER_FAILED, TRIGGER_TIMEOUTS
from airflow_provider_telzino.waiting.triggerer import TriggererUser
from airflow_provider_telzino.xcom import xcoms

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook

OUTCOMES = ("ended", "timeout", "refused")  # of a CallEvent


class CallWaiter(TriggererUser):
    """Waits for a call, on a worker or by deferral, and ends the task as the outcome says.

    Sensor and operators mix it in: they say which call, and this does the rest.
    """

    template_fields: Sequence[str] = ("call_id", "agent_id", "telzino_conn_id")

    call_id: Any
    agent_id: str | None
    telzino_conn_id: str
    soft_fail: bool
    timeout_error: type[TelzinoTimeoutError] = TelzinoTimeoutError
    after_timeout = "The call itself may still go on."

    # --- What a task does at its start ---

    def look_then_defer(self, context: Context) -> Any:
        """Look once; unless the call has ended, hand the wait to the triggerer."""
        self.tell_what_needs_a_worker()
        with self._softly(), self.hook() as hook:
            wait = self.new_wait()
            record = self.try_look(hook, wait)
            if record is None or not wait.saw(record):
                # Named from now on: the wait goes on for this agent whatever becomes of the connection.
                self.agent_id = self._agent_id() or hook.settings.agent_id
                self._defer(wait)
        return self.finish(context, record)

    def wait_here(self, context: Context) -> Any:
        """Wait on this worker until the call has ended."""
        with self._softly(), self.hook() as hook:
            wait = self.new_wait()
            while True:
                try:
                    record = hook.get_call(wait.call_id, retry_for=wait.time_left())
                except TelzinoTransientError as error:
                    raise self.timed_out(wait) from error
                if wait.saw(record):
                    break
                if wait.time_left() <= 0:
                    raise self.timed_out(wait)
                time.sleep(wait.pause())
        return self.finish(context, record)

    # --- What a task does when its trigger has fired ---

    def execute_complete(
        self,
        context: Context,
        event: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        refused_before: bool = False,
    ) -> Any:
        """Go on after the deferral: get the final record, and end the task as the outcome says.

        Args:
            context: Airflow's context.
            event: The trigger's ``CallEvent``.
            deadline: When the wait gives up, in seconds since the epoch.
            refused_before: Whether the trigger before this one was refused, too, but the worker wasn't.
        """
        if isinstance(event, Mapping) and isinstance(event.get("agent_id"), str):
            self.agent_id = event["agent_id"]
        with self._softly(), self.hook() as hook:
            wait = self.new_wait(_deadline(event) if deadline is None else deadline)
            outcome = self._take_in(wait, event)
            if outcome == "refused":
                # If the worker is refused, too, this raises the error in its own words.
                record = self.try_look(hook, wait, not_found_is_final=True)
            else:
                record = self.try_look(hook, wait, retry_for=RETRY_FOR if outcome == "ended" else 0)
            if record is None or not wait.saw(record):
                refused_by = (event or {}).get("error") if record else None
                self._wait_on(wait, outcome, refused_by, refused_before)
        return self.finish(context, record)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume as Airflow does, but look at the call first when the trigger could not say how it stands."""
        if self.start_from_trigger:
            self._forget_earlier_run(context)
        if next_method != TRIGGER_FAILED:
            # Not by Airflow's own: a sensor's hides the reason of each skip behind "due to soft_fail".
            return getattr(self, next_method)(context, **(next_kwargs or {}))
        with self._softly():
            with self.hook() as hook:
                wait = self.new_wait(deadline=time.time())
                record = self.try_look(hook, wait)
            if record is None or not wait.saw(record):
                if (next_kwargs or {}).get("error") in TRIGGER_TIMEOUTS:
                    raise self._deferral_timed_out(wait)
                return super().resume_execution(next_method, next_kwargs, context)
        return self.finish(context, record)

    # --- The pieces ---

    def hook(self) -> TelzinoHook:
        """Make the hook for this task's connection and agent."""
        from airflow_provider_telzino.hooks.telzino import TelzinoHook

        return TelzinoHook(self.telzino_conn_id, self._agent_id())

    def new_wait(self, deadline: float | None = None) -> Wait:
        """Begin a wait for the call of this task, until a deadline or for the task's whole timeout."""
        with naming_the_connection(self.telzino_conn_id):
            call_id = checked_call_id(self.call_id)
        return Wait(
            call_id,
            deadline=time.time() + self.wait_timeout if deadline is None else deadline,
            poll_interval=self.wait_interval,
            log=self.log,
        )

    def try_look(
        self, hook: TelzinoHook, wait: Wait, *, retry_for: float = 0, not_found_is_final: bool = False
    ) -> Record | None:
        """Look at the call; ``None`` if that can't be done now, but may be later."""
        try:
            return hook.get_call(wait.call_id, retry_for=retry_for)
        except TelzinoNotFoundError as error:
            if not_found_is_final:
                raise
            self.log.warning("%s", error)
        except TelzinoTransientError as error:
            self.log.warning("%s", error)
        return None

    def finish(self, context: Context, record: Record) -> dict[str, Any]:
        """End the task as the call's outcome says.

        Returns:
            The record, or its ``record_fields``, for XCom.

        Raises:
            TelzinoOutcomeError: The status is in ``fail_on``. The record has been pushed.
            AirflowSkipException: The status is in ``skip_on``. The record has been pushed.
        """
        status, pushed = record["status"], self.policy.cut(record, self.log)
        if self.policy.is_success(status):
            return pushed
        self._push(context, pushed)
        if status in self.policy.skip_on:
            raise AirflowSkipException(f"Call {record['id']} ended with {status}, which is in `skip_on`.")
        with self._softly():
            raise self.outcome_error(status)(
                f"The call ended with {status}{_sip_code(record)}, which is in `fail_on`."
                + (" Its record is in XCom." if self.do_xcom_push else ""),
                conn_id=self.telzino_conn_id,
                call_id=record["id"],
            )

    def outcome_error(self, status: str) -> type[TelzinoOutcomeError]:
        """Choose the error for a status of ``fail_on``. One who only waits can't mend it by a retry."""
        return TelzinoCallEndedBadlyError

    def timed_out(self, wait: Wait) -> TelzinoTimeoutError:
        """Build the error for a wait whose time is over."""
        return self.timeout_error(
            f"The call had not ended when the timeout of {self.wait_timeout:g} s was over; "
            f"{wait.last_seen()}. {self.after_timeout}",
            conn_id=self.telzino_conn_id,
            call_id=wait.call_id,
        )

    def _deferral_timed_out(self, wait: Wait) -> TelzinoTimeoutError:
        """Build the error for a trigger that Airflow ended. Only a start there has ``execution_timeout``."""
        limit = self.execution_timeout.total_seconds() if self.execution_timeout else self.wait_timeout
        if not self.start_from_trigger or limit >= self.wait_timeout:
            return self.timed_out(wait)
        return TelzinoTimeoutError(
            f"The call had not ended when the task's `execution_timeout` of {limit:g} s was over. "
            f"{self.after_timeout}",
            conn_id=self.telzino_conn_id,
            call_id=wait.call_id,
        )

    def unknown_event(self, call_id: str | None) -> TelzinoError:
        """Build the error for an event that isn't what our trigger says of this task's call."""
        return TelzinoError(
            "The trigger's event is unknown, or about another call. Do triggerer and workers run the same "
            "version of the provider?",
            conn_id=self.telzino_conn_id,
            call_id=call_id,
        )

    def _take_in(self, wait: Wait, event: Mapping[str, Any] | None) -> str:
        """Check a trigger's event, and go on from what it saw. Returns its outcome."""
        outcome = event.get("outcome") if isinstance(event, Mapping) else None
        since = event.get("status_since", wait.since) if isinstance(event, Mapping) else None
        known = outcome in OUTCOMES and isinstance(since, (int, float))
        # A trigger that starts a task names no call if it can't use the task's `call_id`.
        named = (wait.call_id, None) if outcome == "refused" else (wait.call_id,)
        if event is None or not known or event.get("call_id") not in named:
            raise self.unknown_event(wait.call_id)
        wait.status, wait.since = event.get("status"), float(since or wait.since)
        return str(outcome)

    def _wait_on(self, wait: Wait, outcome: str, refused_by: object, refused_before: bool) -> NoReturn:
        """Decide what follows when the trigger is done, but the final record isn't here."""
        about: dict[str, Any] = {"conn_id": self.telzino_conn_id, "call_id": wait.call_id}
        if refused_by is not None and refused_before:
            raise TelzinoError(
                f"The triggerer could not wait for the call ({refused_by}), but this worker was not refused. "
                "The triggerer's log lines above have the reason; does it know the same connection?",
                **about,
            )
        if outcome == "ended" and wait.time_left() <= 0:
            raise TelzinoUnavailableError(
                f"The call ended with {wait.status}, but its record can't be had now. Clear the task, or let "
                "it retry, to get it.",
                **about,
            )
        if outcome == "timeout" or wait.time_left() <= 0:
            raise self.timed_out(wait)
        # An outage delays the outcome, nothing more. Nor does a refusal that this worker didn't meet, once:
        # Airflow says that a connection isn't defined also when only its database is away.
        self._defer(wait, refused=refused_by is not None)

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
            kwargs={"deadline": wait.deadline} | ({"refused_before": True} if refused else {}),
            timeout=longest_deferral(wait.time_left(), wait.poll_interval),
        )
        raise AssertionError("unreachable: defer() raises")  # it isn't typed so on every Airflow

    def _agent_id(self) -> str | None:
        agent_id = agent_of(self.call_id, self.agent_id)
        with naming_the_connection(self.telzino_conn_id):
            return checked_agent_id(agent_id) if agent_id else None

    def _push(self, context: Context, record: dict[str, Any]) -> None:
        """Push as Airflow does with what a task returns, for a task that won't return."""
        if not self.do_xcom_push:
            return
        for key, value in xcoms(record, self.multiple_outputs):
            context["ti"].xcom_push(key=key, value=value)

    @contextlib.contextmanager
    def _softly(self) -> Iterator[None]:
        """Make a skip of any error if the user wants that: Airflow itself does so in some modes only."""
        try:
            yield
        except AirflowSkipException:
            raise
        except AirflowException as error:
            if self.soft_fail or getattr(self, "never_fail", False):
                raise AirflowSkipException(f"Skipped instead of failed (soft_fail): {error}") from error
            raise


def _sip_code(record: Mapping[str, Any]) -> str:
    code = record.get("sip_status_code")
    return f" (SIP {code})" if isinstance(code, int) else ""


def _deadline(event: object) -> float | None:
    """Read the deadline from an event. If a trigger began the task, or under `dag.test()`, only it has it."""
    deadline = event.get("deadline") if isinstance(event, Mapping) else None
    return float(deadline) if isinstance(deadline, (int, float)) else None
