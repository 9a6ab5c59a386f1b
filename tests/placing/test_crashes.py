"""Hundreds of tasks whose workers are killed with ``kill -9``, and whose requests go wrong: one call each.

The sandbox is the independent witness: it counts the calls that were placed.
"""

from __future__ import annotations

import contextlib
import itertools
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

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from devtools.processes import MARK, ProcessFamily
from tests.conftest import ReportCount
from tests.support.crashing_tasks import Outcome, Plan, Task
from tests.support.placing_runs import IDENTITY, has_task_state

SEED = int(os.environ.get("TELZINO_CRASH_SEED", "6"))
ROUNDS = int(os.environ.get("TELZINO_CRASH_ROUNDS", "1"))
RUNS = 500 * ROUNDS
REDIALS = 40
LANES = 32
SCALE = 5  # all times are a fifth of the real ones: lag 5 s, and 15 s until a call must have shown up
SPEED = 100.0  # of the sandbox's clock, which the lag follows
TIMEOUT = 300.0 * ROUNDS  # seconds

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


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[list[Sandbox]]:
    """Three, whose lists lag by 0, 1 and 5 seconds (to scale)."""
    share = (RUNS + REDIALS) // 3 + 2
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                # Another seed each, so that no agents share an id.
                Sandbox(SPEED, lag, agents=share, list_lag=lag / SCALE * SPEED, keep_requests=False)
            )
            for lag in (0, 1, 5)
        ]


def plan_tasks(sandboxes: list[Sandbox], randomness: random.Random) -> list[Task]:
    """Plan the tasks, and everything that goes wrong with their requests."""
    tasks = []
    for number in range(RUNS + REDIALS):
        sandbox = sandboxes[number % 3]
        agent_id = sandbox.agent_ids[number // 3 + 1]  # the first one is the same everywhere
        redials = number >= RUNS
        arguments: dict[str, Any] = {"to_number": MAGIC_NUMBERS["completed"], "metadata": {"crm_id": number}}
        if redials:
            arguments = {"to_number": MAGIC_NUMBERS["no_answer"], "fail_on": ["no_answer"]}
        if randomness.random() < 0.5:
            fault = randomness.choice(POST_FAULTS)
            sandbox.faults.next("POST", f"{agent_id}/outbound-calls$", **fault)
        if randomness.random() < 0.3:
            fault = randomness.choice(GET_FAULTS)
            sandbox.faults.next("GET", f"{agent_id}/outbound-calls", **fault)
        if number % 30 == 0:  # in front of all that the task will place
            later = datetime.now(timezone.utc) + timedelta(days=30)
            for _ in range(1_000):
                sandbox.add_call("completed", agent_id=agent_id, created_at=later)
        tasks.append(
            Task(
                name=f"{'redial' if redials else 'call'}-{number}",
                url=sandbox.url,
                agent_id=agent_id,
                arguments=arguments,
                retries=5 if redials else 8,
                deaths=2 if redials else 4,
                has_state=has_task_state() and number % 2 == 0,
            )
        )
    return tasks


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
def outcomes(
    sandboxes: list[Sandbox], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Outcome, list[dict[str, Any]]]]:
    """What became of each task, and the calls that it has placed, oldest first."""
    folder = tmp_path_factory.mktemp("tasks")
    tasks = plan_tasks(sandboxes, random.Random(SEED))
    warm_up = replace(tasks[0], name="warm-up", agent_id=sandboxes[0].agent_ids[0])
    plan = Plan(SEED, LANES, (5 / SCALE, 10 / SCALE), str(folder), warm_up, tasks)
    results = {each["name"]: Outcome(**each) for each in map(json.loads, carry_out(plan).splitlines())}
    placed: dict[str, list[dict[str, Any]]] = {task.agent_id: [] for task in tasks}
    for sandbox in sandboxes:
        for call in sandbox.calls:
            if call["agent_id"] in placed and (call["request_metadata"] or {}).get("airflow") == IDENTITY:
                placed[call["agent_id"]].append(call)
    return {task.name: (results[task.name], placed[task.agent_id]) for task in tasks}


def test_each_task_places_exactly_one_call(
    outcomes: dict[str, tuple[Outcome, list[dict[str, Any]]]], report_count: ReportCount
) -> None:
    """Or none, and then the task fails and says why."""
    chosen = {name: each for name, each in outcomes.items() if name.startswith("call-")}

    counts = Counter(len(calls) for _, calls in chosen.values())
    wrong = {
        name: (outcome, [call["created_at"] for call in calls])
        for name, (outcome, calls) in chosen.items()
        if not (len(calls) == 1 and outcome.error is None)
        and not (not calls and "doesn't dial" in str(outcome.error))
    }
    report_count(counted(outcomes, "call-", counts))
    assert wrong == {}
    assert len(chosen) == RUNS
    assert counts[1] >= RUNS * 0.95  # nearly all get through in the end


def test_each_redial_follows_the_end_of_the_call_before(
    outcomes: dict[str, tuple[Outcome, list[dict[str, Any]]]], report_count: ReportCount
) -> None:
    """Nobody is called while a call of the task is live, or more often than the task is tried."""
    chosen = {name: each for name, each in outcomes.items() if name.startswith("redial-")}

    report_count(counted(outcomes, "redial-", Counter(len(calls) for _, calls in chosen.values())))
    for outcome, calls in chosen.values():
        assert 1 <= len(calls) <= outcome.tries
        for earlier, later in itertools.pairwise(calls):
            assert earlier["ended_at"] is not None
            assert earlier["ended_at"] <= later["created_at"]
        assert set(outcome.errors) <= {"TelzinoNoAnswerError", "TelzinoUnknownPlacementError"}
    assert len(chosen) == REDIALS


def test_the_tasks_had_a_hard_time(
    outcomes: dict[str, tuple[Outcome, list[dict[str, Any]]]],
) -> None:
    """Workers died, and errors occurred: otherwise the counts would prove nothing."""
    deaths = sum(outcome.deaths for outcome, _ in outcomes.values())
    errors = Counter(error for outcome, _ in outcomes.values() for error in outcome.errors)

    assert deaths >= RUNS / 2
    assert errors["TelzinoUnknownPlacementError"] >= 10
    assert "defect" not in errors


def counted(
    outcomes: dict[str, tuple[Outcome, list[dict[str, Any]]]], prefix: str, counts: Counter[int]
) -> str:
    """Summarise how many calls the tasks have placed."""
    chosen = [outcome for name, (outcome, _) in outcomes.items() if name.startswith(prefix)]
    calls = ", ".join(f"{number}: {tasks} tasks" for number, tasks in sorted(counts.items()))
    return (
        f"{len(chosen)} tasks ({prefix}*), {sum(each.tries for each in chosen)} tries, "
        f"{sum(each.deaths for each in chosen)} of them killed; calls placed per task: {calls}"
    )
