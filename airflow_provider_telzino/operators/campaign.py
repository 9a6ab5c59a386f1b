"""The operator that calls many contacts in one task."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_telzino.api.arguments import (
    checked_agent_id,
    naming_the_connection,
    naming_the_task,
)
from airflow_provider_telzino.exceptions import (
    TelzinoArgumentError,
    TelzinoContactsOutcomeError,
    TelzinoError,
    TelzinoPlanChangedError,
    TelzinoTimeoutError,
    TelzinoTransientError,
)
from airflow_provider_telzino.placing.call_context import compiled_context, context_renderer
from airflow_provider_telzino.placing.campaign import Campaign, CampaignRules, Waiting
from airflow_provider_telzino.placing.campaign_arguments import (
    check_campaign_arguments,
    checked_max_active,
    refuse_multiple_outputs,
)
from airflow_provider_telzino.placing.campaign_memory import CampaignMemory
from airflow_provider_telzino.placing.campaign_plan import check_approval, fingerprint_of, make_plan
from airflow_provider_telzino.placing.campaign_results import CampaignResults, RecordFetch, collect_results
from airflow_provider_telzino.placing.contact_source import ContactSource, TakesContacts
from airflow_provider_telzino.placing.contacts import (
    Contact,
    Reject,
    contacts_error,
    read_contacts,
)
from airflow_provider_telzino.placing.task_run import read_task_run
from airflow_provider_telzino.rules.attempts import DEFAULT_MAX_ATTEMPTS, DEFAULT_REDIAL_DELAY, RedialRules
from airflow_provider_telzino.rules.batch import BatchEvent, counts_text
from airflow_provider_telzino.rules.campaign import contact_run
from airflow_provider_telzino.rules.campaign_results import checked_outcomes
from airflow_provider_telzino.rules.identity import with_identity
from airflow_provider_telzino.rules.permission import DEFAULT_DIAL_TIMEOUT, DialLimits, MayCall
from airflow_provider_telzino.rules.waiting import (
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    MIN_POLL_INTERVAL,
    OutcomePolicy,
    flag,
    longest_deferral,
    seconds,
)
from airflow_provider_telzino.version_compat import is_unmapped_copy, time_trigger, was_given
from airflow_provider_telzino.waiting.outcome_task import OutcomeTask
from airflow_provider_telzino.waiting.parse_checks import ParseChecks

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import TelzinoHook

DEFAULT_MAX_ACTIVE = 100
DEFAULT_REDIAL_ON = ("no_answer", "busy")
SUMMARY = "summary"  # the XCom key of the counts


class TelzinoCampaignOperator(TakesContacts, OutcomeTask, ParseChecks, BaseOperator):
    """Call many contacts in one task, each like a single call, and push all outcomes.

    A few short worker runs dial, and the triggerer waits in between. Each contact is called **exactly once**
    for each attempt, whatever crashes: the list of the agent's calls says what was dialled, and a call
    carries the contact in its ``metadata["airflow"]``. A campaign that is cleared continues, and
    doesn't call those again whose outcome is known.

    XComs: ``return_value`` is a list in the order of the contacts, each ``{"contact": id, "outcome": ...,
    "attempts": n, "record": {...} or None, "error": ... or None}``. ``outcome`` is the last call's status,
    or ``rejected`` (the API refused the call), ``not_allowed`` (``may_call`` returned ``False``) or
    ``not_called`` (``dial_timeout``). ``summary`` has ``contacts``, ``outcomes`` (counts), ``attempts`` and
    ``talk_time`` (seconds).

    Args:
        contacts: Numbers (E.164) or dicts: a list, a template or XComArg of one, or a function that returns
            one and is called on the worker, so that contacts need not enter Airflow's database. A dict has
            ``to_number``, and optionally ``id`` (text or a whole number; by default the number),
            ``call_context``, ``metadata``, ``callback_url``, ``timezone``, and any other keys that
            ``call_context`` or ``may_call`` use. Numbers and ids are unique. A contact is never rendered.
        call_context: A template that is rendered for each contact without a ``call_context`` of its own,
            such as ``"You are calling {{ contact.name }}."``. At most 4,000 characters.
        metadata: JSON object; a contact's own is merged over it. Templated.
        callback_url: ``https://`` URL that Telzino POSTs each result to. Templated.
        max_active_calls: How many calls of the campaign are live at any moment, at most: 1 to 1,000.
        redial_on: Outcomes after which a contact is called again: ``no_answer``, ``busy``, ``failed``.
        max_attempts: How many calls a contact gets in all.
        redial_delay: How long after the end of a call the next one is due at the earliest; one time, or one
            for each status.
        calling_hours: ``("HH:MM", "HH:MM")`` in the contact's time zone, the end not included.
        calling_days: Such as ``("mon", "tue")``, in the contact's time zone.
        timezone: The IANA name for contacts that have none; by default it is derived from the number, for
            which the extra ``timezones`` is needed. Templated.
        may_call: A function ``may_call(contact, now)``, asked directly before each dial. It returns ``True``,
            ``False`` (never call), or a time with a time zone before which not to call.
        dial_timeout: How long after the task's first start people may be called.
        dry_run: Call nobody; push the plan as ``return_value``.
        approved_plan: A plan that a dry run has pushed, or its ``fingerprint``. If contacts or settings
            differ, nobody is called. Templated.
        fail_on: Outcomes of contacts that fail the task once all outcomes are pushed.
        record_fields: Push only these fields of the records.
        agent_id: The agent that calls (UUID); by default the connection's. Templated.
        telzino_conn_id: The Airflow connection, of type ``telzino``. Templated.
        poll_interval: Seconds between two polls of the live calls, or a ``timedelta``.
        timeout: Seconds to wait for a call to end, or a ``timedelta``.
        deferrable: Wait in the triggerer. ``False`` waits on the worker.
        soft_fail: Skip the task instead of failing it, whatever the error.
        kwargs: The parameters of Airflow's ``BaseOperator``.

    Raises:
        TelzinoArgumentError: An argument or a contact is invalid. Nobody was called.
        TelzinoContactsOutcomeError: Contacts have an outcome of ``fail_on``. Airflow doesn't retry it.
        TelzinoTimeoutError: Calls had not ended when their ``timeout`` was over. A retry continues to wait.
        TelzinoUnknownPlacementError: It is unknown which calls were placed. A retry finds out.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    # `call_context` is rendered for each contact, and not stored by Airflow.
    template_fields: Sequence[str] = (
        "contacts",
        "metadata",
        "callback_url",
        "timezone",
        "approved_plan",
        "agent_id",
        "telzino_conn_id",
    )
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color, ui_fgcolor = "#fde0b0", "#5a3300"  # orange: it calls many
    sleep = staticmethod(lambda seconds: time.sleep(seconds))  # tests replace either

    def __init__(
        self,
        *,
        contacts: Any,
        call_context: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        callback_url: str | None = None,
        max_active_calls: int = DEFAULT_MAX_ACTIVE,
        redial_on: Collection[str] = DEFAULT_REDIAL_ON,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        redial_delay: timedelta | Mapping[str, timedelta] = DEFAULT_REDIAL_DELAY,
        calling_hours: tuple[str, str] | None = None,
        calling_days: Collection[str] | None = None,
        timezone: str | None = None,
        may_call: MayCall | None = None,
        dial_timeout: timedelta = DEFAULT_DIAL_TIMEOUT,
        dry_run: bool = False,
        approved_plan: Any = None,
        fail_on: Collection[str] = (),
        record_fields: Collection[str] | None = None,
        agent_id: str | None = None,
        telzino_conn_id: str = "telzino_default",
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL,
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        deferrable: bool = True,
        soft_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.contacts = ContactSource.of(contacts)
        self.call_context = call_context
        self.metadata = metadata
        self.callback_url = callback_url
        self.timezone = timezone
        self.approved_plan = approved_plan
        self.agent_id = agent_id
        self.telzino_conn_id = telzino_conn_id
        # A template of a plan may be empty when it is rendered, which approves nothing.
        self._has_approval = approved_plan is not None
        with naming_the_task(self.task_id):
            self.fail_on = checked_outcomes(fail_on)
            self.policy = OutcomePolicy.checked((), (), record_fields)
            self.rules = CampaignRules(
                RedialRules.checked(redial_on, max_attempts, redial_delay, fail_on=(), reattach=True),
                DialLimits.checked(calling_hours, calling_days, may_call, dial_timeout),
                checked_max_active(max_active_calls),
                timedelta(seconds=seconds("timeout", timeout)),
            )
            self.poll_interval = max(seconds("poll_interval", poll_interval), MIN_POLL_INTERVAL)
            self.is_dry_run = flag("dry_run", dry_run)
            self.deferrable = flag("deferrable", deferrable)
            self.soft_fail = flag("soft_fail", soft_fail)
            refuse_multiple_outputs(self.multiple_outputs, dry_run=self.is_dry_run)
            if call_context is not None:
                compiled_context(call_context, self)
        self._is_killed = False
        self.check_template_fields()

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Begin a mapped task as Airflow does. An empty plan here is the default; one in its lists isn't."""
        if kwargs.get("approved_plan") is None:
            kwargs.pop("approved_plan", None)
        return super().partial(**kwargs)

    @property
    def needs_approval(self) -> bool:
        """Whether a plan was given, if only an empty one that a mapped task is expanded over."""
        return self._has_approval or (is_unmapped_copy(self) and was_given(self, "approved_plan"))

    @property
    def wait_interval(self) -> float:
        """Seconds between two polls."""
        return self.poll_interval

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        check_campaign_arguments(given)

    def execute(self, context: Context) -> Any:
        """Begin the campaign, or continue one of an earlier try.

        Returns:
            The outcome of each contact, or the plan of a dry run, for XCom.
        """
        return self._proceed(context)

    def resume(self, context: Context, event: object = None, memory: Mapping[str, Any] | None = None) -> Any:
        """Resume the campaign after a deferral.

        Args:
            context: Airflow's context.
            event: What ended the trigger. The agent's list of calls says more.
            memory: What the campaign knows from earlier; see :class:`CampaignMemory`.
        """
        stored = dict(memory or {})
        parsed = BatchEvent.parse(event)
        refusal = parsed.error if parsed is not None and parsed.outcome == "refused" else None
        is_refused = refusal is not None
        if is_refused and stored.get("was_refused"):
            with self._softly():
                raise self.refused_in_triggerer(refusal)
        return self._proceed(context, stored | {"was_refused": is_refused})

    def resume_without_event(
        self, outcome: str, context: Context, raise_airflows_error: Callable[[], Any]
    ) -> Any:
        """Resume if Airflow has stopped the trigger at the timeout of the deferral."""
        return self._proceed(context, {}) if outcome == "stopped" else raise_airflows_error()

    def on_kill(self) -> None:
        """Dial no more: Airflow lets the task run for some more seconds."""
        self._is_killed = True
        self.log.warning(
            "The campaign was killed and no longer dials, but Telzino documents no way to end a call. Those "
            "that are live continue. If the task is retried or cleared, the campaign continues with them."
        )

    # --- One worker run ---

    def _proceed(self, context: Context, stored: Mapping[str, Any] | None = None) -> Any:
        """Dial what may be dialled now, and wait; or end the task once nobody is called any more."""
        with self._softly(), self._hook() as hook:
            with naming_the_connection(self.telzino_conn_id):
                agent_id = checked_agent_id(self.agent_id or hook.settings.agent_id)
                is_first_run = stored is None and read_task_run(context).is_first
                try:
                    contacts, rejects = self._read_contacts(context)
                except TelzinoArgumentError as error:
                    if is_first_run or self.is_dry_run:
                        raise
                    again = "Calls may be live: a retry reads the contacts again."
                    raise TelzinoError(f"{error.args[0]} {again}") from error
                if self.is_dry_run:
                    return self._plan(contacts, rejects, agent_id)
                problem = self._why_not(contacts, rejects, agent_id)
                if problem is not None and is_first_run:
                    raise problem
            if problem is not None:  # Calls may be live, and their outcomes are not to be lost.
                self.log.warning(
                    "%s The campaign waits for its live calls, and no longer dials.", problem.sentence
                )
            memory = CampaignMemory() if stored is None else CampaignMemory.restored(stored, contacts)
            rules = self.rules if problem is None else replace(self.rules, may_dial=False)
            while isinstance(
                step := self._run_once(context, hook, agent_id, contacts, rules, memory), Waiting
            ):
                memory = step.memory
                self._wait(step, contacts)
        return self._end(context, step, problem or step.problem)

    def _why_not(
        self, contacts: Sequence[Contact], rejects: Sequence[Reject], agent_id: str
    ) -> TelzinoError | None:
        """Return why nobody may be called; ``None`` if contacts and plan are in order."""
        try:
            if self.needs_approval:
                settings = self._settings(agent_id)
                check_approval(self.approved_plan, fingerprint_of(contacts, **settings))
        except (TelzinoArgumentError, TelzinoPlanChangedError) as error:
            return error
        return contacts_error(contacts, rejects) if rejects else None

    def _run_once(
        self,
        context: Context,
        hook: TelzinoHook,
        agent_id: str,
        contacts: Sequence[Contact],
        rules: CampaignRules,
        memory: CampaignMemory,
    ) -> Waiting | CampaignResults:
        """Find out where each contact is, and dial; an outage of Telzino only delays that."""
        campaign = Campaign(
            hook,
            agent_id,
            context,
            self.log,
            rules=rules,
            memory=memory,
            is_killed=lambda: self._is_killed,
        )
        try:
            step = campaign.proceed(contacts)
            if isinstance(step, Waiting):
                return step
            fetch = RecordFetch(hook, campaign.agent_id, self.policy, self.log)
            settled = campaign.memory.settled
            return collect_results(contacts, step, settled, fetch, campaign.problem)
        except TelzinoTransientError as error:
            if campaign.is_over:
                raise
            waiting = campaign.outage()
            self.log.warning("%s The campaign continues at %s.", error.sentence, _time(waiting.pause.wake_at))
            return waiting

    def _wait(self, waiting: Waiting, contacts: Sequence[Contact]) -> None:
        """Wait in the triggerer, or on this worker if the task doesn't defer."""
        pause, memory = waiting.pause, waiting.memory
        self.log.info("The campaign waits until %s, or until calls have ended.", _time(pause.wake_at))
        if self.deferrable:
            from airflow_provider_telzino.triggers.batch import TelzinoCallBatchTrigger

            left = (pause.wake_at - datetime.now(timezone.utc)).total_seconds()
            self.defer(
                trigger=TelzinoCallBatchTrigger(
                    call_ids=waiting.call_ids,
                    deadline=pause.wake_at.timestamp(),
                    not_before=pause.not_before.timestamp(),
                    until_ended=pause.until_ended,
                    resume_after=dict(pause.resume_after),
                    poll_interval=self.poll_interval,
                    agent_id=memory.agent_id,
                    telzino_conn_id=self.telzino_conn_id,
                )
                if waiting.call_ids
                else time_trigger(pause.wake_at),
                method_name="resume",
                kwargs={"memory": memory.to_json(contacts)},
                timeout=longest_deferral(max(left, 0.0), self.poll_interval),
            )
        until = min(pause.wake_at, max(pause.not_before, _now() + timedelta(seconds=self.poll_interval)))
        while (left := (until - _now()).total_seconds()) > 0:
            if self._is_killed:
                raise TelzinoError(
                    "The campaign was killed, so it no longer dials.", conn_id=self.telzino_conn_id
                )
            self.sleep(min(left, 1.0))

    # --- The end ---

    def _end(
        self, context: Context, results: CampaignResults, problem: TelzinoError | None
    ) -> list[dict[str, Any]]:
        """Push all outcomes; then end the task according to them."""
        summary = results.summary
        if problem is not None and not summary.attempts:  # nothing has happened that could be told
            with self._softly():
                raise problem
        self.log.info("The campaign is over: %s.", counts_text(summary.outcomes) or "there are no contacts")
        bad = summary.failed(self.fail_on)
        if self.do_xcom_push:
            context["ti"].xcom_push(key=SUMMARY, value=summary.to_json())
            if bad or results.overdue or problem:  # a task that fails returns nothing
                self._push(context, results.rows)
        with self._softly():
            if problem is not None:
                raise problem
            if results.overdue:
                raise TelzinoTimeoutError(
                    f"Of its calls, {results.overdue:,} had not ended {self.rules.timeout} after they were "
                    "placed. They may still be in progress; a retry of the task continues to wait for them.",
                    conn_id=self.telzino_conn_id,
                )
            if bad:
                raise TelzinoContactsOutcomeError(
                    f"Contacts have an outcome that is in `fail_on`: {counts_text(bad)}."
                    + (" All outcomes are in XCom." if self.do_xcom_push else ""),
                    conn_id=self.telzino_conn_id,
                )
        return results.rows

    # --- The pieces ---

    def _hook(self) -> TelzinoHook:
        from airflow_provider_telzino.hooks.telzino import TelzinoHook

        return TelzinoHook(self.telzino_conn_id)

    def _plan(self, contacts: Sequence[Contact], rejects: Sequence[Reject], agent_id: str) -> dict[str, Any]:
        plan = make_plan(contacts, rejects, **self._settings(agent_id), now=pendulum.now("UTC"))
        self.log.info(
            "A dry run: %s contacts can be called, %s can't. The plan is in XCom.",
            f"{len(contacts):,}",
            f"{len(rejects):,}",
        )
        return plan

    def _settings(self, agent_id: str) -> dict[str, Any]:
        """Return what else than the contacts makes a plan."""
        return {
            "settings": {
                "call_context": self.call_context,
                "metadata": self.metadata,
                "callback_url": self.callback_url,
                "timezone": self.timezone,
                "agent_id": agent_id,
                "max_active_calls": self.rules.max_active,
            },
            "limits": self.rules.limits,
            "redialling": self.rules.redialling,
        }

    def _read_contacts(self, context: Context) -> tuple[list[Contact], list[Reject]]:
        run = read_task_run(context)
        render = None
        if self.call_context is not None:
            render = context_renderer(compiled_context(self.call_context, self), context)

        def mark(metadata: Mapping[str, Any], key: str) -> Mapping[str, Any]:
            return with_identity(metadata, contact_run(run, key), self.rules.redialling.max_attempts)

        return read_contacts(
            self.contacts.read(context),
            call_context=render,
            metadata=self.metadata,
            callback_url=self.callback_url,
            timezone=self.timezone,
            limits=self.rules.limits,
            mark=mark,
        )


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
