"""Run tasks that place calls; each try is a process of its own, and many are killed with ``kill -9``.

A program, since it forks, which pytest with its threads must not. It reads a ``Plan`` as JSON from its
standard input and prints one ``Outcome`` a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
from airflow.providers.common.compat import connection
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.rules import search
from airflow_provider_telzino.sandbox import ACCESS_TOKEN
from airflow_provider_telzino.triggers import call
from tests.support.placing_runs import TaskRuns, TaskStateStore

PRELOADED = (
    aiohttp,
    connection,
    call,
)  # what a trigger needs: imported once, not in each of a thousand processes


@dataclass
class Task:
    """A task to run, with an agent of its own, so that its calls can be distinguished from all others."""

    name: str
    url: str
    agent_id: str
    arguments: dict[str, Any]
    retries: int
    deaths: int
    """How many of its first tries may be killed."""
    has_state: bool
    """Whether its Airflow has a task state, as 3.3 does."""


@dataclass
class Plan:
    """What this program has to do."""

    seed: int
    lanes: int
    """How many tasks run at the same time."""
    pauses: tuple[float, float]
    """In place of ``LIST_LAG_PAUSES``."""
    folder: str
    warm_up: Task
    """A task whose call is placed first, in this process: forked processes then need not import anything."""
    tasks: list[Task] = field(default_factory=list)


@dataclass
class Outcome:
    """What became of a task."""

    name: str
    tries: int
    deaths: int
    error: str | None
    """Of its last try, if that failed."""
    errors: list[str]
    """The classes of all errors that its tries failed with."""


class StateInAFile(TaskStateStore):
    """A task state that outlives its processes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        if path.exists():
            self.stored = json.loads(path.read_text())

    def set(self, key: str, value: Any, **options: Any) -> None:
        """Write all of it or nothing, as a database does."""
        super().set(key, value, **options)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self.stored))
        new.replace(self._path)


def run_lane(plan: Plan, number: int) -> None:
    """Run the tasks of one lane, one after the other."""
    randomness = random.Random(f"{plan.seed}/{number}")
    for task in plan.tasks[number :: plan.lanes]:
        line = json.dumps(asdict(run_task(task, Path(plan.folder), randomness))) + "\n"
        os.write(1, line.encode())  # in one piece, since all lanes write there


def run_task(task: Task, folder: Path, randomness: random.Random) -> Outcome:
    """Run a task as Airflow does: try after try, until one succeeds or no retry is left."""
    errors: list[str] = []
    deaths = 0
    for number in range(1, task.retries + 2):
        dies = deaths < task.deaths and randomness.random() < 0.7
        result = run_try(task, number, folder, randomness if dies else None)
        if result is None:
            deaths += 1
            continue
        if result["error"] is None:
            return Outcome(task.name, number, deaths, None, errors)
        errors.append(result["class"])
    return Outcome(task.name, task.retries + 1, deaths, (result or {}).get("error", "killed"), errors)


def run_try(task: Task, number: int, folder: Path, killed_by: random.Random | None) -> dict[str, Any] | None:
    """Run one try in a process. Returns its result, or ``None`` if it was killed before it had one."""
    path = folder / f"{task.name}-{number}.json"
    death = Death.drawn(killed_by) if killed_by else Death()
    pid = os.fork()
    if pid == 0:
        work(task, number, folder, path, death)
    if death.after is not None:
        time.sleep(death.after)
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return json.loads(path.read_text()) if path.exists() else None


@dataclass(frozen=True)
class Death:
    """When a process is killed, if ever. Each of the three ways finds other gaps."""

    after: float | None = None
    """Seconds after its start."""
    steps: int = 0
    """The number of the function call at which it is killed."""
    counted_from: str | None = None
    """Steps are counted from the first call of this function; ``None``: from the start."""

    @classmethod
    def drawn(cls, randomness: random.Random) -> Death:
        """Draw one at random."""
        return randomness.choice(
            [
                cls(after=randomness.uniform(0, 1)),
                cls(steps=randomness.randrange(1, 20_000)),  # about a whole try
                cls(steps=randomness.randrange(1, 4_000), counted_from="place_call"),  # about the POST
            ]
        )


def work(task: Task, number: int, folder: Path, path: Path, death: Death) -> None:
    """Be the worker of one try: run it, write its result, and end."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    connect(task)
    state = StateInAFile(folder / f"{task.name}.state") if task.has_state else None
    runs = TaskRuns(task.arguments, retries=task.retries, state=state, tries=number - 1)
    result: dict[str, Any] = {"error": None}
    try:
        with dying(death):
            runs.next_try().to_the_end()
    except AirflowException as error:
        result = {"error": str(error), "class": type(error).__name__}
    except BaseException as error:
        result = {"error": f"{type(error).__name__}: {error}", "class": "defect"}
    new = path.with_suffix(".new")
    new.write_text(json.dumps(result))
    new.replace(path)
    os._exit(0)


def connect(task: Task) -> None:
    """Set the Airflow connection."""
    os.environ["AIRFLOW_CONN_TELZINO_DEFAULT"] = json.dumps(
        {
            "conn_type": "telzino",
            "host": task.url,
            "password": ACCESS_TOKEN,
            "extra": {"agent_id": task.agent_id, "timeout": 0.6},
        }
    )


@contextlib.contextmanager
def dying(death: Death) -> Iterator[None]:
    """Kill this process at one of its steps, which are calls of functions, of Python or of C."""
    left, counts = death.steps, death.counted_from is None

    def tick(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal left, counts
        counts = counts or frame.f_code.co_name == death.counted_from
        if counts and event in ("call", "c_call"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if death.steps:
        sys.setprofile(tick)
    yield
    sys.setprofile(None)


def main() -> None:
    """Run all tasks of the plan, in lanes."""
    given = json.load(sys.stdin)
    tasks, warm_up = [Task(**task) for task in given["tasks"]], Task(**given["warm_up"])
    plan = Plan(**{**given, "tasks": tasks, "warm_up": warm_up})
    search.LIST_LAG_PAUSES = plan.pauses
    retry.BACKOFF_BASE, retry.BACKOFF_CAP = 0.005, 0.05
    connect(warm_up)
    with contextlib.redirect_stdout(sys.stderr):
        # Without its trigger, which leaves a thread behind that wouldn't outlive a fork.
        TaskRuns(warm_up.arguments | {"wait_for_completion": False}).next_try().to_the_end()
    lanes = []
    for number in range(plan.lanes):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                run_lane(plan, number)
                code = 0
            finally:
                os._exit(code)
        lanes.append(pid)
    codes = [os.waitpid(pid, 0)[1] for pid in lanes]
    sys.exit(any(codes))


if __name__ == "__main__":
    main()
