"""How far a batch is, what its trigger reports, and when progress is logged."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_provider_telzino.rules.batch import BatchEvent, BatchTally, Progress, progress_text


@pytest.mark.parametrize(
    ("counts", "missing", "text"),
    [
        ({}, 0, "0 of 1,000 ended"),
        (
            {"busy": 31, "no_answer": 80, "completed": 301},
            0,
            "412 of 1,000 ended: 301 completed, 80 no answer, 31 busy",
        ),
        ({"failed": 2, "busy": 2}, 1, "4 of 1,000 ended: 2 busy, 2 failed; 1 not found"),
        ({}, 3, "0 of 1,000 ended; 3 not found"),
    ],
)
def test_progress_is_a_line(counts: dict[str, int], missing: int, text: str) -> None:
    """The most frequent outcomes come first."""
    assert progress_text(1_000, counts, missing) == text


@pytest.mark.parametrize(
    ("arguments", "ended", "missing", "now", "outcome"),
    [
        ({}, [], 0, 99.9, None),
        ({}, ["completed", "busy"], 0, 99.9, None),
        ({}, ["completed", "busy", "failed"], 0, 0.0, "ended"),
        ({}, ["completed", "busy"], 1, 0.0, "ended"),
        ({}, ["completed", "busy", "failed"], 0, 200.0, "ended"),
        ({}, [], 0, 100.0, "timeout"),
        ({"until_ended": 2}, ["completed"], 0, 0.0, None),
        ({"until_ended": 2}, ["completed", "completed"], 0, 0.0, "ended"),
        ({"until_ended": 2}, [], 2, 0.0, "ended"),
        ({"until_ended": 9}, ["busy", "busy", "busy"], 0, 0.0, "ended"),
        ({"resume_after": {"busy": 30}}, ["completed"], 0, 50.0, None),
        ({"resume_after": {"busy": 30}}, ["busy"], 0, 39.9, None),
        ({"resume_after": {"busy": 30}}, ["busy"], 0, 40.0, "due"),
        ({"resume_after": {"busy": 30, "no_answer": 20}}, ["busy", "no_answer"], 0, 30.0, "due"),
        ({"resume_after": {"busy": 0}}, ["busy"], 0, 10.0, "due"),
        ({"resume_after": {"unknown": 5}}, ["pondered"], 0, 15.0, "due"),
        ({"resume_after": {"busy": 500}}, ["busy"], 0, 100.0, "timeout"),
    ],
)
def test_what_the_trigger_reports(
    arguments: dict[str, Any], ended: list[str], missing: int, now: float, outcome: str | None
) -> None:
    """Of three calls, the last of which ended at 10, with a deadline at 100."""
    tally = BatchTally(3, deadline=100.0, **arguments)
    for status in ended:
        tally.add(status, 10.0)
    for _ in range(missing):
        tally.add_missing()

    assert tally.outcome(now) == outcome


def test_the_first_call_with_an_outcome_counts() -> None:
    """Later ones with the same outcome don't put the report off."""
    tally = BatchTally(9, deadline=100.0, resume_after={"busy": 30.0})

    for noticed_at in (10.0, 20.0, 35.0):
        tally.add("busy", noticed_at)

    assert tally.changes_at == 40.0


def test_without_an_outcome_the_deadline_is_next() -> None:
    """Nothing else happens without an end of a call."""
    assert BatchTally(9, deadline=100.0, resume_after={"busy": 30.0}).changes_at == 100.0


def logged(total: int, changes: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return when progress is logged, and how many calls were settled by then."""
    progress = Progress(total, now=0.0)
    return [(now, settled) for now, settled in changes if progress.is_due(settled, now)]


def test_progress_is_logged_at_each_tenth() -> None:
    """A thousand calls that end one after the other have ten lines, each a moment after its tenth."""
    lines = logged(1_000, [(number / 4, number) for number in range(1_009)])

    assert lines == [(tenth * 25.0 + 2, tenth * 100 + 8) for tenth in range(1, 11)]


def test_calls_that_one_poll_finds_ended_share_a_line() -> None:
    """They come in pieces."""
    assert logged(1_000, [(10.0, 300), (10.5, 600), (11.5, 640), (12.0, 640)]) == [(12.0, 640)]


def test_slow_progress_is_logged_each_minute() -> None:
    """A call every ten seconds doesn't reach another tenth for long."""
    lines = logged(1_000, [(second, int(second // 10)) for second in map(float, range(200))])

    assert lines == [(62.0, 6), (124.0, 12), (186.0, 18)]


def test_nothing_new_is_not_logged() -> None:
    """Hours without an end of a call have no line."""
    changes = [(60.0, 0), (600.0, 7), (602.0, 7), (6_000.0, 7), (6_002.0, 7)]

    assert logged(1_000, changes) == [(602.0, 7)]


def test_progress_that_is_not_logged_yet_becomes_due() -> None:
    """It needs no other call to end."""
    progress = Progress(1_000, now=0.0)

    due_at = [progress.due_at]
    for settled in (1, 100):
        progress.is_due(settled, 5.0)
        due_at.append(progress.due_at)

    assert due_at == [math.inf, 62.0, 7.0]


EVENT = BatchEvent("ended", total=3, ended=2, missing=1, counts={"busy": 2}, deadline=5.0)


def test_an_event_survives_its_payload() -> None:
    """What a trigger emits, the worker reads."""
    assert BatchEvent.parse(EVENT.payload()) == EVENT


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "ended",
        {},
        EVENT.payload() | {"outcome": "stopped"},
        EVENT.payload() | {"ended": "2"},
        EVENT.payload() | {"counts": None},
        EVENT.payload() | {"error": 5},
        EVENT.payload() | {"deadline": "soon"},
        {"outcome": "ended", "call_id": None, "status": "completed"},
    ],
)
def test_another_triggers_event_is_not_ours(payload: object) -> None:
    """Such as that of a single call's trigger."""
    assert BatchEvent.parse(payload) is None


def test_nothing_is_reported_before_its_time() -> None:
    """A campaign has to stay deferred until the agent's list is sure to show its calls."""
    tally = BatchTally(1, deadline=100.0, resume_after={"busy": 1.0}, not_before=15.0)

    tally.add("busy", 5.0)

    assert tally.outcome(14.0) is None
    assert tally.changes_at == 15.0
    assert tally.outcome(15.0) == "ended"


def test_a_redial_is_not_reported_before_its_time() -> None:
    """The same if others are live."""
    tally = BatchTally(2, deadline=100.0, resume_after={"busy": 1.0}, not_before=15.0)

    tally.add("busy", 5.0)

    assert tally.outcome(14.0) is None
    assert tally.changes_at == 15.0
    assert tally.outcome(15.0) == "due"
