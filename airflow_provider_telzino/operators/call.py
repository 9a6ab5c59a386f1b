"""Operators for one call: get its record, or place it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.api import endpoints
from airflow_provider_telzino.api.arguments import (
    check_literals,
    checked_agent_id,
    checked_call_id,
    checked_callback_url,
    checked_context,
    checked_metadata,
    checked_number,
    naming_the_connection,
    naming_the_task,
)
from airflow_provider_telzino.exceptions import (
    OUTCOME_ERRORS,
    TelzinoArgumentError,
    TelzinoError,
    TelzinoOutcomeError,
)
from airflow_provider_telzino.placing.dialling import Dialling, check_dialling_arguments
from airflow_provider_telzino.placing.memory import Memory
from airflow_provider_telzino.placing.placer import CallPlacer
from airflow_provider_telzino.rules.attempts import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_REDIAL_DELAY,
    Attach,
    Done,
    RedialRules,
    WaitUntil,
)
from airflow_provider_telzino.rules.calling_hours import checked_zone
from airflow_provider_telzino.rules.identity import attempt_of, ended_at, with_identity
from airflow_provider_telzino.rules.permission import DEFAULT_DIAL_TIMEOUT, DialLimits, MayCall
from airflow_provider_telzino.rules.waiting import CallEvent, flag
from airflow_provider_telzino.version_compat import time_trigger
from airflow_provider_telzino.waiting.arguments import WaitingOperator
from airflow_provider_telzino.xcom import ATTEMPTS, attempt_summary

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import TelzinoHook

SHORTEST_PAUSE = timedelta(seconds=5)  # Airflow may consider a task that resumes sooner dead
ANSWER_FIELDS = ("id", "status", "room_name", "created_at", "agent_id")  # of a call that isn't waited for


class TelzinoGetCallOperator(WaitingOperator):
    """Push a call's final record to XCom; wait for it if the call hasn't ended.

    With Airflow's ``multiple_outputs=True``, each field of the record is an XCom of its own, too. A bad
    outcome fails the task without retries, since a call's outcome doesn't change.

    Args:
        call_id: The call (UUID), or a record that has an ``id``, such as ``place.output``; then its
            ``agent_id`` is used unless the task names an agent. Templated.
        wait_for_completion: Wait until the call has ended. ``False`` pushes the record as it is now, whatever
            the status.
        kwargs: ``poll_interval``, ``soft_fail`` and the parameters that all waits share, which are documented
            with :class:`~airflow_provider_telzino.waiting.arguments.WaitingTask` and in docs/waiting.md; and
            those of Airflow's ``BaseOperator``.

    Raises:
        TelzinoCallEndedBadlyError: The call ended in a status of ``fail_on``.
        TelzinoTimeoutError: The call had not ended when ``timeout`` was over.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    def __init__(self, *, call_id: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.call_id = call_id
        self.check_template_fields()
        self.use_triggerer()

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        super().check_arguments(given)
        check_literals(given, call_id=checked_call_id)

    def execute(self, context: Context) -> Any:
        """Get the record; wait for it if the call has not ended.

        Returns:
            The record, for XCom.
        """
        if not self.wait_for_completion:
            with self._softly(), self.hook() as hook:
                return self.policy.cut(hook.get_call(self.call_id), self.log)
        return self.wait_for_call(context)


class TelzinoPlaceCallOperator(WaitingOperator):
    """Place a call, **exactly once**, and push its final record to XCom; call again if nobody was reached.

    Airflow's retries never dial after an outcome: they exist for crashes, outages and lost answers, and
    continue with the call that the task has placed. The task itself calls again after an outcome in
    ``redial_on``, and takes no worker slot in between. All attempts are pushed as the
    XCom ``attempts`` (a list of ``id``, ``status``, ``created_at``), the last record as ``return_value``.

    Before each dial the task checks ``dial_timeout``, ``calling_hours``, ``calling_days`` and ``may_call``.
    If they rule out the first call, ``may_call`` skips the task and ``dial_timeout`` fails it. If they rule
    out a further one, the outcome of the last call counts.

    Args:
        to_number: The phone number, E.164. Templated.
        call_context: Text appended to the agent's system prompt; at most 4,000 characters. Templated.
        metadata: JSON object, echoed in the record as ``request_metadata``; at most 16 KB, together with the
            task's identity, which is added under the key ``airflow``. Templated.
        callback_url: ``https://`` URL that Telzino POSTs the result to. Templated.
        redial_on: Outcomes after which to call again: ``no_answer``, ``busy``, ``failed``. It needs
            ``wait_for_completion``.
        max_attempts: How many calls to place in all.
        redial_delay: How long after the end of a call to place the next one: a ``timedelta``, or one for each
            status, such as ``{"busy": timedelta(minutes=5)}``.
        calling_hours: When people may be called, ``("HH:MM", "HH:MM")`` in the callee's time zone; the end is
            not included.
        calling_days: On which days, such as ``("mon", "tue")``.
        timezone: The callee's time zone, such as ``America/New_York``. By default it is derived from the
            number (with the extra ``timezones``), and the hours must be open in every zone in which the
            number may be. Templated.
        may_call: A function ``may_call(contact, now)`` that is asked directly before each call. ``contact``
            is a mapping of ``to_number``, ``call_context``, ``metadata``, ``callback_url`` and ``timezone``;
            ``now`` a pendulum time in the callee's zone (UTC if that isn't known). It returns
            ``True``, ``False`` (never call), or a time with a time zone before which not to call.
        dial_timeout: How long after the task's first start people may be called.
        wait_for_completion: Wait until the call has ended. ``False`` pushes the API's answer (``id``,
            ``status``, ``room_name``, ``created_at``) with the ``agent_id`` added, so that a sensor can wait.
        reattach: What a cleared task does if its call has ended well: ``True`` pushes that call's record
            again, ``False`` places another call. With a call that is still live it continues in either case.
        kwargs: See :class:`~airflow_provider_telzino.waiting.arguments.WaitingOperator`.

    Raises:
        TelzinoArgumentError: An argument is invalid. Nothing was dialled.
        TelzinoNoAnswerError, TelzinoBusyError, TelzinoCallFailedError: The last call ended in this status,
            which is in ``fail_on``. Airflow doesn't retry it.
        TelzinoDialTimeoutError: Nobody could be called within ``dial_timeout``. Airflow doesn't retry it.
        TelzinoTimeoutError: The call had not ended when ``timeout`` was over. A retry continues to wait.
        TelzinoUnknownPlacementError: Whether the call was placed is unknown, so the task doesn't dial. A
            retry searches again.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    template_fields: Sequence[str] = (
        "to_number",
        "call_context",
        "metadata",
        "callback_url",
        "timezone",
        "agent_id",
        "telzino_conn_id",
    )
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color, ui_fgcolor = "#c9efd9", "#0c4529"  # green: it calls
    can_start_in_triggerer = False  # a trigger may run twice at the same time
    after_timeout = "The call may still be in progress; a retry of the task continues to wait for it."
    sleep = staticmethod(lambda seconds: time.sleep(seconds))  # tests replace either

    def __init__(
        self,
        *,
        to_number: str,
        call_context: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        callback_url: str | None = None,
        redial_on: Collection[str] = (),
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        redial_delay: timedelta | Mapping[str, timedelta] = DEFAULT_REDIAL_DELAY,
        calling_hours: tuple[str, str] | None = None,
        calling_days: Collection[str] | None = None,
        timezone: str | None = None,
        may_call: MayCall | None = None,
        dial_timeout: timedelta = DEFAULT_DIAL_TIMEOUT,
        reattach: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.to_number = to_number
        self.call_context = call_context
        self.metadata = metadata
        self.callback_url = callback_url
        self.timezone = timezone
        with naming_the_task(self.task_id):
            self.redialling = RedialRules.checked(
                redial_on,
                max_attempts,
                redial_delay,
                fail_on=self.policy.fail_on,
                reattach=flag("reattach", reattach),
            )
            self.limits = DialLimits.checked(calling_hours, calling_days, may_call, dial_timeout)
            if self.redialling.redial_on and not self.wait_for_completion:
                raise TelzinoArgumentError(
                    "`redial_on` needs `wait_for_completion=True`: only then the task knows the outcome."
                )
        self.call_id: str | None = None  # once the call is placed or found
        self._memory = Memory()
        self._is_killed = False
        self.check_template_fields()
        self.use_triggerer()

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        super().check_arguments(given)
        check_literals(
            {name: value for name, value in given.items() if value is not None or name == "to_number"},
            to_number=checked_number,
            call_context=checked_context,
            metadata=checked_metadata,
            callback_url=checked_callback_url,
            timezone=checked_zone,
        )
        check_dialling_arguments(given)

    def execute(self, context: Context) -> Any:
        """Place the call, or continue with the one that an earlier try has placed.

        Returns:
            The final record, or the API's answer if the task doesn't wait, for XCom.
        """
        return self._proceed(context)

    def resume_dialling(
        self,
        context: Context,
        event: object = None,
        attempts: Sequence[Mapping[str, Any]] | None = None,
        started: str | None = None,
        known_until: str | None = None,
    ) -> Any:
        """Resume after a pause in which nobody was to be called.

        Args:
            context: Airflow's context.
            event: The time trigger's, which says nothing else.
            attempts: The calls that the task has placed: ``id``, ``agent_id``, ``status``, ``created_at``.
            started: When it first started, ISO 8601.
            known_until: The task has placed no other call before this time, ISO 8601.
        """
        self._memory = Memory.restored(attempts, started, known_until, has_waited=True)
        return self._proceed(context)

    def execute_complete(
        self,
        context: Context,
        event: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        refused_before: bool = False,
        attempts: Sequence[Mapping[str, Any]] | None = None,
        started: str | None = None,
        known_until: str | None = None,
    ) -> Any:
        """Resume when the call has ended, as every wait does; see ``resume_dialling`` for the rest."""
        self._memory = Memory.restored(attempts, started, known_until)
        return super().execute_complete(context, event, deadline, refused_before)

    def finish(self, context: Context, record: Mapping[str, Any]) -> Any:
        """Call again after an outcome in ``redial_on``; else end the task according to the outcome."""
        if self._memory.calls is None:
            self._find_attempts(context, record)
        self._memory = self._memory.began_before(ended_at(record))
        self._push_attempts(context, record)
        if record["status"] in self.redialling.redial_on:
            return self._proceed(context)
        return super().finish(context, record)

    def restore_call(self, context: Context, event: CallEvent) -> None:
        """Take the call from the event; find it if no event names it. Never dials."""
        if event.is_from_airflow:
            self._memory = Memory.restored()
            with self.hook() as hook:
                placer = self._placer(hook, context)
                placer.next_step()
                if not placer.history.attempts:
                    raise TelzinoError(
                        "The task resumed without an event, and has placed no call yet. A retry continues.",
                        conn_id=self.telzino_conn_id,
                    )
                self._memory = placer.memory()
                self._continue_with(placer.history.attempts[-1])
            return
        if event.call_id is None:
            raise self.unknown_event()
        self.call_id = event.call_id
        super().restore_call(context, event)

    def on_kill(self) -> None:
        """Log that the call continues, and dial no more: Airflow lets the task run for some more seconds."""
        self._is_killed = True
        call = f"Call {self.call_id}" if self.call_id else "A call, if one was placed,"
        self.log.warning(
            "The task was killed, but Telzino documents no way to end a call. %s continues; if the task is "
            "retried or cleared, it continues with that call.",
            call,
        )

    def outcome_error(self, status: str) -> type[TelzinoOutcomeError]:
        """Choose the error for a status of ``fail_on``. Airflow doesn't retry it."""
        return OUTCOME_ERRORS.get(status, TelzinoOutcomeError)

    def deferral_kwargs(self) -> dict[str, Any]:
        """Return what the task has to know again when it resumes."""
        return self._memory.to_json(known_until=datetime.now(timezone.utc))

    def task_end(self) -> dict[str, Any] | None:
        """Return how the trigger ends the task; not after an outcome in ``redial_on``."""
        end = super().task_end()
        if end is None or self._memory.calls is None:
            return None
        worker_ends = self.policy.fail_on | self.redialling.redial_on
        earlier = [attempt_summary(each) for each in self._memory.calls if each["id"] != self.call_id]
        return {**end, "fail_on": sorted(worker_ends - self.policy.skip_on), "earlier_attempts": earlier}

    # --- What follows from the calls so far ---

    def _proceed(self, context: Context) -> Any:
        """Dial, wait for a call, pause, or end the task: whatever follows from the calls so far."""
        with self._softly():
            while isinstance(step := self._next_step(context), WaitUntil):
                self._pause(step)
        self.log.info(
            "%s call %s: %s.",
            "Ending with" if isinstance(step, Done) else "Waiting for",
            self.call_id,
            step.why,
        )
        if not self.wait_for_completion:
            self._push_attempts(context, step.call)
            answer = {name: step.call[name] for name in ANSWER_FIELDS if name in step.call}
            return self.policy.cut(answer, self.log)
        if isinstance(step, Done):
            self._push_attempts(context, step.call)
            return super().finish(context, step.call)
        # The step has the call's current status: a poll would add nothing.
        return self.wait_for_call(context, known=step.call)

    def _next_step(self, context: Context) -> Attach | Done | WaitUntil:
        """Dial if that is due and allowed, and say what the task has to do then."""
        with self.hook() as hook:
            placer = self._placer(hook, context)
            request = self._checked_request(placer)
            dialling = Dialling(
                placer,
                self.limits,
                self._contact(),
                is_killed=lambda: self._is_killed,
                conn_id=self.telzino_conn_id,
                log=self.log,
            )
            step = dialling.proceed(request)
            if isinstance(step, WaitUntil):
                self._memory = placer.memory()
                return step
            self._memory = placer.memory(step.call)
            self._continue_with(step.call)
            if isinstance(step, Done):  # a list's items may lack fields of the record
                record = hook.get_call(step.call["id"], self.agent_id)
                step = replace(step, call={**record, "agent_id": self.agent_id})
        return step

    def _pause(self, step: WaitUntil) -> None:
        """Wait until a moment: in the triggerer, or on this worker if the task doesn't defer."""
        # Whatever `may_call` asks for: Airflow may consider a task that resumes sooner dead.
        moment = max(step.moment, datetime.now(timezone.utc) + SHORTEST_PAUSE)
        self.log.info("Calling nobody until %s: %s.", moment.isoformat(timespec="seconds"), step.why)
        if self.deferrable:
            self.defer(
                trigger=time_trigger(moment),
                method_name="resume_dialling",
                kwargs=self._memory.to_json(known_until=moment),
            )
        while (left := (moment - datetime.now(timezone.utc)).total_seconds()) > 0:
            if self._is_killed:
                raise TelzinoError("The task was killed before it dialled.", conn_id=self.telzino_conn_id)
            self.sleep(min(left, 1.0))
        self._memory = replace(self._memory, has_waited=True)

    # --- The pieces ---

    def _placer(self, hook: TelzinoHook, context: Context) -> CallPlacer:
        with naming_the_connection(self.telzino_conn_id):
            agent_id = checked_agent_id(self.agent_id or hook.settings.agent_id)
        return CallPlacer(
            hook,
            agent_id,
            context,
            self.log,
            to_number=self.to_number,
            redialling=self.redialling,
            memory=self._memory,
        )

    def _checked_request(self, placer: CallPlacer) -> tuple[str | None, dict[str, Any], str | None]:
        """Check everything before anything is searched or dialled."""
        with naming_the_connection(self.telzino_conn_id):
            metadata = checked_metadata(self.metadata or {})
            marked = with_identity(metadata, placer.run, self.redialling.max_attempts)
            agent_id = placer.agent_id
            endpoints.place_call_request(
                agent_id, self.to_number, self.call_context, marked, self.callback_url
            )
        return self.call_context, metadata, self.callback_url

    def _contact(self) -> dict[str, Any]:
        return {
            "to_number": self.to_number,
            "call_context": self.call_context,
            "metadata": self.metadata,
            "callback_url": self.callback_url,
            "timezone": self.timezone,
        }

    def _continue_with(self, call: Mapping[str, Any]) -> None:
        self.call_id, self.agent_id = call["id"], call["agent_id"]

    def _find_attempts(self, context: Context, record: Mapping[str, Any]) -> None:
        """Find all calls of the task, for what Airflow has dropped between deferral and resumption."""
        self._memory = self._memory.with_calls([{**record, "agent_id": self.agent_id}])
        if attempt_of(record) == 1:
            return
        try:
            with self.hook() as hook:
                placer = self._placer(hook, context)
                placer.next_step(find_all=True)
                self._memory = placer.memory(record)
        except TelzinoError as error:  # the outcome is known, and no reason to fail
            self.log.warning("The earlier attempts of this task could not be found: %s", error)

    def _push_attempts(self, context: Context, record: Mapping[str, Any]) -> None:
        if not self.do_xcom_push:
            return
        calls = {each["id"]: each for each in (*(self._memory.calls or ()), record)}  # in the same order
        context["ti"].xcom_push(key=ATTEMPTS, value=[attempt_summary(each) for each in calls.values()])
