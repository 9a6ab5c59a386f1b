"""Campaigns whose workers are killed with ``kill -9``, and whose requests go wrong.

They call again, are cleared with other lists of contacts, and fail. The sandbox is the independent witness:
it has all calls that were placed, and they are compared with what the rules allow.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ReportCount
from tests.support.crash_plans import GET_FAULTS, PAUSES, POST_FAULTS, Result, lagging_sandboxes, run_plan
from tests.support.crash_verdict import campaign_complaints
from tests.support.crashing_tasks import Plan, Round, Task
from tests.support.live_calls import most_live
from tests.support.placing_runs import has_task_state
from tests.support.rounds import ROUNDS

SEED = int(os.environ.get("TELZINO_CRASH_SEED", "1"))
CAMPAIGNS = 18 * ROUNDS
LANES = 18
TIMEOUT = 400.0 * ROUNDS  # seconds

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("crashing campaigns")]


def plan_campaign(number: int, sandbox: Sandbox, agent_id: str, randomness: random.Random) -> Task:
    """Plan one campaign, and everything that goes wrong with its requests."""
    numbers = iter([f"+1813{number:05d}{contact:02d}" for contact in range(100)])
    for _ in range(randomness.randint(0, 4)):
        sandbox.faults.next("POST", f"{agent_id}/outbound-calls$", **randomness.choice(POST_FAULTS))
    if randomness.random() < 0.3:
        sandbox.faults.next("GET", f"{agent_id}/outbound-calls", **randomness.choice(GET_FAULTS))
    contacts = [next(numbers) for _ in range(randomness.randint(2, 16))]
    rounds = [Round(contacts)]
    for _ in range(randomness.choice([0, 1, 1, 2])):
        rounds[-1].interrupted = randomness.random() < 0.5
        if randomness.random() < 0.7:
            new = [next(numbers) for _ in range(randomness.randint(0, 3))]
            contacts = randomness.sample([*contacts, *new], randomness.randint(1, len(contacts)))
        rounds.append(Round(contacts))
    statuses = ["no_answer", "busy", "failed"]
    arguments: dict[str, Any] = {
        "metadata": {"crm_id": number},
        "max_active_calls": randomness.randint(1, 8),
        "redial_on": randomness.sample(statuses, randomness.randint(0, 3)),
        "max_attempts": randomness.randint(1, 3),
        "redial_delay": randomness.choice([0, 0.2]),
        "fail_on": randomness.sample(statuses, randomness.randint(0, 1)),
        "calling_days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "timezone": "America/New_York",
    }
    return Task(
        name=f"campaign-{number}",
        url=sandbox.url,
        agent_id=agent_id,
        arguments=arguments,
        rounds=rounds,
        is_mapped=False,
        is_campaign=True,
        retries=12,
        deaths=3,
        has_state=has_task_state() and number % 2 == 0,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Result]]:
    """What became of each campaign in each round, and the calls that were placed, oldest first."""
    randomness = random.Random(SEED)
    with lagging_sandboxes(SEED, agents=CAMPAIGNS // 3 + 2) as sandboxes:
        tasks = [
            # The first agent of each sandbox is the same everywhere.
            plan_campaign(
                number, sandboxes[number % 3], sandboxes[number % 3].agent_ids[number // 3 + 1], randomness
            )
            for number in range(CAMPAIGNS)
        ]
        warm_up = replace(
            tasks[0],
            name="warm-up",
            agent_id=sandboxes[0].agent_ids[0],
            arguments={"timezone": "America/New_York"},
            is_campaign=False,
        )
        folder = str(tmp_path_factory.mktemp("campaigns"))
        plan = Plan(SEED, LANES, PAUSES, folder, warm_up, tasks)
        yield run_plan(plan, sandboxes, TIMEOUT)


def test_nobody_is_called_beyond_the_rules_and_all_results_are_right(
    results: list[Result], report_count: ReportCount
) -> None:
    """Per number and per campaign, from the witness's calls; per contact, from the results."""
    wrong = {
        task.name: (found, task, outcomes, calls)
        for task, outcomes, calls in results
        if (found := campaign_complaints(task, outcomes, calls))
    }

    report_count(summary(results))
    assert not wrong, json.dumps(
        [(found, asdict(task), [asdict(each) for each in outcomes], calls)
         for found, task, outcomes, calls in list(wrong.values())[:3]], indent=1,
    )  # fmt: skip


def test_all_get_through_in_the_end(results: list[Result]) -> None:
    """Each campaign that was not interrupted has results, whatever has died meanwhile."""
    outcomes = [each for _, rounds, _ in results for each in rounds if not each.is_interrupted]

    assert [each for each in outcomes if "return_value" not in each.xcoms] == []


def test_the_campaigns_had_a_hard_time(results: list[Result]) -> None:
    """Workers died, some while calls were live: otherwise the counts would prove nothing."""
    outcomes = [each for _, rounds, _ in results for each in rounds]

    assert sum(outcome.deaths for outcome in outcomes) >= len(outcomes)
    assert sum(outcome.is_interrupted for outcome in outcomes) >= CAMPAIGNS / 9
    assert "defect" not in {error for outcome in outcomes for error in outcome.errors}


def summary(results: list[Result]) -> str:
    """Summarise what the campaigns have done."""
    outcomes = [each for _, rounds, _ in results for each in rounds]
    placed = Counter(call["to_number"] for _, _, calls in results for call in calls)
    per_number = ", ".join(f"{count}: {many}" for count, many in sorted(Counter(placed.values()).items()))
    full = sum(most_live(calls) == task.arguments["max_active_calls"] for task, _, calls in results)
    return (
        f"{len(outcomes)} runs of {CAMPAIGNS} campaigns, {sum(each.tries for each in outcomes)} tries, "
        f"{sum(each.deaths for each in outcomes)} processes killed, "
        f"{sum(each.is_interrupted for each in outcomes)} cleared while deferred; {full} had as many "
        f"live calls as they may, none more; {sum(placed.values())} calls; numbers by calls: {per_number} "
        f"(seed {SEED})"
    )
