"""Whom does a campaign call next, and how long does it wait? Decided for all of its contacts, without I/O.

What follows from the calls to one contact is decided by
:func:`~airflow_provider_telzino.rules.attempts.next_step`, as for a task with a single contact.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from airflow_provider_telzino.models import has_ended
from airflow_provider_telzino.rules.attempts import Attach, Dial, Done, RedialRules, WaitUntil, next_step
from airflow_provider_telzino.rules.identity import (
    METADATA_KEY,
    History,
    Record,
    TaskRun,
    created_at,
    ended_at,
    identity_in,
)

_FIELDS = ("id", "status", "to_number", "created_at", "ended_at")

CONTACT = "contact"  # the key of the contact's id in a call's identity
MAX_ACTIVE_CALLS = 1_000  # as many as one trigger waits for
WAVE_SHARE = 4
"""A worker runs again when one call in so many of ``max_active_calls`` can be placed: few worker runs, and on
average seven eighths of the calls that may be live are live."""
MAX_GROUPING = timedelta(minutes=2)
"""By how much a call may be later than the earliest moment for it, so that one worker run places several."""
GROUPING_SHARE = 10
"""The same as one part in so many of the delay of a redial."""


class Callee(Protocol):
    """What the rules need to know of a contact."""

    @property
    def key(self) -> str:
        """The contact's id, as text."""

    @property
    def to_number(self) -> str:
        """The contact's number (E.164)."""


C = TypeVar("C", bound=Callee)


def contact_run(run: TaskRun, key: str) -> TaskRun:
    """Return the campaign's task run with the identity that marks a call as one to this contact."""
    return replace(run, identity={**run.identity, CONTACT: key})


# --- Whose call is it? ---


def bare_call(call: Record) -> Record:
    """Return what a campaign needs to know of a call: there may be tens of thousands."""
    identity = {METADATA_KEY: identity_in(call)}
    return {name: call.get(name) for name in _FIELDS if name in call} | {"request_metadata": identity}


class CampaignCalls:
    """The calls that a campaign has placed so far.

    The list of contacts may change while a campaign runs, so a call is a contact's if it went to the
    contact's number, whatever the contact's id was. A call with the contact's id to another number is the
    contact's, too, unless another contact has that number now, or the campaign has been cleared since: a
    retry continues with it, and a clear calls the new number.

    Args:
        calls: Calls of this task in this DAG run, of any map index.
        run: The campaign's task run.
    """

    def __init__(self, calls: Iterable[Record], run: TaskRun) -> None:
        self.live: list[Record] = []
        """Those that have not ended."""
        self._by_number: defaultdict[str, list[Record]] = defaultdict(list)
        self._by_key: defaultdict[str, list[Record]] = defaultdict(list)
        for call in sorted(calls, key=_placed_at, reverse=True):
            is_own = run.is_own_index(call)
            if is_own and not has_ended(call):
                self.live.append(call)
            # A contact may have moved to another instance of a mapped campaign, as with single calls.
            if isinstance(number := call.get("to_number"), str) and (is_own or run.may_have_moved_here(call)):
                self._by_number[number].append(call)
            elif is_own:
                self._by_key[_key(call)].append(call)
            if isinstance(number, str) and run.placed_since_clear(call):
                self._by_key[_key(call)].append(call)

    def of(self, contact: Callee, listed: Collection[str]) -> History:
        """Return the calls to a contact. A campaign has one round: a clear continues it.

        Args:
            contact: The contact.
            listed: The numbers of all contacts. Ids may be no more than positions, which shift.
        """
        calls = self._by_number.get(contact.to_number, [])
        by_key = self._by_key.get(contact.key, ())
        if others := [each for each in by_key if each.get("to_number") not in listed]:
            unique = {call["id"]: call for call in (*calls, *others)}
            calls = sorted(unique.values(), key=_placed_at, reverse=True)
        return History(current=tuple(calls))


def _key(call: Record) -> str:
    return str(identity_in(call).get(CONTACT))


def _placed_at(call: Record) -> float:
    placed = created_at(call)
    return placed.timestamp() if placed is not None else 0.0


# --- Where is each contact? ---


@dataclass(frozen=True)
class Ready(Generic[C]):
    """A contact that may be called now, as far as the calls so far decide that."""

    contact: C
    dial: Dial
    history: History


@dataclass(frozen=True)
class ContactCalls(Generic[C]):
    """A contact and its calls, as far as they matter for the outcome."""

    contact: C
    call: Record | None
    """The call that counts: the live one, or the one whose outcome stands; ``None`` if there is none."""
    attempts: int
    """How many calls were placed."""


