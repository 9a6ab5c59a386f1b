"""Is it dialled, is it dialled again? One function decides what follows from the calls so far.

It is the same for a single contact and for each contact of a campaign.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.models import has_ended
from airflow_provider_telzino.rules.identity import (
    History,
    Record,
    TaskRun,
    attempt_of,
    created_at,
    ended_at,
)
from airflow_provider_telzino.rules.waiting import outcome_name

DEFAULT_REDIAL_DELAY = timedelta(minutes=30)
DEFAULT_MAX_ATTEMPTS = 3
MAX_ATTEMPTS = 100
MAX_DELAY = timedelta(days=366)
REDIALLABLE = ("no_answer", "busy", "failed")
"""The outcomes after which it makes sense to call again."""
NO_CALL_YET = "the task has placed no call yet"


@dataclass(frozen=True)
class RedialRules:
    """After which outcomes a task calls again, how often, and how much later."""

    redial_on: frozenset[str]
    max_attempts: int
    delays: Mapping[str, timedelta]
    """For each status of ``redial_on``: the time from the end of the call before."""
    fail_on: frozenset[str]
    """The outcomes that fail the task; ``"unknown"`` is any that Telzino doesn't document."""
    reattach: bool
    """Whether a cleared task continues with a call that has ended well."""

    @classmethod
    def checked(
        cls,
        redial_on: object,
        max_attempts: object,
        redial_delay: object,
        *,
        fail_on: Collection[str],
        reattach: bool,
    ) -> RedialRules:
        """Check what a DAG author gave.

        Raises:
            TelzinoArgumentError: The message names the argument and what it may be.
        """
        statuses = _redial_statuses(redial_on)
        is_number = isinstance(max_attempts, int) and not isinstance(max_attempts, bool)
        if not isinstance(max_attempts, int) or not is_number or not 1 <= max_attempts <= MAX_ATTEMPTS:
            raise TelzinoArgumentError(
                f"`max_attempts` should be a whole number from 1 to {MAX_ATTEMPTS}: how many calls in all."
            )
        return cls(statuses, max_attempts, _delays(redial_delay, statuses), frozenset(fail_on), reattach)

    def is_bad(self, status: str) -> bool:
        """Whether a person who clears the task wants another call after this outcome."""
        name = outcome_name(status)
        return name in self.redial_on or name in self.fail_on


@dataclass(frozen=True)
class Dial:
    """Place a call."""

    attempt: int
    """Its number among the calls since the last clear, from 1."""
    why: str


@dataclass(frozen=True)
class Attach:
    """Wait for a call that is still in progress."""

    call: Record
    why: str


@dataclass(frozen=True)
class WaitUntil:
    """Dial later."""

    moment: datetime
    why: str


@dataclass(frozen=True)
class Done:
    """Nothing more is dialled: this call's outcome counts."""

    call: Record
    why: str


Step = Dial | Attach | WaitUntil | Done


def next_step(
    history: History, run: TaskRun, rules: RedialRules, now: datetime, waited_after: Collection[str] = ()
) -> Step:
    """Decide what follows from the calls that were placed so far.

    Args:
        history: All calls of the task.
        run: The task instance that runs.
        rules: When to call again.
        now: The time.
        waited_after: The ids of calls after which the task has already waited for the next attempt.
    """
    if not history.current:
        return _after_clear(history.earlier, run, rules) if history.earlier else Dial(1, NO_CALL_YET)
    if live := _in_progress(history.current):
        return live
    step = _after_round(history.current, rules, now, waited_after)
    # Nobody is called while another call to the same number is in progress.
    return step if isinstance(step, Done) else _in_progress(history.earlier) or step


def _in_progress(calls: Sequence[Record]) -> Attach | None:
    return next((_attach(call) for call in calls if not has_ended(call)), None)


def _attach(call: Record) -> Attach:
    return Attach(call, f"it is {call['status']}")


def _after_clear(calls: Sequence[Record], run: TaskRun, rules: RedialRules) -> Step:
    """Decide what follows if all calls were placed before a clear, or at another map index."""
    wants_old_record = rules.reattach or not run.was_cleared
    for call in calls:
        if not has_ended(call):
            return _attach(call)
        if wants_old_record and not rules.is_bad(call["status"]):
            return Done(call, f"it ended with {call['status']} before the task was cleared")
    last = calls[0]
    if not run.was_cleared:
        return Done(last, f"it ended with {last['status']}, and the task itself was not cleared")
    return Dial(1, f"the task was cleared, and call {last['id']} ended with {last['status']} before")


def _after_round(
    calls: Sequence[Record], rules: RedialRules, now: datetime, waited_after: Collection[str]
) -> Step:
    """Decide what follows from the calls of this round, newest first, which have all ended."""
    final = [call for call in calls if call["status"] not in rules.redial_on]
    if final:
        # Should two processes have dialled, one of them may have found the line busy with the other's call.
        best = min(final, key=lambda call: rules.is_bad(call["status"]))
        return Done(best, f"it ended with {best['status']}")
    last = calls[0]
    # Should two processes have dialled the same attempt, both count.
    attempts = max(len(calls), *map(attempt_of, calls))
    if attempts >= rules.max_attempts:
        return Done(last, f"it ended with {last['status']}, and no attempt is left")
    ended = ended_at(last) or created_at(last)
    if ended is None:
        return Done(last, f"it ended with {last['status']}, but its record does not say when")
    # Telzino's clock may be ahead of ours, and that of a sandbox can be far ahead.
    due = now if last["id"] in waited_after else min(ended, now) + rules.delays[last["status"]]
    why = f"call {last['id']} ended with {last['status']}; attempt {attempts + 1} of {rules.max_attempts}"
    return WaitUntil(due, why) if due > now else Dial(attempts + 1, why)


def _redial_statuses(given: object) -> frozenset[str]:
    if isinstance(given, (list, tuple, set, frozenset)) and all(each in REDIALLABLE for each in given):
        return frozenset(status for status in REDIALLABLE if status in given)  # as plain text
    raise TelzinoArgumentError(
        f"`redial_on` should be a list of outcomes after which to call again, from {', '.join(REDIALLABLE)}."
    )


def _delays(given: object, statuses: frozenset[str]) -> dict[str, timedelta]:
    delays: Mapping[Any, Any] = given if isinstance(given, Mapping) else dict.fromkeys(REDIALLABLE, given)
    for status, delay in delays.items():
        is_delay = isinstance(delay, timedelta) and timedelta() <= delay <= MAX_DELAY
        if not is_delay or status not in REDIALLABLE:
            raise TelzinoArgumentError(
                "`redial_delay` should be a timedelta (at least 0, at most a year), or one for each status, "
                'such as {"busy": timedelta(minutes=5)}.'
            )
    return {status: delays.get(status, DEFAULT_REDIAL_DELAY) for status in statuses}
