"""Run tasks that place calls; each step is a process of its own, and many are killed with ``kill -9``.

A program, since it forks, which pytest with its threads must not. It reads a ``Plan`` as JSON from its
standard input and prints one ``Outcome`` a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
from airflow.providers.common.compat import connection
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.operators import call as operators
from airflow_provider_telzino.placing import campaign
from airflow_provider_telzino.rules import search
from airflow_provider_telzino.sandbox import ACCESS_TOKEN
from airflow_provider_telzino.triggers.batch import TelzinoCallBatchTrigger
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from tests.support.campaign_runs import CampaignRuns
from tests.support.placing_runs import PlacingRun, TaskRuns, TaskStateStore
from tests.support.waits import first_event

NOTICED_AFTER = 6.0  # seconds, to scale: Airflow considers a component dead after 30 s or more

TRIGGERS: dict[str, Any] = {
    trigger.__name__: trigger for trigger in (TelzinoCallTrigger, TelzinoCallBatchTrigger)
}
PRELOADED = (aiohttp, connection)  # what a trigger needs: imported once, not in each of a thousand processes


@dataclass
class Round:
    """What happens between two clears of a task."""

    contacts: list[str]
    """Their numbers: a mapped task has an instance for each of them, and a campaign one for all."""
    interrupted: bool = False
    """Whether instances may be cleared while they are deferred."""


@dataclass
class Task:
    """A task to run, with an agent of its own, so that its calls can be distinguished from all others."""

    name: str
    url: str
    agent_id: str
    arguments: dict[str, Any]
    rounds: list[Round]
    is_mapped: bool
    retries: int
    deaths: int
    """How many processes of each instance may be killed in each round."""
    has_state: bool
    """Whether its Airflow has a task state, as 3.3 does."""
    is_campaign: bool = False
    """Whether it is a campaign: one task instance calls all contacts."""

    def instances_of(self, this: Round) -> list[list[str]]:
        """Return the contacts of each task instance."""
        return [this.contacts] if self.is_campaign else [[contact] for contact in this.contacts]


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
    """What became of a task instance in one round."""

    name: str
    round: int
    number: str
    """The contact's; that of the first contact of a campaign."""
    began: str
    """When the round began, ISO 8601."""
    tries: int = 0
    deaths: int = 0
    is_interrupted: bool = False
    """Whether it was cleared while it was deferred."""
    error: str | None = None
    """That which ended it."""
    errors: list[str] = field(default_factory=list)
    """The classes of all errors that its tries ended with."""
    xcoms: dict[str, Any] = field(default_factory=dict)
    """What its last try has pushed."""


@dataclass
class Instance:
    """A task instance, as Airflow's database has it."""

    map_index: int
    created: datetime
    tries: int = 0
    max_tries: int | None = None
    clears: int = 0
    """Of the DAG run."""


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
        for outcome in run_task(task, Path(plan.folder), randomness):
            line = json.dumps(asdict(outcome)) + "\n"
            os.write(1, line.encode())  # in one piece, since all lanes write there


def run_task(task: Task, folder: Path, randomness: random.Random) -> Iterator[Outcome]:
    """Run all rounds of a task as Airflow does."""
    instances: list[Instance] = []
    for number, this in enumerate(task.rounds):
        began = datetime.now(timezone.utc)
        for instance in instances:  # a clear
            instance.max_tries = instance.tries + task.retries
        contacts = task.instances_of(this)
        for index in range(len(instances), len(contacts)):
            instances.append(Instance(index if task.is_mapped else -1, began))
        del instances[len(contacts) :]
        for instance, own in zip(instances, contacts, strict=True):
            instance.clears = number
            outcome = Outcome(task.name, number, own[0], began.isoformat())
            course = Course(task, instance, own, outcome, folder, randomness)
            course.run(may_be_interrupted=this.interrupted)
            yield outcome


@dataclass
class Course:
    """The course of a task instance in one round, over all its processes."""

    task: Task
    instance: Instance
    contacts: list[str]
    outcome: Outcome
    folder: Path
    randomness: random.Random

    def run(self, *, may_be_interrupted: bool) -> None:
        """Run try after try, until one succeeds, fails for good, or no retry is left."""
        while self.outcome.tries <= self.task.retries:
            self.outcome.tries += 1
            self.instance.tries += 1
            self.outcome.xcoms = {}
            result = self._run_try(may_be_interrupted)
            if result is None:
                self.outcome.error = "killed"
                continue
            self.outcome.error = result["error"]
            if result["error"] is None or self.outcome.is_interrupted:
                return
            self.outcome.errors.append(result["class"])
            if result["is_final"]:
                return

    def _run_try(self, may_be_interrupted: bool) -> dict[str, Any] | None:
        """Run one try, process after process; ``None`` if it was killed."""
        deferral: dict[str, Any] | None = None
        while True:
            dies = self.outcome.deaths < self.task.deaths and self.randomness.random() < 0.5
            result = self._run_process(deferral, self.randomness if dies else None)
            if result is None:
                self.outcome.deaths += 1
                if deferral is None or self.randomness.random() < 0.5:
                    return None
                # Airflow may resume the task once more in the same try, but not sooner than it can notice.
                time.sleep(0 if self.task.has_state else NOTICED_AFTER)
                continue
            self.outcome.xcoms |= result["xcoms"]
            deferral = result["deferral"]
            if deferral is None:
                return result
            if may_be_interrupted and self.randomness.random() < 0.3:
                self.outcome.is_interrupted = True
                return result

    def _run_process(
        self, deferral: dict[str, Any] | None, killed_by: random.Random | None
    ) -> dict[str, Any] | None:
        """Run one process. Returns its result, or ``None`` if it was killed before it had one."""
        path = self.folder / f"{self.task.name}.{self.instance.map_index}.result"
        path.unlink(missing_ok=True)
        death = Death.drawn(killed_by) if killed_by else Death()
        pid = os.fork()
        if pid == 0:
            work(self, deferral, path, death)
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