@dataclass
class Standing(Generic[C]):
    """Where a campaign's contacts are."""

    ready: list[Ready[C]] = field(default_factory=list)
    """First those to call again, longest waiting first, then the others in their order."""
    later: list[datetime] = field(default_factory=list)
    """When further contacts may be called."""
    live: list[ContactCalls[C]] = field(default_factory=list)
    """Contacts that have a live call."""
    ended: list[ContactCalls[C]] = field(default_factory=list)
    """Contacts that are not called any more."""
    moved_numbers: int = 0
    """How many contacts have calls to another number than they have now."""


def stand(
    contacts: Collection[C],
    calls: CampaignCalls,
    run: TaskRun,
    rules: RedialRules,
    now: datetime,
    *,
    last_dial: datetime,
    settled: Collection[str] = (),
) -> Standing[C]:
    """Say where each contact is.

    Args:
        contacts: The campaign's contacts.
        calls: What it has placed so far.
        run: Its task run.
        rules: When to call again.
        now: The time, on the clock that the calls' times are on.
        last_dial: From then on nobody is called, on the same clock.
        settled: The keys of contacts that are not called any more, whatever their calls.
    """
    standing: Standing[C] = Standing()
    listed = {contact.to_number for contact in contacts}
    for contact in contacts:
        history = calls.of(contact, listed)
        standing.moved_numbers += any(
            (call.get("to_number") or contact.to_number) != contact.to_number for call in history.current
        )
        step = next_step(history, run, rules, now)
        moment = step.moment if isinstance(step, WaitUntil) else now
        if isinstance(step, Attach):
            standing.live.append(ContactCalls(contact, step.call, len(history.current)))
        elif isinstance(step, Done) or contact.key in settled or moment >= last_dial:
            call = step.call if isinstance(step, Done) else next(iter(history.current), None)
            standing.ended.append(ContactCalls(contact, call, len(history.current)))
        elif isinstance(step, WaitUntil):
            standing.later.append(step.moment)
        else:
            standing.ready.append(Ready(contact, step, history))
    standing.ready.sort(key=_urgency)
    return standing


def _urgency(ready: Ready[C]) -> tuple[bool, float]:
    """Sort by this: redials first. The sort is stable, so that others keep their order."""
    last = next(iter(ready.history.current), None)
    return (True, 0.0) if last is None else (False, _placed_at(last))


# --- How long does the campaign wait? ---


@dataclass(frozen=True)
class Pause:
    """How long a campaign waits. It resumes as soon as one of these is true."""

    wake_at: datetime
    """This time has come."""
    not_before: datetime
    """Whatever else is true: not before this time."""
    until_ended: int
    """So many of the live calls have ended."""
    resume_after: Mapping[str, float]
    """By status after which the campaign calls again: so many seconds have passed since a call ended so."""


def plan_pause(
    *,
    live: int,
    overdue: int,
    free: int,
    ready: int,
    moments: Sequence[datetime],
    soonest: datetime,
    latest: datetime | None,
    rules: RedialRules,
    max_active: int,
) -> Pause:
    """Decide how long a campaign waits, so that it needs few worker runs.

    Args:
        live: How many of its calls are live.
        overdue: How many of these it no longer waits for. They still count as live.
        free: How many more may be live.
        ready: How many contacts may be called as soon as that permits it.
        moments: When further contacts may be called.
        soonest: When to resume at the earliest.
        latest: When the first live call is overdue; ``None`` without one.
        rules: When to call again.
        max_active: How many calls may be live.
    """
    wave = wave_size(max_active)
    until_ended = max(1, min(wave, ready) - free if ready else live - overdue)
    due = group(sorted(moments), wave, MAX_GROUPING)
    return Pause(
        wake_at=max(soonest, min((each for each in (due, latest) if each is not None), default=soonest)),
        not_before=soonest,
        until_ended=min(until_ended, live),
        resume_after={
            status: (delay + min(delay / GROUPING_SHARE, MAX_GROUPING)).total_seconds()
            for status, delay in rules.delays.items()
            if rules.max_attempts > 1
        },
    )


def wave_size(max_active: int) -> int:
    """Return how many calls a worker run places at least, if there are so many to place."""
    return math.ceil(max_active / WAVE_SHARE)


def group(moments: Sequence[datetime], size: int, within: timedelta) -> datetime | None:
    """Return when to resume for several moments at once.

    Args:
        moments: Sorted.
        size: As many as are enough.
        within: How long the first may be delayed.
    """
    if not moments:
        return None
    return min(moments[min(size, len(moments)) - 1], moments[0] + within)


def clock_lead(calls: Iterable[Record], now: datetime, known: float) -> float:
    """Return by how many seconds Telzino's clock is ahead of ours, as far as the calls show it.

    A redial is due some time after the end of a call, by Telzino's clock. That of a sandbox can be far ahead.

    Args:
        calls: The campaign's calls.
        now: The time on our clock.
        known: What was known before.
    """
    seen = [moment for call in calls for moment in (created_at(call), ended_at(call)) if moment is not None]
    # To subtract pendulum's times from each other takes far longer.
    return max([known, *(moment.timestamp() - now.timestamp() for moment in seen)])
