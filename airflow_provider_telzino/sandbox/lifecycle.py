"""The course of a call: its statuses and times are all decided when it is placed."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    import random

    from airflow_provider_telzino.sandbox.conversation import Turn

EndedStatus = Literal["completed", "no_answer", "busy", "failed"]
Status = Literal["queued", "dispatching", "dispatched", "dialing", "in_progress", EndedStatus]
ENDED_STATUSES: tuple[str, ...] = get_args(EndedStatus)

Range = tuple[float, float]
"""The minimum and maximum of a duration, in seconds."""

DISPATCH: Range = (0.3, 0.7)
"""How long each of the two steps between queue and dialling takes."""


@dataclass(frozen=True)
class Outcome:
    """One possible course of a call; each call draws its own times from the ranges."""

    status: str
    sip_status_code: int | None = None
    error: str | None = None
    queued: Range = (1.5, 2.5)
    ringing: Range | None = (4.0, 12.0)
    """``None`` if the call fails before it is dialled."""
    talking: Range | None = None
    """``None`` if nobody answers."""
    summary_text: str | None = None
    """The summary of a call that completes; ``None`` for an invented one."""
    turns: tuple[Turn, ...] | None = None
    """What is said in a call that completes; ``None`` for an invented conversation."""


COMPLETED = Outcome("completed", talking=(20.0, 90.0))
LONG_CALL = Outcome("completed", talking=(1800.0, 1800.0))
QUICK_HANG_UP = Outcome("completed", talking=(2.0, 4.0))
SLOW_QUEUE = Outcome("completed", queued=(300.0, 300.0), talking=(20.0, 90.0))
NO_ANSWER = Outcome("no_answer", 480, ringing=(44.0, 46.0))
BUSY = Outcome("busy", 486, ringing=(1.0, 4.0))
NO_SUCH_NUMBER = Outcome("failed", 404, "The dialed number does not exist.", ringing=(1.0, 3.0))
NO_TRUNK = Outcome("failed", 503, "The telephony carrier is not available.", ringing=(1.0, 3.0))
NOT_DIALLED = Outcome("failed", None, "No agent worker could take the call.", ringing=None)


class Step(NamedTuple):
    """A status, and after how many seconds the call reaches it."""

    after: float
    status: str


@dataclass(frozen=True)
class Schedule:
    """The whole course of a call; times are seconds since it was placed."""

    steps: tuple[Step, ...]
    answered_after: float | None = None
    ended_after: float | None = None
    sip_status_code: int | None = None
    error: str | None = None

    def status_at(self, elapsed: float) -> str:
        """Return the status at this time."""
        return self.steps[max(bisect_right(self.steps, elapsed, key=lambda step: step.after) - 1, 0)].status

    def has_ended(self, elapsed: float) -> bool:
        """Whether the call is over at this time."""
        return self.ended_after is not None and self.ended_after <= elapsed

    def next_step(self, elapsed: float) -> Step | None:
        """Return the next step after this time."""
        later = bisect_right(self.steps, elapsed, key=lambda step: step.after)
        return self.steps[later] if later < len(self.steps) else None

    def dispatched_at(self, free: float) -> Schedule:
        """Return the same course, but the call stays queued until this time; ``inf`` is for ever."""
        queued, *later = self.steps
        delay = free - later[0].after
        if delay <= 0:
            return self
        if delay == math.inf:
            return Schedule((queued,))
        steps = (queued, *(Step(round(step.after + delay, 6), step.status) for step in later))
        answered = self.answered_after
        return replace(
            self,
            steps=steps,
            answered_after=None if answered is None else round(answered + delay, 6),
            ended_after=steps[-1].after,
        )

    def moved(self, elapsed: float, status: str, *, ends: bool) -> Schedule:
        """Return a course that is the same up to now, and stays in this status from then on."""
        steps = tuple(step for step in self.steps if step.after < elapsed)
        answered = self.answered_after
        if answered is None or answered > elapsed:
            answered = elapsed if status in ("in_progress", "completed") else None
        usual = next((outcome for outcome in (NO_ANSWER, BUSY, NO_TRUNK) if outcome.status == status), None)
        return replace(
            self,
            steps=(*steps, Step(elapsed, status)),
            answered_after=answered,
            ended_after=elapsed if ends else None,
            sip_status_code=usual.sip_status_code if usual else None,
            error=usual.error if usual else None,
        )


def plan(outcome: Outcome, randomness: random.Random) -> Schedule:
    """Draw the times of a call with this outcome."""
    now = 0.0
    steps = [Step(now, "queued")]

    def step(span: Range, status: str) -> float:
        """Add a step after a time from the range, in whole microseconds as in timestamps."""
        nonlocal now
        now = round(now + randomness.uniform(*span), 6)
        steps.append(Step(now, status))
        return now

    answered = None
    step(outcome.queued, "dispatching")
    step(DISPATCH, "dispatched")
    if outcome.ringing is None:
        step(DISPATCH, outcome.status)
    else:
        step(DISPATCH, "dialing")
        if outcome.talking is None:
            step(outcome.ringing, outcome.status)
        else:
            answered = step(outcome.ringing, "in_progress")
            step(outcome.talking, outcome.status)
    return Schedule(tuple(steps), answered, now, outcome.sip_status_code, outcome.error)
