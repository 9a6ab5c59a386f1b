"""Tasks that begin and end in the triggerer, on a whole Airflow: what became of them, and who ran them."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy

from airflow_provider_telzino.sandbox import CLIENT_ID, CLIENT_SECRET, DEFAULT_AGENT_ID, Sandbox
from devtools.airflow_instance import AirflowInstance
from devtools.processes import ProcessFamily
from devtools.servers import PostgresServer
from tests.conftest import Tell
from tests.integration.stage import DAGS_FOLDER
from tests.support.programs import needs

DAG_ID = "without_workers"
TIMEOUT = 300.0  # seconds for each step
PREFIX = "file-xcom:"  # what `FileXCom` lets Airflow keep
TO_NUMBER = "+15005550142"
KILLS = 8
KILLED_WAITS = 12  # as in the DAG, and as many mapped ones
QUICK_RECOVERY = {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6"}
TELL = {"completed": "in_progress", "no_answer": "dialing", "busy": "dialing", "failed": "dialing"}
"""The calls that end while the tasks wait, and their status until then."""

WORKER_RUNS = {
    **dict.fromkeys(
        ("by_param", "by_conf", "by_variable", "by_output", "by_keys", "got", "cut", "silent"), 0
    ),
    # What doesn't end well, and what only a worker can do, ends on a worker.
    **dict.fromkeys(("fails", "skips", "late", "late_softly", "wrong_secret", "bad_id", "mapped_over"), 1),
    # One of the two flags, and tasks that can't begin in the triggerer.
    **dict.fromkeys(("end_only", "start_only", "place", "mapped[0]", "mapped[1]", "mapped[2]"), 1),
}


@dataclass
class Site:
    """A running Airflow and its sandbox, with one DAG run that is over."""

    airflow: AirflowInstance
    sandbox: Sandbox
    engine: sqlalchemy.Engine
    has_file_backend: bool
    calls: dict[str, str] = field(default_factory=dict)
    mapped: list[str] = field(default_factory=list)
    run_id: str = ""
    states: dict[str, str | None] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    def worker_runs(self, dag_id: str, run_id: str) -> Counter[str]:
        """Count how often a worker has run each task, from Airflow's own record."""
        query = (
            "select task_id, map_index from log "
            "where event = 'running' and dag_id = :dag_id and run_id = :run_id"
        )
        with self.engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text(query), {"dag_id": dag_id, "run_id": run_id}).all()
        return Counter(task if index is None or index < 0 else f"{task}[{index}]" for task, index in rows)

    def log(self, task_id: str, map_index: int = -1) -> str:
        """Return the log of a task's first try."""
        return self.airflow.api.log(DAG_ID, self.run_id, task_id, map_index=map_index)

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """Return what a task pushed, also if the backend keeps it."""
        value = self.airflow.api.xcom(dag_id, run_id, task_id, map_index=map_index)
        if not self.has_file_backend:
            return value
        return json.loads((self.airflow.home / "xcoms" / value.removeprefix(PREFIX)).read_text())

    def play(self) -> None:
        """Run the DAG; its calls end when all tasks wait for them."""
        add = self.sandbox.add_call
        self.calls = {name: str(add(status)["id"]) for name, status in TELL.items()}
        self.calls["long"] = str(add("in_progress")["id"])
        self.mapped = [str(add("dialing")["id"]) for _ in range(3)]
        self.airflow.api.request(
            "POST", "/variables", json={"key": "the_call", "value": self.calls["completed"]}
        )
        conf = {
            **self.calls,
            "none": "no-id-at-all",
            "mapped": self.mapped,
            "agent": DEFAULT_AGENT_ID,
            "to_number": TO_NUMBER,
            "folder": str(self.airflow.home),
        }
        self.run_id = self.airflow.api.trigger(DAG_ID, conf)
        self.airflow.wait_until(self._all_wait, "all tasks wait in the triggerer", TIMEOUT)
        self.airflow.wait_until(
            lambda: "is in_progress." in self.log("by_param"), "by_param sees its call", TIMEOUT
        )
        for name in TELL:
            self.sandbox.finish(self.calls[name], name)
        for call_id in self.mapped:
            self.sandbox.finish(call_id, "completed")
        self.sandbox.finish(self._placed()[0]["id"], "completed")
        self.airflow.wait_for_run(DAG_ID, self.run_id, TIMEOUT)
        self.states = self.airflow.api.task_states(DAG_ID, self.run_id)
        self.seen = self.xcom(DAG_ID, self.run_id, "seen")

    def _placed(self) -> list[dict[str, Any]]:
        return [call for call in self.sandbox.calls if call["to_number"] == TO_NUMBER]

    def _all_wait(self) -> bool:
        states = self.airflow.api.task_states(DAG_ID, self.run_id)
        at_once = {"late", "late_softly", "wrong_secret", "bad_id"}
        return {states.get(task) for task in set(WORKER_RUNS) - at_once} == {"deferred"}


