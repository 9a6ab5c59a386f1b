"""A running Airflow on PostgreSQL with waits in flight, and the crashes of its components."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import requests

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from devtools.airflow_instance import AirflowInstance
from devtools.airflow_instance.environment import as_variables
from devtools.processes import ProcessFamily
from devtools.servers import PostgresServer, postgres_server
from tests.integration.dags.crashes.waits import ENDLESS_WAITS, OWN_CALLS, TIMEOUT, WAITS
from tests.support.integration.crashes.gateway import Gateway
from tests.support.integration.crashes.ledger import Ledger, RunningTask, Task
from tests.support.integration.crashes.supervisor import PATIENCE, SETTINGS, Supervisor, now
from tests.support.integration.running_airflow import running_airflow

JOB_TYPES = {"SchedulerJob", "TriggererJob", "DagProcessorJob"}
SPEED = 4  # of the sandbox: most calls take 7 to 26 seconds
MIX = ("completed",) * 4 + ("no_answer", "no_trunk")  # the calls that one run waits for
DATABASE_AWAY = (5.0, 10.0)  # seconds
WATCH_INTERVAL = 0.03  # seconds between two queries for running tasks
RUN_TIME = 0.4  # seconds that a worker needs for a task, approximately


@dataclass(frozen=True)
class Wait:
    """A task that waits for a call."""

    dag_id: str
    run_id: str
    task_id: str
    call_id: str | None
    """None: the task places it."""


class CrashSite(Supervisor):
    """A running Airflow whose components crash while tasks wait for calls."""

    def __init__(
        self, airflow: AirflowInstance, sandbox: Sandbox, postgres: PostgresServer, seed: int
    ) -> None:
        super().__init__(airflow, Ledger(postgres.url), Random(seed))
        self.sandbox = sandbox
        self.postgres = postgres
        self.waits: list[Wait] = []
        self.downtimes: list[tuple[datetime, datetime]] = []
        self._run_numbers = itertools.count()

    def begin(self) -> None:
        """Forget the waits of an earlier test, and what happened to them."""
        for memory in (self.waits, self.downtimes, self.events):
            memory.clear()
        self.ended_by_themselves.clear()

    # --- Waits ---

    def start_waits(self, conn_id: str = "telzino_default") -> None:
        """Start the waits of one run: for calls that are placed here, and for calls that the tasks place."""
        assert len(MIX) == WAITS
        run_id = self._start_run("waits", self.random.sample(MIX, WAITS), conn_id)
        self.waits += [Wait("waits", run_id, f"call_{name}", None) for name in OWN_CALLS]

    def start_endless_waits(self, conn_id: str = "telzino_default") -> None:
        """Wait, with a timeout, for calls that last longer. Without retries, they get time to defer."""
        run_id = self._start_run("endless_waits", ["long_call"] * ENDLESS_WAITS, conn_id)

        def have_deferred() -> bool:
            instances = self.airflow.api.task_instances("endless_waits", run_id)
            return len(instances) == ENDLESS_WAITS and all(each["state"] == "deferred" for each in instances)

        self.until(have_deferred, f"the deferral of {run_id}")

    def _start_run(self, dag_id: str, names: Sequence[str], conn_id: str) -> str:
        call_ids = [str(self.sandbox.place(MAGIC_NUMBERS[name])["id"]) for name in names]
        run_id = f"run_{next(self._run_numbers)}"

        def started() -> bool:
            try:
                self.airflow.api.trigger(dag_id, {"call_ids": call_ids, "conn_id": conn_id}, run_id)
            except requests.RequestException as error:  # while the API server recovers
                return error.response is not None and error.response.status_code == requests.codes.conflict
            return True

        self.until(started, f"the start of {run_id}")
        self.note(f"{run_id} of {dag_id} is started")
        self.waits += [
            Wait(dag_id, run_id, f"wait_{index}", call_id) for index, call_id in enumerate(call_ids)
        ]
        return run_id

    def calls_placed_by(self, wait: Wait) -> list[str]:
        """Return the ids of the calls that a task has placed."""
        found = []
        for call in self.sandbox.calls:
            identity = (call["request_metadata"] or {}).get("airflow", {})
            if (identity.get("run_id"), identity.get("task_id")) == (wait.run_id, wait.task_id):
                found.append(str(call["id"]))
        return found

    def unfinished(self) -> list[Wait]:
        """Return the waits that have not ended."""
        tasks = self.ledger.unfinished()
        return [wait for wait in self.waits if (wait.run_id, wait.task_id) in tasks]

    def keep_in_flight(self, least: int) -> None:
        """Start more waits if fewer than that many are in flight."""
        if len(self.unfinished()) < least:
            self.start_waits()

    def until_nothing_is_overdue(self) -> None:
        """Wait until every timeout that has passed is reported: more crashes could delay that forever."""

        def overdue() -> bool:
            starts = [
                self.ledger.outcome(wait.run_id, wait.task_id).started
                for wait in self.unfinished()
                if wait.dag_id == "endless_waits"
            ]
            return any(start and start + timedelta(seconds=TIMEOUT) < now() for start in starts)

        self.until(lambda: not overdue(), "the end of the waits whose timeout has passed")

    def until_waiting(self, least: int, *triggerers: int) -> int:
        """Wait until one of the triggerers (their job ids) has that many waits; return which.

        More waits are started if necessary.
        """
        busy: list[int] = []

        def enough() -> bool:
            self.keep_in_flight(2 * least)
            busy[:] = [each for each in triggerers if len(self.ledger.held_by(each)) >= least]
            return bool(busy)

        self.until(enough, f"{least} waits in one of the triggerers {triggerers}")
        return self.random.choice(busy)

    def until_deferred(self, least: int) -> None:
        """Wait until that many waits are deferred."""
        self.until(lambda: self.ledger.count("deferred") >= least, f"{least} deferred waits")

    def until_moved(self, dead: int, survivor: int) -> int:
        """Wait until a triggerer (its job id) has got all waits of a dead one; return how many."""
        held = self.ledger.held_by(dead)
        self.until(
            lambda: held <= self.ledger.assigned_to(survivor),
            f"the move of {len(held)} waits from triggerer {dead} to {survivor}",
        )
        return len(held)

    # --- Crashes ---

    @contextlib.contextmanager
    def downtime(self) -> Iterator[None]:
        """Something is down in this block: a timeout that passes meanwhile is reported at its end."""
        begin = now()
        yield
        self.downtimes.append((begin, now()))

    def restart_database(self) -> None:
        """Crash PostgreSQL, restart it after a while, and wait until all of Airflow works again."""
        self.note("PostgreSQL crashes")
        self.postgres.process.kill_tree()
        self.pause(*DATABASE_AWAY)
        self.postgres.start()
        self.note("PostgreSQL is back")
        back_at = now()
        self.until(lambda: self.ledger.heartbeats_since(back_at) >= JOB_TYPES, "heartbeats of all components")

    def kill_workers(self, kills: int, *, resumed: bool, in_flight: int) -> int:
        """Crash workers, each in the first or the second run of a task; return of how many tasks."""
        moments: dict[RunningTask, float] = {}
        hit: list[Task] = []
        give_up_at = time.monotonic() + kills * PATIENCE
        while len(hit) < kills:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"Only {len(hit)} of {kills} workers were hit. {self.events}")
            self.tend()
            self.keep_in_flight(in_flight)
            for task in self.ledger.running():
                moment = moments.setdefault(task, time.monotonic() + self.random.uniform(0, RUN_TIME))
                if task.resumed is resumed and moment <= time.monotonic() and self.kill_worker(task):
                    hit.append((task.run_id, task.task_id))
                    moments[task] = float("inf")
            time.sleep(WATCH_INTERVAL)
        return len(set(hit))

    def add_gateway(self, conn_id: str) -> Gateway:
        """Put a gateway in front of the sandbox, and add a connection through it."""
        log = self.airflow.log_of(f"gateway-{conn_id}")
        gateway = Gateway(f"gateway-{conn_id}", self.airflow.family, self.sandbox.url, log)
        gateway.forward()
        self.airflow.add_telzino_connection(gateway.url, conn_id)
        return gateway


@contextlib.contextmanager
def crash_site(home: Path, seed: int) -> Iterator[CrashSite]:
    """Start Airflow on PostgreSQL, and stop everything at the end."""
    with (
        ProcessFamily() as family,
        postgres_server(family) as postgres,
        Sandbox(SPEED, seed=1, keep_requests=False) as sandbox,
        running_airflow(
            home,
            "crashes",
            family=family,
            sql_alchemy_conn=postgres.url,
            extra_env=as_variables({**SETTINGS, "core": {"parallelism": 4}}),
        ) as airflow,
    ):
        airflow.add_telzino_connection(sandbox.url)
        for dag_id in ("waits", "endless_waits"):
            airflow.wait_for_dag(dag_id)
        yield CrashSite(airflow, sandbox, postgres, seed)
