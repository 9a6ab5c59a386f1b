"""Hundreds of tasks whose workers are killed with ``kill -9``, and whose requests go wrong.

They call again, are cleared with other lists of contacts, skip or fail. The sandbox is the independent
witness: it has all calls that were placed, and they are compared with what the rules allow.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ReportCount
from tests.support.crash_plans import GET_FAULTS, PAUSES, POST_FAULTS, Result, lagging_sandboxes, run_plan
from tests.support.crash_verdict import complaints
from tests.support.crashing_tasks import Plan, Round, Task
from tests.support.placing_runs import has_task_state
from tests.support.rounds import ROUNDS

SEED = int(os.environ.get("TELZINO_CRASH_SEED", "6"))
TASKS = 80 * ROUNDS
LANES = 24
TIMEOUT = 400.0 * ROUNDS  # seconds

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("crashing tasks")]


@pytest.fixture(scope="module")
def randomness() -> random.Random:
    """The source of everything that is planned."""
    return random.Random(SEED)


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[list[Sandbox]]:
    """Three, whose lists lag."""
    with lagging_sandboxes(SEED, agents=TASKS // 3 + 2) as running:
        yield running


def plan_task(number: int, sandbox: Sandbox, agent_id: str, randomness: random.Random) -> Task:
    """Plan one task, and everything that goes wrong with its requests."""
    numbers = iter([f"+1813{number:05d}{contact:02d}" for contact in range(100)])
    is_mapped = randomness.random() < 0.5
    for _ in range(randomness.choice([0, 1, 1, 2])):
        sandbox.faults.next("POST", f"{agent_id}/outbound-calls$", **randomness.choice(POST_FAULTS))
    if randomness.random() < 0.3:
        sandbox.faults.next("GET", f"{agent_id}/outbound-calls", **randomness.choice(GET_FAULTS))
    if number % 40 == 0:  # in front of all that the task will place
        later = datetime.now(timezone.utc) + timedelta(days=30)
        for _ in range(500):
            sandbox.add_call("completed", agent_id=agent_id, created_at=later)
    contacts = [next(numbers) for _ in range(randomness.randint(1, 3) if is_mapped else 1)]
    rounds = [Round(contacts)]
    for _ in range(randomness.choice([0, 1, 1, 2])):
        if randomness.random() < 0.7:
            contacts = changed(contacts, next(numbers), is_mapped, randomness)
        rounds[-1].interrupted = randomness.random() < 0.5
        rounds.append(Round(contacts))
    statuses = ["no_answer", "busy", "failed"]
    arguments = {
        "metadata": {"crm_id": number},
        "redial_on": randomness.sample(statuses, randomness.randint(0, 3)),
        "max_attempts": randomness.randint(1, 3),
        "redial_delay": randomness.choice([0, 0.2]),
        "fail_on": randomness.sample(statuses, randomness.randint(0, 3)),
        "soft_fail": randomness.random() < 0.3,
        "reattach": randomness.random() < 0.7,
        "calling_days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "timezone": "America/New_York",
    }
    return Task(
        name=f"task-{number}",
        url=sandbox.url,
        agent_id=agent_id,
        arguments=arguments,
        rounds=rounds,
        is_mapped=is_mapped,
        retries=8,
        deaths=3,
        has_state=has_task_state() and number % 2 == 0,
    )


def changed(contacts: list[str], new: str, is_mapped: bool, randomness: random.Random) -> list[str]:
    """Change a list of contacts as people do: insert, remove, reorder, replace."""
    if not is_mapped:
        return [new]
    change = randomness.choice(["insert", "remove", "reorder", "replace"])
    others = list(contacts)
    if change == "insert":
        others.insert(randomness.randint(0, len(others)), new)
    elif change == "replace" or len(others) == 1:
        others[randomness.randrange(len(others))] = new
    elif change == "remove":
        others.pop(randomness.randrange(len(others)))
    else:
        randomness.shuffle(others)
    return others


@pytest.fixture(scope="module")
def results(
    sandboxes: list[Sandbox], randomness: random.Random, tmp_path_factory: pytest.TempPathFactory
) -> list[Result]:
    """What became of each task instance in each round, and the calls that were placed, oldest first."""
    folder = tmp_path_factory.mktemp("tasks")
    tasks = [
        # The first agent of each sandbox is the same everywhere.
        plan_task(number, sandboxes[number % 3], sandboxes[number % 3].agent_ids[number // 3 + 1], randomness)
        for number in range(TASKS)
    ]
    warm_up = replace(tasks[0], name="warm-up", agent_id=sandboxes[0].agent_ids[0])
    plan = Plan(SEED, LANES, PAUSES, str(folder), warm_up, tasks)
    return run_plan(plan, sandboxes, TIMEOUT)


def test_nobody_is_called_more_often_than_the_rules_allow_and_every_record_is_right(
    results: list[Result], report_count: ReportCount
) -> None:
    """Per number, from the witness's calls; per task instance, from its XComs."""
    wrong = {
        task.name: (found, task, outcomes, calls)
        for task, outcomes, calls in results
        if (found := complaints(task, outcomes, calls))
    }

    report_count(summary(results))
    assert not wrong, json.dumps(
        [(found, asdict(task), [asdict(each) for each in outcomes], calls)
         for found, task, outcomes, calls in list(wrong.values())[:3]], indent=1,
    )  # fmt: skip
    assert len(results) == TASKS


def test_nearly_all_get_through_in_the_end(results: list[Result]) -> None:
    """They have a record, whatever has died meanwhile; the others say that they don't dial, and why."""
    outcomes = [each for _, instances, _ in results for each in instances if not each.is_interrupted]
    without = [each for each in outcomes if "return_value" not in each.xcoms]

    assert [each for each in without if "doesn't dial" not in str(each.error)] == []
    assert len(without) <= len(outcomes) * 0.05


def test_the_tasks_had_a_hard_time(results: list[Result]) -> None:
    """Workers died, and errors occurred: otherwise the counts would prove nothing."""
    outcomes = [each for _, instances, _ in results for each in instances]
    errors = Counter(error for outcome in outcomes for error in outcome.errors)

    assert sum(outcome.deaths for outcome in outcomes) >= len(outcomes) / 2
    assert errors["TelzinoUnknownPlacementError"] >= 10
    assert "defect" not in errors


def summary(results: list[Result]) -> str:
    """Summarise what the tasks have done."""
    outcomes = [each for _, instances, _ in results for each in instances]
    placed = Counter(call["to_number"] for _, _, calls in results for call in calls)
    per_number = ", ".join(f"{count}: {many}" for count, many in sorted(Counter(placed.values()).items()))
    return (
        f"{len(outcomes)} runs of {TASKS} tasks, {sum(each.tries for each in outcomes)} tries, "
        f"{sum(each.deaths for each in outcomes)} processes killed, "
        f"{sum(each.is_interrupted for each in outcomes)} cleared while deferred; "
        f"{sum(placed.values())} calls to {len(placed)} numbers; numbers by calls: {per_number}"
    )