@contextlib.contextmanager
def running_site(home: Path, database: str) -> Iterator[Site]:
    """Start Airflow: on SQLite with Airflow's own XComs, on PostgreSQL with a backend that keeps files."""
    family = ProcessFamily()
    env = dict(QUICK_RECOVERY)
    with contextlib.ExitStack() as stack:
        stack.callback(family.stop)
        url = None
        if database == "postgresql":
            url = stack.enter_context(PostgresServer(family)).url
            folder = home / "xcoms"
            folder.mkdir(parents=True)
            env |= {"AIRFLOW__CORE__XCOM_BACKEND": "file_xcom.FileXCom", "FILE_XCOM_FOLDER": str(folder)}
        sandbox = stack.enter_context(Sandbox())
        airflow = stack.enter_context(
            AirflowInstance(
                home,
                dags_folder=DAGS_FOLDER / DAG_ID,
                sql_alchemy_conn=url,
                family=family,
                extra_env=env,
            )
        )
        shutil.copy(Path(__file__).with_name("file_xcom.py"), airflow.home / "config")
        airflow.migrate()
        airflow.start_all()
        airflow.wait_until_healthy()
        for conn_id, secret in {"telzino_default": CLIENT_SECRET, "telzino_wrong": "wrong"}.items():
            body = {
                "connection_id": conn_id,
                "conn_type": "telzino",
                "host": sandbox.url,
                "login": CLIENT_ID,
                "password": secret,
                "extra": json.dumps({"agent_id": DEFAULT_AGENT_ID}),
            }
            airflow.api.request("POST", "/connections", json=body)
        for dag_id in (DAG_ID, "killed_waits"):
            airflow.wait_for_dag(dag_id)
        engine = sqlalchemy.create_engine(url or airflow.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        stack.callback(engine.dispose)
        yield Site(airflow, sandbox, engine, has_file_backend=url is not None)


@pytest.fixture(
    scope="module",
    params=["sqlite", pytest.param("postgresql", marks=needs("initdb", "postgres"))],
)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A DAG run that is over."""
    with running_site(tmp_path_factory.mktemp(request.param) / "airflow", request.param) as site:
        site.play()
        yield site


pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("without workers")]


def test_worker_runs(site: Site) -> None:
    """None with both flags, one with one of them, one for a bad end: by Airflow's own record."""
    runs = site.worker_runs(DAG_ID, site.run_id)

    assert {task: runs[task] for task in WORKER_RUNS} == WORKER_RUNS
    assert runs["seen"] == runs["placed"] == 1


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("by_param", "completed"),
        ("by_conf", "no_answer"),
        ("by_variable", "completed"),
        ("by_output", "completed"),
        ("by_keys", "completed"),
        ("got", "completed"),
        ("end_only", "completed"),
        ("start_only", "completed"),
        ("mapped_over", "completed"),
        ("fails", "failed"),
        ("skips", "busy"),
    ],
)
def test_downstream_tasks_get_the_final_record(site: Site, task: str, name: str) -> None:
    """A dict, field by field the API's, whoever pushed it, and however the call was named."""
    assert site.seen[task] == site.sandbox.call(site.calls[name])
    assert site.seen[task]["status"] == name


def test_states(site: Site) -> None:
    """Each outcome ends its task as it would without the flags."""
    others = {
        "fails": "failed",
        "skips": "skipped",
        "late": "failed",
        "late_softly": "skipped",
        "wrong_secret": "failed",
        "bad_id": "failed",
    }

    assert {task: site.states[task] for task in WORKER_RUNS} == dict.fromkeys(WORKER_RUNS, "success") | others


def test_what_is_pushed(site: Site) -> None:
    """Cut, in pieces, or not at all, as the task asks."""
    record = site.sandbox.call(site.calls["completed"])
    one_field = site.airflow.api.request(
        "GET", f"/dags/{DAG_ID}/dagRuns/{site.run_id}/taskInstances/got/xcomEntries/duration"
    )

    assert site.seen["cut"] == {"id": record["id"], "status": "completed"}
    assert "The record has no field x" in site.log("cut")
    assert site.has_file_backend or one_field["value"] == record["duration"]
    with pytest.raises(requests.HTTPError, match="404"):
        site.airflow.api.xcom(DAG_ID, site.run_id, "silent")
    for task in ("late", "late_softly", "wrong_secret", "bad_id"):
        assert site.seen[task] is None


