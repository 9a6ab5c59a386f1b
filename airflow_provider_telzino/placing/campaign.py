"""One worker run of a campaign: find what was dialled so far, dial what may be dialled now, say what follows.

The agent's list of calls says what was dialled, whatever happened to earlier worker runs. It may show a new
call late, so a contact is called only if a pass through the list has begun long enough after any earlier
process may have dialled.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_telzino.exceptions import (
    TelzinoArgumentError,
    TelzinoError,
    TelzinoTransientError,
    TelzinoUnknownPlacementError,
)
from airflow_provider_telzino.placing.campaign_memory import CampaignMemory, Settled
from airflow_provider_telzino.placing.contacts import Contact
from airflow_provider_telzino.placing.search import CallSearch, InconclusiveSearchError
from airflow_provider_telzino.placing.task_run import read_task_run
from airflow_provider_telzino.placing.task_state import (
    StoredCalls,
    TaskState,
    UnreadableError,
)
from airflow_provider_telzino.placing.wave import Wave, WaveResult
from airflow_provider_telzino.rules.attempts import RedialRules
from airflow_provider_telzino.rules.batch import counts_text
from airflow_provider_telzino.rules.campaign import (
    CampaignCalls,
    ContactCalls,
    Pause,
    Ready,
    Standing,
    bare_call,
    clock_lead,
    contact_run,
    plan_pause,
    stand,
)
from airflow_provider_telzino.rules.identity import Record, created_at, with_identity
from airflow_provider_telzino.rules.permission import DialLimits, Never, NotBefore
from airflow_provider_telzino.rules.search import SearchPlan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import TelzinoHook

Check = Callable[[Mapping[str, Any], datetime, pendulum.DateTime], NotBefore | Never | None]

OUTAGE_PAUSE = timedelta(minutes=1)  # until it tries again when Telzino is unavailable
LIST_LAG = timedelta(seconds=15)  # after which the agent's list shows each call that was placed
SHORTEST_PAUSE = timedelta(seconds=5)  # Airflow may consider a task that resumes sooner dead


@dataclass(frozen=True)
class CampaignRules:
    """Whom a campaign calls, when, how often, and how many at the same time."""

    redialling: RedialRules
    limits: DialLimits
    max_active: int
    timeout: timedelta
    """How long after it was placed a call is waited for."""
    may_dial: bool = True
    """Whether anybody may be called. Otherwise the campaign only waits for the calls that are live."""


@dataclass(frozen=True)
class Waiting:
    """The campaign has to wait, and to run again then."""

    pause: Pause
    call_ids: list[str]
    """The calls that it waits for."""
    memory: CampaignMemory
    """What the next worker run has to know."""


@dataclass(frozen=True)
class Finished:
    """Nobody is called any more."""

    ended: list[ContactCalls[Contact]]
    """All contacts whose outcome is known."""
    overdue: list[ContactCalls[Contact]]
    """Contacts whose call has not ended within the timeout."""


class Campaign:
    """One worker run of a campaign.

    Args:
        hook: The hook of the task's connection.
        agent_id: The agent that calls.
        context: Airflow's context.
        log: The task's logger.
        rules: The campaign's rules.
        memory: What it knows from earlier worker runs.
        is_killed: Whether the task was killed meanwhile. Airflow lets it run for some more seconds.
    """

    def __init__(
        self,
        hook: TelzinoHook,
        agent_id: str,
        context: Context,
        log: Any,
        *,
        rules: CampaignRules,
        memory: CampaignMemory,
        is_killed: Callable[[], bool],
    ) -> None:
        self.memory = memory
        """What the next worker run has to know."""
        self.run = read_task_run(context)
        self._hook = hook
        self._log = log
        self._rules = rules
        self._is_killed = is_killed
        self._state = TaskState(context, log)
        self._given_agent = agent_id
        self.problem: TelzinoArgumentError | None = None
        """Why nobody may be called any more: ``may_call`` has given a wrong answer."""
        self._started = memory.started or _now()
        self._knows_start = memory.has_read_list

    def proceed(self, contacts: Sequence[Contact]) -> Waiting | Finished:
        """Dial what may be dialled now, and say what follows.

        If ``may_call`` gives a wrong answer, ``problem`` says so, and the campaign ends with its live calls.

        Raises:
            TelzinoUnknownPlacementError: It can't be determined which calls were placed before.
            TelzinoError: The API refused, ``may_call`` raised, or the task was taken from this process.
        """
        calls, standing = self._find_calls(contacts)
        if standing.moved_numbers:
            self._log.warning(
                "%s contacts have another number than they were called at. Clear the task to call the new "
                "numbers.",
                standing.moved_numbers,
            )
        self._log_progress(standing, len(contacts))
        free = max(0, self._rules.max_active - len(calls.live))
        if standing.ready and free:
            result = self._dial(standing.ready, free)
        else:  # those who are ready are called as soon as other calls end
            result = WaveResult(left=list(standing.ready))
        return self._what_follows(standing, calls, result, len(contacts))

    def outage(self) -> Waiting:
        """Return how the campaign waits while Telzino is unavailable."""
        moment = _now() + OUTAGE_PAUSE
        # `dial_timeout` counts from here, even if the list couldn't be read yet.
        return Waiting(Pause(moment, moment, 0, {}), [], replace(self.memory, started=self._started))

    @property
    def is_over(self) -> bool:
        """Whether it has waited for the last call that it may have placed, and for all others."""
        return _now() >= self._started + self._rules.limits.dial_timeout + self._rules.timeout

    @property
    def agent_id(self) -> str:
        """The agent that calls. A campaign stays with the one that it began with: its list has the calls."""
        return self.memory.agent_id or self._given_agent

    # --- What was dialled so far ---

    def _find_calls(self, contacts: Sequence[Contact]) -> tuple[CampaignCalls, Standing[Contact]]:
        """Read the agent's list, as soon as it is sure to show all calls that were placed."""
        if self._may_have_unlisted_calls():  # placed before now
            self.memory = replace(self.memory, known_until=_now())
        known_until = self.memory.known_until or _now() - LIST_LAG
        # Usually the task has waited for so long. It has not if its trigger was refused.
        left = (known_until + LIST_LAG - _now()).total_seconds()
        if left > 0:
            self._log.info(
                "The agent's list may not show yet whom this task has called. Reading it in %.0f s.", left
            )
            CallSearch.sleep(left)
        # Without a limit: a campaign that knows only some of its calls would place the others again.
        plan = SearchPlan(self.run.since, sys.maxsize, (0.0,), is_exhaustive=True)
        search = CallSearch(self._hook, self.agent_id, self.run, self._log, keep=bare_call)
        try:
            (found,) = search.passes(plan)
        except InconclusiveSearchError as error:
            if isinstance(error.__cause__, TelzinoTransientError):
                raise error.__cause__ from None
            raise self._unknown(f"Could not determine which calls were placed before. {error}") from error
        self.memory = replace(self.memory, known_until=known_until)
        return self._stand(contacts, found)

    def _may_have_unlisted_calls(self) -> bool:
        """Whether an earlier process may have placed calls that the list doesn't show yet."""
        try:
            stored = self._state.read()
        except UnreadableError as error:
            self._log.warning("Could not read this task's state from Airflow (%s).", error)
            self._keep_agent(None)
            return True
        self._keep_agent(stored)
        if stored is None or stored.generation != self.run.generation:
            self._state.store_start(self._started, self.run.generation, self.run.expanded_at)
        else:
            self._started, self._knows_start = min(self._started, stored.started), True
            self.run = replace(self.run, expanded_at=stored.expanded_at)
        known_until = self.memory.known_until
        if stored is not None and stored.dialling_since is not None:
            return known_until is None or stored.dialling_since > known_until
        if known_until is not None or stored is not None:
            return False
        # Before Airflow 3.3 nothing is stored, and from 3.4 on a clear deletes what is.
        return self.memory.was_deferred or not self.run.is_first

    def _keep_agent(self, stored: StoredCalls | None) -> None:
        began_with = self.memory.agent_id or (stored and stored.dialling_agent) or self._given_agent
        if began_with != self._given_agent:
            self._log.warning("The campaign stays with agent %s, with which it began.", began_with)
        self.memory = replace(self.memory, agent_id=began_with)

    def _stand(
        self, contacts: Sequence[Contact], found: Sequence[Record]
    ) -> tuple[CampaignCalls, Standing[Contact]]:
        now = _now()
        lead = clock_lead(found, now, self.memory.clock_lead)
        if not self._knows_start:
            self._started = min([self._started, *self._placed_in_this_round(found, lead)])
        self.memory = replace(self.memory, clock_lead=lead, started=self._started, has_read_list=True)
        calls = CampaignCalls(found, self.run)
        standing = stand(
            contacts,
            calls,
            self.run,
            self._rules.redialling,
            self._theirs(now),
            last_dial=self._theirs(
                self._started + self._rules.limits.dial_timeout if self._rules.may_dial else now
            ),
            settled=self.memory.settled,
        )
        return calls, standing

    def _placed_in_this_round(self, found: Sequence[Record], lead: float) -> list[datetime]:
        """Return when calls were placed since the last clear: before 3.3 only they show when it started."""
        times = [created_at(call) for call in found if self.run.placed_since_clear(call)]
        return [time - timedelta(seconds=lead) for time in times if time is not None]

    # --- Dial ---

    def _dial(self, ready: Sequence[Ready[Contact]], free: int) -> WaveResult:
        # All calls that were placed before are known, so only those of this process can be unaccounted for.
        # The agent stays stored, even if nobody is dialled now: its list has the calls.
        self._state.forget_dialling()
        wave = Wave(
            self._hook,
            self.agent_id,
            check=lambda contact: self._check(contact, self._rules.limits.check),
            check_time=lambda contact: self._check(contact, self._rules.limits.check_time),
            confirm=self._confirm,
            is_killed=self._is_killed,
            marked=self._marked,
            log=self._log,
        )
        try:
            result = wave.dial(ready, free)
        except TelzinoArgumentError as error:  # Airflow doesn't retry it, but other calls may be live.
            result, self.problem = wave.result, error
            self._log.error("%s No more calls are placed.", error.sentence)
        settled = dict(self.memory.settled)
        settled |= {key: Settled("rejected", reason) for key, reason in result.rejected.items()}
        settled |= {
            key: Settled("not_allowed", None)
            for key, never in result.never.items()
            if never.reason == "may_call"
        }
        if result.placed:
            self._log.info("Placed %s calls.", f"{len(result.placed):,}")
        if result.later:
            first = min(result.later, key=lambda later: later.moment)
            self._log.info(
                "%s contacts may not be called yet, the first of them not before %s: %s.",
                f"{len(result.later):,}",
                first.moment.isoformat(timespec="seconds"),
                first.why,
            )
        # The campaign does not resume before the list shows them.
        self.memory = replace(self.memory, settled=settled, known_until=_now())
        return result

    def _check(self, contact: Contact, check: Check) -> NotBefore | Never | None:
        try:
            return check(contact.as_asked(), self._started, pendulum.now("UTC"))
        except TelzinoError as error:
            error.args = (f"The contact at position {contact.position}: {error.args[0]}",)
            raise

    def _confirm(self) -> None:
        self._state.confirm_dialling(
            self.agent_id, self._started, self.run.generation, conn_id=self._hook.telzino_conn_id
        )

    def _marked(self, ready: Ready[Contact]) -> Mapping[str, Any]:
        run = contact_run(self.run, ready.contact.key)
        return with_identity(ready.contact.metadata, run, ready.dial.attempt)

    # --- What follows ---

    def _what_follows(
        self, standing: Standing[Contact], calls: CampaignCalls, result: WaveResult, contacts: int
    ) -> Waiting | Finished:
        not_called = result.left if self.problem else []
        ended = [*standing.ended, *self._ended_by(result, standing), *map(_without_another_call, not_called)]
        overdue = [each for each in standing.live if self._overdue_at(each.call) <= _now()]
        live = [call["id"] for call in (*calls.live, *result.placed)]
        if len(ended) + len(overdue) == contacts:
            return Finished(ended, overdue)
        moments = [*map(self._ours, standing.later), *(each.moment for each in result.later)]
        if result.pause:
            moments.append(_now() + timedelta(seconds=result.pause))
        if result.lost:
            moments.append(_now() + LIST_LAG)
        pause = plan_pause(
            live=len(live),
            overdue=len(overdue),
            free=self._rules.max_active - len(live) - result.lost,
            ready=0 if self.problem or result.pause else len(result.left),
            moments=moments,
            # Only from then on the list is sure to show what was placed just now.
            soonest=_now() + (LIST_LAG if result.placed or result.lost else SHORTEST_PAUSE),
            latest=self._latest(standing, result),
            rules=self._rules.redialling,
            max_active=self._rules.max_active,
        )
        return Waiting(pause, live, self.memory)

    def _ended_by(self, result: WaveResult, standing: Standing[Contact]) -> list[ContactCalls[Contact]]:
        """Return the contacts that the wave has found not to be called any more."""
        over = {*result.rejected, *result.never}
        return [_without_another_call(ready) for ready in standing.ready if ready.contact.key in over]

    def _latest(self, standing: Standing[Contact], result: WaveResult) -> datetime | None:
        """Return when the first live call is overdue, or those who are ready may not be called any more."""
        due = [self._overdue_at(each.call) for each in standing.live]
        if result.placed:
            due.append(_now() + self._rules.timeout)
        if standing.ready:
            due.append(self._started + self._rules.limits.dial_timeout)
        return min((moment for moment in due if moment > _now()), default=None)

    def _overdue_at(self, call: Record | None) -> datetime:
        placed = created_at(call or {})
        return (self._ours(placed) if placed else self._started) + self._rules.timeout

    # --- Clocks, errors, log ---

    def _theirs(self, moment: datetime) -> datetime:
        return moment + timedelta(seconds=self.memory.clock_lead)

    def _ours(self, moment: datetime) -> datetime:
        return moment - timedelta(seconds=self.memory.clock_lead)

    def _unknown(self, message: str) -> TelzinoUnknownPlacementError:
        return TelzinoUnknownPlacementError(
            f"{message} So that nobody is called twice, the task no longer dials. A retry continues.",
            conn_id=self._hook.telzino_conn_id,
        )

    def _log_progress(self, standing: Standing[Contact], contacts: int) -> None:
        outcomes = Counter(str(each.call["status"]) for each in standing.ended if each.call)
        self._log.info(
            "%s of %s contacts are done%s; %s calls are live, %s contacts are due now, %s later.",
            f"{len(standing.ended):,}",
            f"{contacts:,}",
            f" ({counts_text(outcomes)})" if outcomes else "",
            f"{len(standing.live):,}",
            f"{len(standing.ready):,}",
            f"{len(standing.later):,}",
        )


def _without_another_call(ready: Ready[Contact]) -> ContactCalls[Contact]:
    """Return a contact that could be called, but isn't."""
    calls = ready.history.current
    return ContactCalls(ready.contact, next(iter(calls), None), len(calls))


def _now() -> datetime:
    return datetime.now(timezone.utc)
