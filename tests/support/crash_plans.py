"""What the tests of crashing tasks share: Telzinos, what goes wrong with them, and the run of a plan."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sandbox.lifecycle import Outcome as CallOutcome
from devtools.processes import MARK, ProcessFamily
from tests.support.crashing_tasks import Outcome, Plan, Task
from tests.support.decided_outcomes import decide_outcomes

SCALE = 5  # all times are a fifth of the real ones: lag 5 s, and 15 s until a call must have shown up

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

Calls = list[dict[str, Any]]
Result = tuple[Task, list[Outcome], Calls]
"""A task, what became of its instances in each round, and the calls of its agent, oldest first."""

PAUSES = (5 / SCALE, 10 / SCALE)


@contextlib.contextmanager
def lagging_sandboxes(seed: int, agents: int) -> Iterator[list[Sandbox]]:
    """Run three, whose lists lag by 0, 1 and 5 seconds (to scale); each number has outcomes of its own."""

    def outcome_of(to_number: str, earlier_calls: int) -> CallOutcome:
        drawn = random.Random(f"{seed}/{to_number}/{earlier_calls}")
        return OUTCOMES[drawn.choice(list(OUTCOMES))]

    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patched:
        decide_outcomes(patched, outcome_of)
        yield [
            stack.enter_context(
                # Another seed each, so that no agents share an id.
                Sandbox(1.0, lag, agents=agents, list_lag=lag / SCALE, keep_requests=False)
            )
            for lag in (0, 1, 5)
        ]


def run_plan(plan: Plan, sandboxes: Sequence[Sandbox], timeout: float) -> list[Result]:
    """Run the tasks of a plan, in processes of their own."""
    outcomes: dict[str, list[Outcome]] = {task.name: [] for task in plan.tasks}
    for line in _carry_out(plan, timeout).splitlines():
        outcome = Outcome(**json.loads(line))
        outcomes[outcome.name].append(outcome)
    placed: dict[str, Calls] = {task.agent_id: [] for task in plan.tasks}
    for sandbox in sandboxes:
        for call in sandbox.calls:
            if call["agent_id"] in placed and call["to_number"].startswith("+1813"):
                placed[call["agent_id"]].append(call)
    return [(task, outcomes[task.name], placed[task.agent_id]) for task in plan.tasks]


def _carry_out(plan: Plan, timeout: float) -> str:
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
        output, errors = program.communicate(json.dumps(asdict(plan)), timeout=timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        family.stop()
    assert program.returncode == 0, errors[-4_000:]
    return output
