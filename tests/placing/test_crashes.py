"""Hundreds of tasks whose workers are killed with ``kill -9``, and whose requests go wrong.

They call again, are cleared with other lists of contacts, skip or fail. The sandbox is the independent
witness: it has all calls that were placed, and they are compared with what the rules allow.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sandbox.lifecycle import Outcome as CallOutcome
from devtools.processes import MARK, ProcessFamily
from tests.conftest import ReportCount
from tests.support.crash_verdict import complaints
from tests.support.crashing_tasks import Outcome, Plan, Round, Task
from tests.support.decided_outcomes import decide_outcomes
from tests.support.placing_runs import has_task_state

SEED = int(os.environ.get("TELZINO_CRASH_SEED", "6"))
ROUNDS = int(os.environ.get("TELZINO_CRASH_ROUNDS", "1"))
TASKS = 240 * ROUNDS
LANES = 24
SCALE = 5  # all times are a fifth of the real ones: lag 5 s, and 15 s until a call must have shown up
TIMEOUT = 400.0 * ROUNDS  # seconds

QUEUED, RINGING, TALKING = (0.02, 0.1), (0.05, 0.2), (0.05, 0.3)  # seconds
OUTCOMES = {
    "completed": CallOutcome("completed", queued=QUEUED, ringing=RINGING, talking=TALKING),
    "no_answer": CallOutcome("no_answer", 480, queued=QUEUED, ringing=RINGING),
    "busy": CallOutcome("busy", 486, queued=QUEUED, ringing=RINGING),
    "failed": CallOutcome("failed", 503, queued=QUEUED, ringing=RINGING),
}
POST_FAULTS: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 500, "after_commit": True},
    {"status": 503, "times": 2},
    {"status": 429, "times": 2},
    {"reset": True},
    {"reset": True, "after_commit": True},
    {"hang": True},
    {"hang": True, "after_commit": True},
    {"cut_off": True},
    {"delay": 0.3},
    {"raw_body": b"<html>", "after_commit": True},
]
GET_FAULTS: list[dict[str, Any]] = [{"status": 503}, {"reset": True}, {"cut_off": True}, {"status": 429}]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("crashing tasks")]

Calls = list[dict[str, Any]]


@pytest.fixture(scope="module")
def randomness() -> random.Random:
    """The source of everything that is planned."""
    return random.Random(SEED)


@pytest.fixture(scope="module")
def sandboxes(randomness: random.Random) -> Iterator[list[Sandbox]]:
    """Three, whose lists lag by 0, 1 and 5 seconds (to scale); each number has outcomes of its own."""

    def outcome_of(to_number: str, earlier_calls: int) -> CallOutcome:
        drawn = random.Random(f"{SEED}/{to_number}/{earlier_calls}")
        return OUTCOMES[drawn.choice(list(OUTCOMES))]

    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patched:
        decide_outcomes(patched, outcome_of)
        yield [
            stack.enter_context(
                # Another seed each, so that no agents share an id.
                Sandbox(1.0, lag, agents=TASKS // 3 + 2, list_lag=lag / SCALE, keep_requests=False)
            )
            for lag in (0, 1, 5)
        ]


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


def carry_out(plan: Plan) -> str:
    """Run the program that runs the tasks, and return its output. It leaves no process behind."""
    family = ProcessFamily()  # which ends them even if we are killed ourselves
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.support.crashing_tasks"],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, MARK: family.mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = program.communicate(json.dumps(asdict(plan)), timeout=TIMEOUT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        family.stop()
    assert program.returncode == 0, errors[-4_000:]
    return output


@pytest.fixture(scope="module")
def results(
    sandboxes: list[Sandbox], randomness: random.Random, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Task, list[Outcome], Calls]]:
    """What became of each task instance in each round, and the calls that were placed, oldest first."""
    folder = tmp_path_factory.mktemp("tasks")
    tasks = [
        # The first agent of each sandbox is the same everywhere.
        plan_task(number, sandboxes[number % 3], sandboxes[number % 3].agent_ids[number // 3 + 1], randomness)
        for number in range(TASKS)
    ]
    warm_up = replace(tasks[0], name="warm-up", agent_id=sandboxes[0].agent_ids[0])
    plan = Plan(SEED, LANES, (5 / SCALE, 10 / SCALE), str(folder), warm_up, tasks)
    outcomes: dict[str, list[Outcome]] = {task.name: [] for task in tasks}
    for line in carry_out(plan).splitlines():
        outcome = Outcome(**json.loads(line))
        outcomes[outcome.name].append(outcome)
    placed: dict[str, Calls] = {task.agent_id: [] for task in tasks}
    for sandbox in sandboxes:
        for call in sandbox.calls:
            if call["agent_id"] in placed and call["to_number"].startswith("+1813"):
                placed[call["agent_id"]].append(call)
    return [(task, outcomes[task.name], placed[task.agent_id]) for task in tasks]


def test_nobody_is_called_more_often_than_the_rules_allow_and_every_record_is_right(
    results: list[tuple[Task, list[Outcome], Calls]], report_count: ReportCount
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


def test_nearly_all_get_through_in_the_end(results: list[tuple[Task, list[Outcome], Calls]]) -> None:
    """They have a record, whatever has died meanwhile; the others say that they don't dial, and why."""
    outcomes = [each for _, instances, _ in results for each in instances if not each.is_interrupted]
    without = [each for each in outcomes if "return_value" not in each.xcoms]

    assert [each for each in without if "doesn't dial" not in str(each.error)] == []
    assert len(without) <= len(outcomes) * 0.05


def test_the_tasks_had_a_hard_time(results: list[tuple[Task, list[Outcome], Calls]]) -> None:
    """Workers died, and errors occurred: otherwise the counts would prove nothing."""
    outcomes = [each for _, instances, _ in results for each in instances]
    errors = Counter(error for outcome in outcomes for error in outcome.errors)

    assert sum(outcome.deaths for outcome in outcomes) >= len(outcomes) / 2
    assert errors["TelzinoUnknownPlacementError"] >= 10
    assert "defect" not in errors


def summary(results: list[tuple[Task, list[Outcome], Calls]]) -> str:
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
