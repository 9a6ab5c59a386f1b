"""A running Airflow that calls mapped contacts, and the kills of whatever works on it."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_telzino.sandbox import Sandbox
from devtools.airflow_instance import AirflowInstance
from tests.support.crashing_tasks import Outcome
from tests.support.integration.crashes.calling import CallingSupervisor, calling_airflow
from tests.support.integration.crashes.ledger import FINISHED, Ledger, RunningTask
from tests.support.integration.crashes.supervisor import now

DAG_ID, TASK_ID = "mapped_contacts", "place"
PARALLELISM = 12  # tasks at the same time; many of them only wait for their search

KILLED = 0.25  # the share of the processes of tasks that are killed at a random moment,
MOMENT = (0.0, 1.5)  # which is so many seconds after the process is first seen
KILLED_DIALLING = 0.4  # the share of those that are killed after the API has placed a call, before it answers
PAUSES = {"triggerer": (7.0, 14.0), "scheduler": (22.0, 35.0), "answer": (2.0, 8.0)}  # seconds between two
MOST = {"worker": 16, "dialling worker": 16, "triggerer": 6, "scheduler": 3, "answer": 10}
"""How many kills, and lost answers, at most in one run, so that it comes to its end."""
INSTANCES = """
select map_index, state, try_number as tries,
    (select json_object_agg(key, value) from xcom x
     where x.run_id = t.run_id and x.task_id = t.task_id and x.map_index = t.map_index) as xcoms
from task_instance t where run_id = %s and task_id = %s order by map_index
"""


@dataclass(frozen=True)
class MappedRun:
    """A DAG run that calls a list of contacts."""

    run_id: str
    numbers: Sequence[str]
    began: str
    """ISO 8601."""


class MappedCalls(CallingSupervisor):
    """A running Airflow whose components are killed while it calls mapped contacts."""

    def __init__(self, airflow: AirflowInstance, sandbox: Sandbox, ledger: Ledger, seed: int) -> None:
        super().__init__(airflow, sandbox, ledger, seed)
        self._calls = 0  # that were placed so far

    def start_run(self, numbers: Sequence[str]) -> MappedRun:
        """Start a DAG run for these contacts."""
        began = now().isoformat()
        run_id = self.airflow.api.trigger(DAG_ID, {"numbers": list(numbers)})
        self.note(f"{run_id} is started, with {len(numbers)} contacts")
        return MappedRun(run_id, numbers, began)

    def kill_until_the_end(self, run: MappedRun, time_limit: float) -> None:
        """Kill workers, triggerer and scheduler at random moments, until the run has ended."""
        left = Counter(MOST)
        moments: dict[RunningTask, float] = {}
        due = {name: time.monotonic() + self.random.uniform(*pause) for name, pause in PAUSES.items()}
        give_up_at = time.monotonic() + time_limit
        while not self._has_ended(run):
            if time.monotonic() > give_up_at:
                events = "\n".join(self.events)
                raise TimeoutError(f"{run.run_id} has not ended after {time_limit:.0f} s:\n{events}")
            self.tend()
            self._kill_workers(moments, left)
            for name, pause in PAUSES.items():
                if left[name] and due[name] <= time.monotonic():
                    self.lose_an_answer() if name == "answer" else self.kill_component(name)
                    left[name] -= 1
                    self.done[name] += 1
                    due[name] = time.monotonic() + self.random.uniform(*pause)
            time.sleep(0.05)
        self.sandbox.faults.clear()

    def outcomes(self, run: MappedRun) -> list[Outcome]:
        """Return what became of each contact's task instance, in the order of the list."""
        rows = self.ledger.rows(INSTANCES, run.run_id, TASK_ID)
        return [
            Outcome(
                name=f"{run.run_id}[{row['map_index']}]",
                round=0,
                number=run.numbers[row["map_index"]],
                began=run.began,
                tries=row["tries"],
                error=None if row["state"] == "success" else row["state"],
                xcoms=row["xcoms"] or {},
            )
            for row in rows
        ]

    def _has_ended(self, run: MappedRun) -> bool:
        rows = self.ledger.rows("select state from task_instance where run_id = %s", run.run_id)
        return len(rows) > len(run.numbers) and all(row["state"] in FINISHED for row in rows)

    def _kill_workers(self, moments: dict[RunningTask, float], left: Counter[str]) -> None:
        dialled = self._dialled()
        for task in self.ledger.running():
            if task not in moments:
                dies = self.random.random() < KILLED
                moments[task] = time.monotonic() + self.random.uniform(*MOMENT) if dies else float("inf")
            kind = "worker" if moments[task] <= time.monotonic() else "dialling worker"
            is_due = kind == "worker" or (task.task_id == TASK_ID and task.map_index in dialled)
            if is_due and left[kind]:
                moments[task] = float("inf")
                if self.kill_worker(task):
                    left[kind] -= 1
                    self.done[kind] += 1

    def _dialled(self) -> set[int]:
        """Return the map indexes of some of the tasks that have dialled since the last time."""
        calls = self.sandbox.calls[self._calls :]
        self._calls += len(calls)
        return {
            call["request_metadata"]["airflow"]["map_index"]
            for call in calls
            if self.random.random() < KILLED_DIALLING
        }


@contextlib.contextmanager
def mapped_calls(home: Path, sandbox: Sandbox, seed: int) -> Iterator[MappedCalls]:
    """Start Airflow on PostgreSQL, with a connection to the sandbox, and stop everything at the end."""
    core = {"parallelism": PARALLELISM}
    with calling_airflow(home, "mapped_kills", DAG_ID, sandbox, core=core) as (airflow, ledger):
        yield MappedCalls(airflow, sandbox, ledger, seed)
