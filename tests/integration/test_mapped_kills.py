"""40 mapped contacts on a whole Airflow whose workers, triggerer and scheduler are killed at random moments.

The sandbox is the independent witness: it has all calls that were placed. ``TELZINO_CRASH_ROUNDS=5`` calls
five lists, ``TELZINO_CRASH_SEED=...`` draws other outcomes and other moments.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sandbox.faults import Faults
from airflow_provider_telzino.sandbox.lifecycle import Outcome as CallOutcome
from tests.conftest import ReportCount
from tests.integration.dags.mapped_kills.mapped_contacts import RULES
from tests.support.crash_verdict import complaints
from tests.support.crashing_tasks import Outcome, Round, Task
from tests.support.decided_outcomes import decide_outcomes
from tests.support.integration.crashes.mapped_calls import MOST, MappedCalls, MappedRun, mapped_calls
from tests.support.programs import needs
from tests.support.rounds import ROUNDS

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("mapped kills"), needs("postgres", "initdb")]

SEED = int(os.environ.get("TELZINO_CRASH_SEED", "1"))
CONTACTS = 40
LIST_LAG = 2.0  # seconds
TIME_LIMIT = 600.0  # seconds for one list, on a busy machine
LEAST = {"worker": 8, "dialling worker": 5, "triggerer": 3, "scheduler": 2, "answer": 5}
"""How much has to go wrong for a list: otherwise the counts would prove nothing."""

QUEUED, RINGING, TALKING = (0.2, 1.0), (1.0, 5.0), (2.0, 8.0)  # seconds
COURSES = {
    "completed": CallOutcome("completed", queued=QUEUED, ringing=RINGING, talking=TALKING),
    "no_answer": CallOutcome("no_answer", 480, queued=QUEUED, ringing=RINGING),
    "busy": CallOutcome("busy", 486, queued=QUEUED, ringing=RINGING),
    "failed": CallOutcome("failed", 503, queued=QUEUED, ringing=RINGING),
}
WEIGHTS = {"completed": 4, "no_answer": 2, "busy": 2, "failed": 1}


def outcome_of(number: str, earlier_calls: int) -> str:
    """Return how a call to a number ends, after so many earlier calls to it."""
    drawn = random.Random(f"{SEED}/{number}/{earlier_calls}")
    return drawn.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]


def expected(number: str) -> list[str]:
    """Return how the calls to a number should end: each once, and again if the rules say so."""
    statuses: list[str] = []
    while len(statuses) < RULES["max_attempts"]:
        statuses.append(outcome_of(number, len(statuses)))
        if statuses[-1] not in RULES["redial_on"]:
            break
    return statuses


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MappedCalls]:
    """The running Airflow, and a Telzino that is slow, whose list lags, and some of whose requests fail."""
    faults = Faults(latency=(0.1, 0.6), error_rate=0.03, seed=SEED)
    with (
        pytest.MonkeyPatch.context() as patched,
        Sandbox(1.0, SEED, list_lag=LIST_LAG, faults=faults, keep_requests=False) as sandbox,
    ):
        decide_outcomes(patched, lambda number, earlier: COURSES[outcome_of(number, earlier)])
        with mapped_calls(tmp_path_factory.mktemp("mapped") / "airflow", sandbox, SEED) as started:
            yield started


def test_each_contact_is_called_as_often_as_its_outcomes_require(
    site: MappedCalls, report_count: ReportCount
) -> None:
    """No call is missing, none is placed twice, and each XCom has its contact's record and attempts."""
    began = time.monotonic()
    for number in range(ROUNDS):
        before = Counter(site.done)
        run = site.start_run([f"+1813{number:05d}{contact:02d}" for contact in range(CONTACTS)])

        site.kill_until_the_end(run, TIME_LIMIT)

        outcomes = site.outcomes(run)
        calls = [call for call in site.sandbox.calls if call["to_number"] in run.numbers]
        counts = summary(outcomes, calls, site.done - before)
        report_count(f"{counts} (seed {SEED}, {time.monotonic() - began:.0f} s)")
        wrong = find_problems(run, outcomes, calls)
        assert not wrong, "\n".join([counts, *wrong, "What happened:", *site.events])
        assert all((site.done - before)[name] >= least for name, least in LEAST.items()), site.done - before


def find_problems(run: MappedRun, outcomes: list[Outcome], calls: list[dict[str, Any]]) -> list[str]:
    """Say what is wrong with the calls to each contact, and with the XComs of its task instance."""
    rules = {**RULES, "redial_delay": RULES["redial_delay"] / timedelta(seconds=1), "reattach": True}
    rounds = [Round(list(run.numbers))]
    task = Task(run.run_id, "", "", rules, rounds, is_mapped=True, retries=0, deaths=0, has_state=True)
    found = complaints(task, outcomes, calls)
    for number in run.numbers:
        placed = [call["status"] for call in calls if call["to_number"] == number]
        if placed != expected(number):
            found.append(f"{number} should have been called with {expected(number)}, but was with {placed}")
    for outcome in outcomes:
        placed_calls = [call for call in calls if call["to_number"] == outcome.number]
        attempts = [{name: call[name] for name in ("id", "status", "created_at")} for call in placed_calls]
        if outcome.xcoms.get("return_value") != placed_calls[-1]:
            found.append(f"{outcome.number} has the wrong record: {json.dumps(outcome.xcoms)}")
        if outcome.xcoms.get("attempts") != attempts:
            found.append(f"{outcome.number} has the wrong attempts: {json.dumps(outcome.xcoms)}")
    if [outcome.number for outcome in outcomes] != list(run.numbers):
        found.append(f"The task instances are {[outcome.name for outcome in outcomes]}")
    return found


def summary(outcomes: list[Outcome], calls: list[dict[str, Any]], done: Counter[str]) -> str:
    """Summarise a run."""
    per_number = Counter(Counter(call["to_number"] for call in calls).values())
    should = Counter(len(expected(outcome.number)) for outcome in outcomes)
    killed = ", ".join(f"{done[name]} {name}s" for name in MOST)
    tries = sum(outcome.tries for outcome in outcomes)
    return (
        f"{len(outcomes)} mapped contacts, {tries} tries, killed or lost: {killed}; {len(calls)} calls; "
        f"contacts by calls: {dict(sorted(per_number.items()))}, expected {dict(sorted(should.items()))}"
    )
