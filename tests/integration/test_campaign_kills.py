"""A campaign whose workers and triggerer are killed at random, with 1 % lost answers.

The sandbox is the independent witness: it has all calls that were placed, and when each of them was live.
``TELZINO_CRASH_ROUNDS=2`` calls two lists of 1,000 contacts, with 20 kills each, instead of one that has a
quarter of both; ``TELZINO_CRASH_SEED=...`` draws other moments.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sandbox.faults import Faults
from airflow_provider_telzino.sandbox.lifecycle import Outcome
from tests.conftest import ReportCount
from tests.integration.dags.campaign_kills.campaign_kills import MAX_ACTIVE
from tests.support.decided_outcomes import decide_outcomes
from tests.support.integration.crashes.campaign_calls import (
    CONTACTS,
    KILLS,
    CampaignCalls,
    campaign_calls,
)
from tests.support.live_calls import most_live
from tests.support.programs import needs
from tests.support.rounds import ROUNDS

pytestmark = [
    pytest.mark.integration,
    pytest.mark.nightly,
    pytest.mark.xdist_group("campaign kills"),
    needs("postgres", "initdb"),
]

SEED = int(os.environ.get("TELZINO_CRASH_SEED", "1"))
LIST_LAG = 2.0  # seconds
TIME_LIMIT = 900.0  # seconds for one list, on a busy machine

COURSES = (
    Outcome("completed", queued=(0.2, 1.0), ringing=(0.5, 2.0), talking=(3.0, 12.0)),
    Outcome("no_answer", 480, queued=(0.2, 1.0), ringing=(2.0, 8.0)),
    Outcome("busy", 486, queued=(0.2, 1.0), ringing=(0.5, 3.0)),
)


def course_of(number: str, earlier_calls: int) -> Outcome:
    """Return how a call to a number ends, after so many earlier calls to it."""
    return random.Random(f"{SEED}/{number}/{earlier_calls}").choice(COURSES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CampaignCalls]:
    """The running Airflow, and a Telzino whose list lags."""
    faults = Faults(latency=(0.02, 0.08), seed=SEED)
    with (
        pytest.MonkeyPatch.context() as patched,
        Sandbox(1.0, SEED, list_lag=LIST_LAG, faults=faults, keep_requests=False) as sandbox,
    ):
        decide_outcomes(patched, course_of)
        with campaign_calls(tmp_path_factory.mktemp("campaign") / "airflow", sandbox, SEED) as started:
            yield started


def test_each_contact_is_called_once(site: CampaignCalls, report_count: ReportCount) -> None:
    """No call is missing, none is placed twice, never are too many live, and each outcome is in XCom."""
    for number in range(ROUNDS):
        site.done.clear()
        site.events.clear()
        began = time.monotonic()
        numbers = [f"+1813{number:03d}{contact:04d}" for contact in range(CONTACTS)]

        result = site.call(numbers, TIME_LIMIT)

        calls = [call for call in site.sandbox.calls if call["to_number"] in {*numbers}]
        counts = summary(result, calls, site.done, time.monotonic() - began)
        report_count(counts)
        wrong = find_problems(numbers, result, calls)
        assert not wrong, "\n".join([counts, *wrong[:20], "What happened:", *site.events])
        assert {kind: site.done[kind] for kind in KILLS} == KILLS, counts
        assert site.done["answer"] >= CONTACTS / 200, counts


def find_problems(numbers: list[str], result: dict[str, Any], calls: list[dict[str, Any]]) -> list[str]:
    """Say what is wrong with the calls, and with the results."""
    placements = Counter(call["to_number"] for call in calls)
    found = [
        f"{number} was called {placements[number]} times" for number in numbers if placements[number] != 1
    ]
    if (live := most_live(calls)) > MAX_ACTIVE:
        found.append(f"{live} calls were live")
    if result["state"] != "success":
        return [*found, f"the task ended with {result['state']}"]
    call_to = {call["to_number"]: call for call in calls}
    for number, row in zip(numbers, result["xcoms"]["return_value"], strict=True):
        record = call_to.get(number, {})
        expected = {"contact": number, "outcome": record.get("status"), "attempts": 1, "error": None}
        if row != {**expected, "record": record}:
            found.append(f"the result of {number} is {row}")
    outcomes = Counter(call["status"] for call in calls)
    found += [
        f"the summary's {name} are {result['xcoms']['summary'][name]}, but should be {expected}"
        for name, expected in {"contacts": CONTACTS, "attempts": CONTACTS, "outcomes": outcomes}.items()
        if result["xcoms"]["summary"][name] != expected
    ]
    return found


def summary(result: dict[str, Any], calls: list[dict[str, Any]], done: Counter[str], seconds: float) -> str:
    """Summarise a run."""
    per_number = Counter(Counter(call["to_number"] for call in calls).values())
    killed = ", ".join(f"{number} {kind}" for kind, number in done.items())
    return (
        f"campaign of {CONTACTS} contacts, killed or lost: {killed}; {result['tries']} tries; "
        f"{len(calls)} calls; contacts by calls: {dict(per_number)}; "
        f"most live: {most_live(calls)} of {MAX_ACTIVE} (seed {SEED}, {seconds:.0f} s)"
    )
