"""What becomes of a call, and when: decided in full when it is placed, read off at any later time."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    import random

EndedStatus = Literal["completed", "no_answer", "busy", "failed"]
Status = Literal["queued", "dispatching", "dispatched", "dialing", "in_progress", EndedStatus]
ENDED_STATUSES: tuple[str, ...] = get_args(EndedStatus)

Range = tuple[float, float]
"""The least and the most seconds that something takes."""

DISPATCH: Range = (0.3, 0.7)
"""Of each of the two steps from the queue to the phone."""


@dataclass(frozen=True)
class Outcome:
    """One way for a call to go; each call draws its own times from the ranges."""

    status: str
    sip_status_code: int | None = None
    error: str | None = None
    queued: Range = (1.5, 2.5)
    ringing: Range | None = (4.0, 12.0)
    """``None``: it fails before it is dialled."""
    talking: Range | None = None
    """``None``: nobody answers."""


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
    """A call has this status from this many seconds after it was placed."""

    after: float
    status: str


@dataclass(frozen=True)
class Schedule:
    """A call's whole course; times are seconds after it was placed."""

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

    def moved(self, elapsed: float, status: str, *, ends: bool) -> Schedule:
        """Return the course of a call that goes as this one up to now, and then has this status for good."""
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
    """Draw the times of a call that goes this way."""
    now = 0.0
    steps = [Step(now, "queued")]

    def go_on(span: Range, status: str) -> float:
        """Let time pass, whole microseconds as in timestamps, and take the next status."""
        nonlocal now
        now = round(now + randomness.uniform(*span), 6)
        steps.append(Step(now, status))
        return now

    answered = None
    go_on(outcome.queued, "dispatching")
    go_on(DISPATCH, "dispatched")
    if outcome.ringing is None:
        go_on(DISPATCH, outcome.status)
    else:
        go_on(DISPATCH, "dialing")
        if outcome.talking is None:
            go_on(outcome.ringing, outcome.status)
        else:
            answered = go_on(outcome.ringing, "in_progress")
            go_on(outcome.talking, outcome.status)
    return Schedule(tuple(steps), answered, now, outcome.sip_status_code, outcome.error)
