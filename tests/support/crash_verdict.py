"""Compares the calls that a witness has seen with what a task's rules allow, and its XComs with the calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from tests.support.crashing_tasks import Outcome, Task
from tests.support.live_calls import most_live

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


def campaign_complaints(task: Task, outcomes: list[Outcome], calls: list[Call]) -> list[str]:
    """Say what is wrong with a campaign, if anything is. A clear continues it, so that its rounds are one."""
    found = []
    rules = task.arguments
    starts = [_time(outcome.began) for outcome in outcomes]
    if (live := most_live(calls)) > rules["max_active_calls"]:
        found.append(f"{live} calls were live")
    for number in {call["to_number"] for call in calls}:
        placed = [call for call in calls if call["to_number"] == number]
        if len(placed) > (rules["max_attempts"] if rules["redial_on"] else 1):
            found.append(f"{number} was called {len(placed)} times")
        found += _redial_complaints(rules, number, placed, placed)
        for call in placed:
            this = sum(start <= _created(call) for start in starts) - 1
            if number not in task.rounds[this].contacts:
                found.append(f"{number} was called when it was not in the list")
    for outcome, end in zip(outcomes, [*starts[1:], None], strict=True):
        before = [call for call in calls if end is None or _created(call) < end]
        found += _result_complaints(task, outcome, before)
    return found


def _result_complaints(task: Task, outcome: Outcome, before: list[Call]) -> Iterator[str]:
    """Compare the results of a campaign with the calls that it had placed by then."""
    if (rows := outcome.xcoms.get("return_value")) is None:
        return
    rules = task.arguments
    for number, row in zip(task.rounds[outcome.round].contacts, rows, strict=True):
        own = [call for call in before if call["to_number"] == number]
        statuses = [call["status"] for call in own]
        record = own[-1] if own else None
        expected = {"contact": number, "attempts": len(own), "record": record, "error": None}
        if row != {**expected, "outcome": record and record["status"]}:
            yield f"the result of {number} is {row}, but its calls ended with {statuses}"
        elif row["outcome"] in rules["redial_on"] and row["attempts"] < rules["max_attempts"]:
            yield f"{number} was not called again"
    is_bad = any(row["outcome"] in rules["fail_on"] for row in rows)
    if is_bad != (outcome.error is not None):
        yield f"the outcomes are {[row['outcome'] for row in rows]}, and the task ended with {outcome.error}"


def _round_complaints(task: Task, number: str, now: list[Call], earlier: list[Call]) -> Iterator[str]:
    rules = task.arguments
    bad = {*rules["redial_on"], *rules["fail_on"]}
    if len(now) > (rules["max_attempts"] if rules["redial_on"] else 1):
        yield f"{number} was called {len(now)} times in one round"
    if now and rules["reattach"] and any(call["status"] not in bad for call in earlier):
        yield f"{number} was called after a clear, though an earlier call had ended well"
    yield from _redial_complaints(rules, number, [*earlier[-1:], *now], now)


def _redial_complaints(
    rules: Mapping[str, Any], number: str, calls: list[Call], now: list[Call]
) -> Iterator[str]:
    """Say what is wrong between two calls to a number.

    Args:
        rules: The operator's arguments.
        number: Theirs.
        calls: Those of which no two may be in progress at once, oldest first.
        now: Those of which each has to follow from the one before.
    """
    for one, other in pairwise(calls):
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
