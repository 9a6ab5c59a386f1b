"""Compares the calls that a witness has seen with what a task's rules allow, and its XComs with the calls."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from tests.support.crashing_tasks import Outcome, Task

Call = dict[str, Any]


def complaints(task: Task, outcomes: list[Outcome], calls: list[Call]) -> list[str]:
    """Say what is wrong with a task, if anything is.

    Args:
        task: What it had to do.
        outcomes: What became of its instances, in the order in which they ran.
        calls: All calls of its agent, oldest first.
    """
    found = []
    starts = [_time(_of_round(outcomes, number)[0].began) for number in range(len(task.rounds))]
    ends = [*starts[1:], None]
    for number in {call["to_number"] for call in calls}:
        placed = [call for call in calls if call["to_number"] == number]
        for index, (this, start, end) in enumerate(zip(task.rounds, starts, ends, strict=True)):
            now = [
                each for each in placed if start <= _created(each) and (end is None or _created(each) < end)
            ]
            earlier = [each for each in placed if _created(each) < start]
            if now and number not in this.contacts:
                found.append(f"{number} was called in round {index}, but is not in its list")
            found += _round_complaints(task, number, now, earlier)
    for outcome in outcomes:
        start, end = starts[outcome.round], ends[outcome.round]
        before = [each for each in calls if end is None or _created(each) < end]
        found += _record_complaints(task, outcome, before, start)
    return found


def _round_complaints(task: Task, number: str, now: list[Call], earlier: list[Call]) -> Iterator[str]:
    rules = task.arguments
    bad = {*rules["redial_on"], *rules["fail_on"]}
    if len(now) > (rules["max_attempts"] if rules["redial_on"] else 1):
        yield f"{number} was called {len(now)} times in one round"
    if now and rules["reattach"] and any(call["status"] not in bad for call in earlier):
        yield f"{number} was called after a clear, though an earlier call had ended well"
    for one, other in pairwise([*earlier[-1:], *now]):
        if one["ended_at"] is None or _time(one["ended_at"]) > _created(other):
            yield f"{number} was called while another call was in progress"
    delay = timedelta(seconds=rules["redial_delay"])
    for one, other in pairwise(now):
        if one["status"] not in rules["redial_on"]:
            yield f"{number} was called again after {one['status']}"
        elif _created(other) - _time(one["ended_at"]) < delay:
            yield f"{number} was called again too early"


def _record_complaints(task: Task, outcome: Outcome, before: list[Call], start: datetime) -> Iterator[str]:
    record, attempts = outcome.xcoms.get("return_value"), outcome.xcoms.get("attempts", [])
    own = [call for call in before if call["to_number"] == outcome.number]
    ids = [each["id"] for each in attempts]
    if not set(ids) <= {call["id"] for call in own}:
        yield f"the attempts of {outcome.number} have calls to others"
    if record is None:
        return
    now = [call["id"] for call in own if _created(call) >= start]
    if record not in own:
        yield f"the record of {outcome.number} is not one of its calls"
    elif now and record["id"] != now[-1]:
        yield f"the record of {outcome.number} is not its last call"
    if not set(now) <= set(ids) or ids[-1:] != [record["id"]]:
        yield f"the attempts of {outcome.number} are {ids}, but the round has {now}"
    is_bad = record["status"] in task.arguments["fail_on"]
    if is_bad != (outcome.error is not None):
        yield f"{outcome.number}: the call ended with {record['status']}, the task with {outcome.error}"


def _of_round(outcomes: list[Outcome], number: int) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.round == number]


def _created(call: Call) -> datetime:
    return _time(call["created_at"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