def test_mapped_tasks(site: Site) -> None:
    """Each has its own call's record."""
    assert site.seen["mapped"] == [site.sandbox.call(call_id) for call_id in site.mapped]
    assert "a worker starts" in site.log("mapped", map_index=0)


def test_a_placed_call(site: Site) -> None:
    """It is dialled by a worker, once, and waited for to the end without another."""
    (call,) = site._placed()

    assert site.seen["place"] == call
    assert call["status"] == "completed"


def test_what_the_log_says(site: Site) -> None:
    """A bad end says why, as without the flags; a good one tells each change."""
    assert "The call ended with failed (SIP 503), which is in `fail_on`" in site.log("fails")
    assert "ended with busy, which is in `skip_on`" in site.log("skips")
    assert "timeout of 6 s was over; it was last seen in_progress" in site.log("late")
    assert "Skipped instead of failed (soft_fail)" in site.log("late_softly")
    assert "refused the client credentials" in site.log("wrong_secret")
    assert "`call_id` should be a UUID, but is text of 12 characters" in site.log("bad_id")
    assert re.search(r"in_progress → completed after [\d.]+ s", site.log("by_param"))


def test_timeouts_count_from_the_start(site: Site) -> None:
    """The wait is given the time that it asks for, not Airflow's longer one."""
    (late,) = (
        task for task in site.airflow.api.task_instances(DAG_ID, site.run_id) if task["task_id"] == "late"
    )

    assert 6 <= late["duration"] < 60


def test_airflow_runs_no_success_callback(site: Site) -> None:
    """Airflow 3.3.2 asks for the callback, and then doesn't run it: the docs and a warning say so."""
    refusal = re.compile(r"not a failure callback.*by_param")
    logs = site.airflow.home / "logs" / "dag_processor"

    site.airflow.wait_until(
        lambda: any(refusal.search(log.read_text()) for log in logs.rglob("*.log") if log.is_file()),
        "the refusal of by_param's callback",
        TIMEOUT,
    )

    assert not (site.airflow.home / "success of by_param").exists()


def test_no_personal_data(site: Site) -> None:
    """Nothing of the record is in any log."""
    record = site.sandbox.call(site.calls["completed"])
    written = "".join(
        path.read_text(errors="replace") for path in (site.airflow.home / "logs").rglob("*.log")
    )

    assert site.calls["completed"] in written
    for private in (record["to_number"], record["summary_text"].split("\n")[0], TO_NUMBER, CLIENT_SECRET):
        assert private not in written


def test_the_triggerer_is_killed(site: Site, tell: Tell) -> None:
    """At random moments, also between push and end: every wait still ends with its record, and no worker."""
    moments = random.Random(5)
    calls = [str(site.sandbox.add_call("in_progress")["id"]) for _ in range(2 * KILLED_WAITS)]
    run_id = site.airflow.api.trigger("killed_waits", {"calls": calls})

    def all_wait() -> bool:
        states = site.airflow.api.task_states("killed_waits", run_id)
        waits = [state for task, state in states.items() if task != "others"]
        return len(waits) == 2 * KILLED_WAITS and set(waits) == {"deferred"}

    site.airflow.wait_until(all_wait, "all tasks wait in the triggerer", TIMEOUT)
    share = len(calls) // KILLS
    for kill in range(KILLS):
        for call_id in calls[kill * share : (kill + 1) * share]:
            site.sandbox.finish(call_id, "completed")
        time.sleep(moments.uniform(0, 3))
        site.airflow.process("triggerer").kill_tree()
        site.airflow.start("triggerer")
        time.sleep(moments.uniform(5, 12))
    site.airflow.wait_for_run("killed_waits", run_id, TIMEOUT)

    tasks = site.airflow.api.task_instances("killed_waits", run_id)
    waits = [task for task in tasks if task["task_id"] != "others"]
    runs = site.worker_runs("killed_waits", run_id)
    right = 0
    for task in waits:
        mapped = task["map_index"] >= 0
        call_id = calls[KILLED_WAITS + task["map_index"] if mapped else int(task["task_id"].split("_")[1])]
        place = "killed_waits", run_id, task["task_id"]
        assert site.xcom(*place, map_index=task["map_index"]) == site.sandbox.call(call_id)
        right += task["state"] == "success"
    tell(f"{KILLS} kills of the triggerer: {right} of {len(waits)} waits without workers right")
    assert right == len(waits) == 2 * KILLED_WAITS
    assert sum(count for task, count in runs.items() if task.startswith("wait_")) == 0
    assert sum(count for task, count in runs.items() if task.startswith("mapped")) == KILLED_WAITS
