"""A running Airflow whose task calls a thousand contacts, and the kills of whatever works on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_telzino.sandbox import Sandbox
from tests.support.integration.crashes.calling import CallingSupervisor, calling_airflow
from tests.support.integration.crashes.ledger import FINISHED, RunningTask
from tests.support.rounds import ROUNDS

DAG_ID, TASK_ID = "campaign_kills", "campaign"
SHARE = 1 if ROUNDS > 1 else 4
"""CI has time for one part in so many of a campaign."""
CONTACTS = 1_000 // SHARE
KILLS = {
    kind: -(-kills // SHARE) for kind, kills in (("worker", 5), ("dialling worker", 7), ("triggerer", 8))
}
"""How many there are in one run."""
LIVES_FOR = {"worker": (0.0, 20.0), "triggerer": (5.0, 20.0)}
"""How many seconds a task's process lives, and a triggerer after the end of the one before."""
SPARED = 0.2  # the share of the processes of tasks that are not killed while there are kills left
CALLS_PER_ANSWER = (60, 140)
"""The number of calls between two of which the answer is lost."""
CALLS_BEFORE = (1, 40)
"""The number of calls in a worker run after which a dialling worker is killed."""

RESULT = """
select state, try_number as tries,
    (select json_object_agg(key, value) from xcom x
     where x.run_id = t.run_id and x.task_id = t.task_id) as xcoms
from task_instance t where run_id = %s and task_id = %s
"""


@dataclass(frozen=True)
class Death:
    """When a worker that is running is killed."""

    kind: str
    moment: float = float("inf")
    """Of the monotonic clock."""
    calls: float = float("inf")
    """As soon as the Telzino has placed so many in all."""


class CampaignCalls(CallingSupervisor):
    """A running Airflow whose workers and triggerer are killed while a campaign calls its contacts."""

    def call(self, numbers: Sequence[str], time_limit: float) -> dict[str, Any]:
        """Run a campaign to its end with all kills in between; return what became of its task instance."""
        run_id = self.airflow.api.trigger(DAG_ID, {"numbers": list(numbers)})
        self.note(f"{run_id} is started, with {len(numbers)} contacts")
        give_up_at = time.monotonic() + time_limit
        deaths: dict[RunningTask, Death | None] = {}
        triggerer_at = self._later(*LIVES_FOR["triggerer"])
        calls = 0
        while (result := self._result(run_id))["state"] not in FINISHED:
            if time.monotonic() > give_up_at:
                events = "\n".join(self.events)
                raise TimeoutError(f"{run_id} has not ended after {time_limit:.0f} s:\n{events}")
            self.tend()
            self._kill_worker(deaths)
            if triggerer_at <= time.monotonic() and self._left("triggerer"):
                self.kill_component("triggerer")
                self.done["triggerer"] += 1
                triggerer_at = self._later(*LIVES_FOR["triggerer"])
            if len(self.sandbox.calls) >= calls and not self.sandbox.faults.waiting:
                self.lose_an_answer()
                self.done["answer"] += 1
                calls = len(self.sandbox.calls) + self.random.randint(*CALLS_PER_ANSWER)
            time.sleep(0.05)
        self.sandbox.faults.clear()
        return result

    def _result(self, run_id: str) -> dict[str, Any]:
        sql = "select state from task_instance where run_id = %s and task_id = %s"
        rows = self.ledger.rows(sql, run_id, TASK_ID)
        if rows and rows[0]["state"] in FINISHED:
            return self.ledger.rows(RESULT, run_id, TASK_ID)[0]
        return {"state": None}

    def _kill_worker(self, deaths: dict[RunningTask, Death | None]) -> None:
        placed = len(self.sandbox.calls)
        for task in self.ledger.running():
            if task not in deaths:
                deaths[task] = self._drawn(placed)
            death = deaths[task]
            if death and (death.moment <= time.monotonic() or death.calls <= placed):
                deaths[task] = None
                self.done[death.kind] += self.kill_worker(task)

    def _drawn(self, placed: int) -> Death | None:
        kinds = [kind for kind in ("worker", "dialling worker") if self._left(kind)]
        if not kinds or self.random.random() < SPARED:
            return None
        kind = self.random.choice(kinds)
        if kind == "worker":
            return Death(kind, moment=self._later(*LIVES_FOR[kind]))
        return Death(kind, calls=placed + self.random.randint(*CALLS_BEFORE))

    def _left(self, kind: str) -> int:
        return KILLS[kind] - self.done[kind]

    def _later(self, least: float, most: float) -> float:
        return time.monotonic() + self.random.uniform(least, most)


@contextlib.contextmanager
def campaign_calls(home: Path, sandbox: Sandbox, seed: int) -> Iterator[CampaignCalls]:
    """Start Airflow on PostgreSQL, with a connection to the sandbox, and stop everything at the end."""
    with calling_airflow(home, "campaign_kills", DAG_ID, sandbox) as (airflow, ledger):
        yield CampaignCalls(airflow, sandbox, ledger, seed)