def work(course: Course, deferral: dict[str, Any] | None, path: Path, death: Death) -> None:
    """Be one process of a task: run its trigger, if it has one, and its next step; then write the result."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    task, instance = course.task, course.instance
    connect(task)
    state = course.folder / f"{task.name}.{instance.map_index}.state"
    kind = CampaignRuns if task.is_campaign else TaskRuns
    run = kind(
        arguments(task) | whom(course),
        retries=task.retries,
        state=StateInAFile(state) if task.has_state else None,
        map_index=instance.map_index,
        due=instance.created,
        tries=instance.tries - 1,
        clears=instance.clears,
        max_tries=instance.max_tries,
        created=instance.created,
    ).next_try()
    result: dict[str, Any] = {"error": None, "deferral": None}
    try:
        with dying(death):
            returned = step(run, deferral)
        if isinstance(returned, TaskDeferred):
            result["deferral"] = stored(returned)
        else:
            run.ti.xcom_push("return_value", returned)
    except AirflowException as error:
        final = isinstance(error, (AirflowFailException, AirflowSkipException))
        result |= {"error": str(error), "class": type(error).__name__, "is_final": final}
    except BaseException as error:
        result |= {"error": f"{type(error).__name__}: {error}", "class": "defect", "is_final": True}
    new = path.with_suffix(".new")
    new.write_text(json.dumps(result | {"xcoms": run.ti.xcoms}))
    new.replace(path)
    os._exit(0)


def arguments(task: Task) -> dict[str, Any]:
    """Return the operator's arguments."""
    delay = timedelta(seconds=task.arguments.get("redial_delay", 0))
    return task.arguments | {"redial_delay": delay, "agent_id": task.agent_id}


def whom(course: Course) -> dict[str, Any]:
    """Return the operator's arguments that say whom it calls."""
    return {"contacts": course.contacts} if course.task.is_campaign else {"to_number": course.contacts[0]}


def stored(deferral: TaskDeferred) -> dict[str, Any]:
    """Return a deferral as Airflow stores it."""
    path, trigger = deferral.trigger.serialize()
    waits_until = trigger.get("moment")
    return {
        "method": deferral.method_name,
        "kwargs": deferral.kwargs or {},
        "until": waits_until.timestamp() if waits_until is not None else None,
        "class": path.rpartition(".")[2],
        "trigger": {} if waits_until is not None else trigger,
    }


def step(run: PlacingRun, deferral: dict[str, Any] | None) -> Any:
    """Run the next step of a task."""
    if deferral is None:
        return run.step("execute")
    if deferral["until"] is not None:
        time.sleep(max(0.0, deferral["until"] - time.time()))
        event: Any = "the moment"
    else:
        event = asyncio.run(first_event(TRIGGERS[deferral["class"]](**deferral["trigger"])))
    return run.step(deferral["method"], event=event, **deferral["kwargs"])


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


def task_of(given: dict[str, Any]) -> Task:
    """Read a task from JSON."""
    return Task(**{**given, "rounds": [Round(**each) for each in given["rounds"]]})


def main() -> None:
    """Run all tasks of the plan, in lanes."""
    given = json.load(sys.stdin)
    tasks, warm_up = [task_of(task) for task in given["tasks"]], task_of(given["warm_up"])
    plan = Plan(**{**given, "tasks": tasks, "warm_up": warm_up})
    search.LIST_LAG_PAUSES = plan.pauses
    retry.BACKOFF_BASE, retry.BACKOFF_CAP = 0.005, 0.05
    operators.SHORTEST_PAUSE = campaign.SHORTEST_PAUSE = timedelta(seconds=0.05)
    campaign.LIST_LAG = campaign.OUTAGE_PAUSE = timedelta(seconds=sum(plan.pauses))
    connect(warm_up)
    with contextlib.redirect_stdout(sys.stderr):
        # Without its trigger, which leaves a thread behind that wouldn't outlive a fork.
        given = {"to_number": warm_up.rounds[0].contacts[0], "wait_for_completion": False}
        TaskRuns(arguments(warm_up) | given | {"redial_on": ()}).next_try().step("execute")
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
