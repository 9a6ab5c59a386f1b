"""``make demo-campaign``: it shows a campaign, ends with its report, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from devtools.campaign_demo import CHANGES, DAG_ID, Progress, copy_example, line, progress, shortcoming
from devtools.processes import ROOT
from tests.support.demos import DEMO_TIMEOUT, StartDemo, assert_nothing_left, processes_of, read_until

MODULE = "devtools.campaign_demo"


@pytest.mark.integration
def test_a_whole_campaign(start_demo: StartDemo) -> None:
    """All 200 contacts have an outcome, some after a redial, and the report is where the demo says."""
    demo = start_demo(module=MODULE)
    begin = read_until(demo, "in progress")
    mark, seen = processes_of(demo)

    end, _ = demo.communicate(timeout=2 * DEMO_TIMEOUT)

    assert demo.returncode == 0, begin + end
    assert re.search(r"The sandbox shows the calls.* http://127\.0\.0\.1:\d+/", begin)
    assert "187" in re.findall(r"completed +│ +(\d+)", end)  # as the seed and the numbers determine
    assert "303 calls" in end
    (report,) = re.findall(r"Report: (\.work/reports/\S+\.html)", end)
    assert "<dt>contacts</dt><dd>200</dd>" in (ROOT / report).read_text()
    assert_nothing_left(demo, mark, seen)


@pytest.mark.nightly
def test_ctrl_c_leaves_nothing(start_demo: StartDemo) -> None:
    """While calls are in progress; the exit code is that of an interrupted program."""
    demo = start_demo(module=MODULE)
    read_until(demo, "in progress")
    mark, seen = processes_of(demo)

    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=60)

    assert demo.returncode == 128 + signal.SIGINT, output
    assert "Interrupted" in output
    assert "succeeded" not in output
    assert_nothing_left(demo, mark, seen)


def test_the_example_is_what_the_demo_runs(tmp_path: Path) -> None:
    """But for what the demo changes in it, which is there."""
    copy_example(tmp_path / "dags")

    copied = (tmp_path / "dags" / f"{DAG_ID}.py").read_text()
    for old, new in CHANGES.items():
        assert new in copied
        copied = copied.replace(new, old)
    assert copied == (ROOT / "example_dags" / f"{DAG_ID}.py").read_text()


def call(number: int, status: str) -> dict[str, Any]:
    """Return what is read of a call."""
    return {"to_number": f"+1212555010{number}", "status": status, "ended_at": None}


@pytest.mark.parametrize(
    ("calls", "contacts", "shown"),
    [
        ([], {"not called yet": 5}, "5 not called yet"),
        (
            [call(1, "queued"), call(2, "dialing"), call(3, "in_progress")],
            {"not called yet": 2, "queued": 1, "in progress": 2},
            "2 in progress, 1 queued, 2 not called yet",
        ),
        (
            [call(1, "no_answer"), call(2, "completed"), call(1, "completed")],
            {"not called yet": 3, "completed": 2},
            "2 completed, 3 not called yet",
        ),
        (
            [call(1, "no_answer"), call(2, "busy"), {**call(3, "voicemail"), "ended_at": "2026-11-27"}],
            {"not called yet": 2, "no_answer": 1, "busy": 1, "voicemail": 1},
            "1 no answer, 1 busy, 1 voicemail, 2 not called yet",
        ),
    ],
)
def test_progress_counts_contacts_by_their_last_call(
    calls: list[dict[str, Any]], contacts: dict[str, int], shown: str
) -> None:
    """A contact that is called again is counted once, and outcomes are shown before what is open."""
    found = progress(calls, contacts=5)

    assert found == Progress(Counter(contacts), len(calls))
    assert f"{len(calls)} calls placed; contacts: {shown}; tasks: call deferred" in line(
        found, {"call": "deferred"}, 1.0
    )


SUMMARY = {"contacts": 200, "outcomes": {"completed": 200}, "attempts": 201, "talk_time": 60.0}
OUTCOMES: dict[str | None, int] = {"completed": 200}
CALLS = Counter({f"+{number}": 1 for number in range(199)} | {"+199": 2})


@pytest.mark.parametrize(
    ("run_state", "summary", "outcomes", "calls", "problem"),
    [
        ("success", SUMMARY, OUTCOMES, CALLS, None),
        ("failed", SUMMARY, OUTCOMES, CALLS, "ended as failed"),
        ("success", None, OUTCOMES, CALLS, "no summary"),
        ("success", SUMMARY, {"completed": 199, None: 1}, CALLS, "other outcomes"),
        ("success", SUMMARY, OUTCOMES, CALLS + Counter(["+199"]), "the sandbox has 202 to 200"),
        ("success", SUMMARY | {"attempts": 199}, OUTCOMES, Counter([*CALLS][:199]), "199 to 199"),
        ("success", SUMMARY | {"attempts": 203}, OUTCOMES, CALLS + Counter(["+199"] * 2), "called 4 times"),
    ],
)
def test_only_a_campaign_without_a_call_too_many_is_a_success(
    run_state: str,
    summary: object,
    outcomes: dict[str | None, int],
    calls: Counter[str],
    problem: str | None,
) -> None:
    """Everything else has a sentence that says what is missing."""
    found = shortcoming(run_state, summary, outcomes, calls)

    assert found is None if problem is None else problem in str(found)
