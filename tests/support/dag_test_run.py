"""Run the example DAGs with ``dag.test()``, in a process of its own; print the results.

``dag.test()`` changes much of the process that it runs in, hence not in pytest's own. The clock is that of
our pytest plugin: nobody waits for a redial or for calling hours.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from airflow_provider_telzino.testing.telzino import Telzino
from tests.support.installed_airflow import INSTALLED

RESULT_MARK = "RESULT "
"""Begins the line with the results. Airflow may print more after it, when the process ends."""
EXAMPLES = Path(__file__).resolve().parents[2] / "example_dags"


NIGHT = datetime(2027, 1, 5, 3, tzinfo=timezone.utc)
"""When the runs begin: a Monday at 22:00 in New York. Those that keep calling hours wait until morning."""
ZONE = "America/New_York"

ANSWERS, BUSY = MAGIC_NUMBERS["completed"], MAGIC_NUMBERS["busy"]
PLACING: dict[str, tuple[dict[str, Any], dict[str, list[str]]]] = {
    "example_telzino_place_call": (
        {"to_number": ANSWERS, "crm_id": "123"},
        {ANSWERS: ["completed"]},
    ),
    "example_telzino_redial": (
        {"to_number": ANSWERS, "timezone": ZONE},
        {ANSWERS: ["completed"]},
    ),
    "example_telzino_call_contacts": (
        {"to_numbers": [ANSWERS, BUSY], "timezone": ZONE},
        {ANSWERS: ["completed"], BUSY: ["busy"]},
    ),
}
"""Those that place calls, with what they're run, and how the calls to each number end."""

NIGHTLY = "example_telzino_nightly_calls"
CONTACTS = {
    1: MAGIC_NUMBERS["completed"],
    2: MAGIC_NUMBERS["busy_then_completed"],
    3: MAGIC_NUMBERS["no_such_number"],
    4: "0815 4711",
}
"""Those in the table of the nightly example: their ids and numbers."""
CORRECTED = 4
"""The one whose number isn't E.164, until it is corrected after the first night."""


CAMPAIGN = "example_telzino_campaign"
CALLED = [
    (1, "Spring renewals", MAGIC_NUMBERS["completed"], "Rosalind", None),
    (2, "Spring renewals", MAGIC_NUMBERS["busy_then_completed"], "Marmaduke", None),
    (3, "Trial users", MAGIC_NUMBERS["no_such_number"], None, None),
    (4, "Trial users", MAGIC_NUMBERS["busy"], "Peregrine", "an earlier run"),
]
"""Those in the table of the campaign's example: id, list, number, name, and the run that has taken them."""
CAMPAIGN_ENDS = (["completed"], ["busy", "completed"], ["no_such_number"])
"""How the calls to them end; nobody calls the last."""

APPROVAL = "example_telzino_campaign_approval"
PLANNED = [(1, MAGIC_NUMBERS["completed"], "Clementine"), (2, MAGIC_NUMBERS["quick_hang_up"], "Barnaby")]
"""Those in the table of the example with an approval: id, number, name."""
PLANNED_ENDS = ("completed", "quick_hang_up")
INVALID = (3, "0815 4712", "Hortensia")
"""One more, in the plan that is rejected."""

AIRFLOW_2 = {
    "from airflow.sdk import dag, task": "from airflow.decorators import dag, task",
    "from airflow.sdk import ObjectStoragePath, dag, task": (
        "from airflow.decorators import dag, task; from airflow.io.path import ObjectStoragePath"
    ),
    "from airflow.sdk import Param, dag, task": (
        "from airflow.decorators import dag, task; from airflow.models.param import Param"
    ),
}
"""What the examples import, and how on Airflow 2.11."""


def example_dag(name: str, changes: Mapping[str, str] | None = None) -> Any:
    """Load an example DAG, with changes to its text."""
    return example_names(name, changes)[name]()


def example_names(name: str, changes: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what the file of an example defines; on Airflow 2.11 with the imports that it has there."""
    path = EXAMPLES / f"{name}.py"
    source = path.read_text()
    for old, new in (changes or {}).items():
        assert old in source, old
        source = source.replace(old, new)
    if importlib.util.find_spec("airflow.sdk") is None:
        for on_3, on_2 in AIRFLOW_2.items():
            source = source.replace(on_3, on_2)
    names: dict[str, Any] = {"__name__": name, "__file__": str(path)}
    exec(compile(source, path, "exec"), names)  # noqa: S102  # our own file
    return names


@contextlib.contextmanager
def scripted(outcomes: Mapping[str, Sequence[str]], *, connect: bool = True) -> Iterator[Telzino]:
    """Run Telzino with a connection in the environment; fail unless just these calls are placed."""
    with Telzino() as telzino:
        telzino.clock.move_to(NIGHT)
        for number, ends in outcomes.items():
            telzino.script(number, ends)
        if connect:
            os.environ["AIRFLOW_CONN_TELZINO_DEFAULT"] = telzino.connection
        yield telzino
        assert telzino.problems() == []


def connect_by_database(telzino: Telzino) -> None:
    """Set the connection in Airflow's database, where most users have it."""
    from airflow.models import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        fields = json.loads(telzino.connection)
        session.add(Connection(conn_id="telzino_default", **fields))  # noqa: AIR311  # the database's


def run_example(name: str, conf: dict[str, Any]) -> dict[str, Any]:
    """Run one example; return the states of run and tasks, and what the tasks pushed."""
    return run_dag(example_dag(name), conf)


def run_dag(dag: Any, conf: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a DAG; return the states of run and tasks, and what the tasks pushed."""
    run = dag.test(run_conf=conf)
    tasks = {
        ti.task_id + (f"[{ti.map_index}]" if ti.map_index >= 0 else ""): ti for ti in run.get_task_instances()
    }
    return {
        "state": run.state,
        "tasks": {task: ti.state for task, ti in tasks.items()},
        "pushed": {
            task: ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index) for task, ti in tasks.items()
        },
        "labels": {task: ti.rendered_map_index for task, ti in tasks.items() if ti.map_index >= 0},
    }


def finish_after_the_first_poll(sandbox: Sandbox, call_id: str, status: str) -> None:
    """End the call as soon as the task has polled it once, so that the task has something to wait for."""
    while not any(call_id in request.path for request in sandbox.requests):
        time.sleep(0.05)
    sandbox.finish(call_id, status)


@contextlib.contextmanager
def contacts_table(name: str, path: Path) -> Iterator[sqlite3.Connection]:
    """Create the table that an example describes, in a database to which ``contacts_db`` connects."""
    os.environ["AIRFLOW_CONN_CONTACTS_DB"] = json.dumps({"conn_type": "sqlite", "host": str(path)})
    (create_table,) = re.findall(
        r"CREATE TABLE .*?\n    \)", (EXAMPLES / f"{name}.py").read_text(), re.DOTALL
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.row_factory = sqlite3.Row
        database.execute(create_table)
        yield database


def rows_by_id(database: sqlite3.Connection) -> dict[int, dict[str, Any]]:
    """Return the whole table of contacts."""
    return {row["id"]: dict(row) for row in database.execute("SELECT * FROM contacts")}


INSERT = "INSERT INTO contacts (id, to_number, timezone, call_context) VALUES (?, ?, ?, ?)"


def run_nights(folder: Path) -> list[dict[str, Any]]:
    """Run the nightly example three times: for all contacts, for the one that was corrected, and for nobody.

    Each result has the table after that night, and all calls so far.
    """
    contacts = [(identity, number, ZONE, "Ask for the parcel.") for identity, number in CONTACTS.items()]
    outcomes = {
        CONTACTS[1]: ["completed", "completed"],
        CONTACTS[2]: ["busy", "completed"],
        CONTACTS[3]: ["no_such_number"],
    }
    dag = example_dag(NIGHTLY)
    nights: list[dict[str, Any]] = []
    with scripted(outcomes) as telzino, contacts_table(NIGHTLY, folder / "nightly.db") as database:
        database.executemany(INSERT, contacts)
        for night in range(3):
            if night == 1:
                correct = "UPDATE contacts SET to_number = ?, dag_run = NULL WHERE id = ?"
                database.execute(correct, (CONTACTS[1], CORRECTED))
            run = run_dag(dag)
            nights.append(run | {"table": rows_by_id(database), "calls": telzino.calls})
    return nights


def run_batch() -> dict[str, Any]:
    """Run the batch example: half of its calls end while it waits."""
    with scripted({}) as telzino:
        sandbox = telzino.sandbox
        calls = [sandbox.add_call(status)["id"] for status in ["completed", "busy", "dialing"] * 5]

        def finish_after_the_first_poll() -> None:
            while not sandbox.requests:
                time.sleep(0.05)
            for call in sandbox.calls:
                if call["status"] == "dialing":
                    sandbox.finish(call["id"], "no_answer")

        threading.Thread(target=finish_after_the_first_poll, daemon=True).start()
        result = run_example("example_telzino_wait_for_batch", {"call_ids": calls})
        return result | {"calls": sandbox.calls, "given": calls}


def run_campaign(folder: Path) -> dict[str, Any]:
    """Run the example of a campaign; the result also has the table, all calls and the report."""
    os.environ["AIRFLOW_VAR_TELZINO_REPORTS"] = f"file://{folder}/reports"
    sys.modules["matplotlib"] = None  # type: ignore[assignment]  # where DAGs are parsed it isn't installed
    dag = example_dag(CAMPAIGN)
    del sys.modules["matplotlib"]
    outcomes = dict(zip((number for _, _, number, _, _ in CALLED), CAMPAIGN_ENDS, strict=False))
    with scripted(outcomes) as telzino, contacts_table(CAMPAIGN, folder / "campaign.db") as database:
        database.executemany(
            "INSERT INTO contacts (id, list, to_number, name, dag_run, timezone) VALUES (?, ?, ?, ?, ?, ?)",
            [(*contact, ZONE) for contact in CALLED],
        )
        run = run_dag(dag)
        (report,) = (folder / "reports").iterdir()
        found = {"table": rows_by_id(database), "calls": telzino.calls, "report": report.read_text()}
        return run | found | {"report_path": str(report)}


def run_approvals(folder: Path) -> dict[str, Any]:
    """Run the example with an approval: a plan that is approved, one that is rejected, one that is changed.

    Each result has the calls of its run, and what the person saw.
    """
    from tests.support.approval import answering

    results: dict[str, Any] = {}
    for case, answer in (("approved", "Approve"), ("rejected", "Reject"), ("changed", "Approve")):
        ends = {number: [end] for (_, number, _), end in zip(PLANNED, PLANNED_ENDS, strict=True)}
        outcomes = ends if case == "approved" else {}
        with scripted(outcomes) as telzino, contacts_table(APPROVAL, folder / f"{case}.db") as database:
            contacts = (*PLANNED, *([INVALID] if case == "rejected" else []))
            database.executemany(
                "INSERT INTO contacts (id, to_number, name, timezone) VALUES (?, ?, ?, ?)",
                [(*contact, ZONE) for contact in contacts],
            )

            def change(case: str = case, database: Path = folder / f"{case}.db") -> None:
                if case == "changed":
                    with closing(sqlite3.connect(database, isolation_level=None)) as own:
                        own.execute("UPDATE contacts SET name = 'Theodora' WHERE id = 2")

            dag = example_dag(APPROVAL)
            with answering(APPROVAL, answer, first=change) as seen:
                run = run_dag(dag)
            results[case] = run | {"calls": telzino.calls, "seen": seen}
    return results


def main() -> None:
    """Run the waiting example for each status that the arguments name, then those that place calls."""
    results: dict[str, Any] = {}
    with scripted({}, connect=False) as telzino:
        connect_by_database(telzino)
        sandbox = telzino.sandbox
        for status in sys.argv[1:]:
            call = sandbox.add_call("in_progress")
            arguments = (sandbox, call["id"], status)
            threading.Thread(target=finish_after_the_first_poll, args=arguments, daemon=True).start()
            result = run_example("example_telzino_wait_for_call", {"call_id": call["id"]})
            results[status] = result | {"sandbox": sandbox.call(call["id"])}
    results["example_telzino_wait_for_batch"] = run_batch()
    for name, (conf, outcomes) in PLACING.items():
        with scripted(outcomes) as telzino:
            results[name] = run_example(name, conf) | {"calls": telzino.calls}
    with tempfile.TemporaryDirectory() as folder:
        results[NIGHTLY] = run_nights(Path(folder))
        results[CAMPAIGN] = run_campaign(Path(folder))
        if INSTALLED >= (3, 3):  # before, `dag.test()` can't wait for a person's answer
            results["approvals"] = run_approvals(Path(folder))
    print(RESULT_MARK + json.dumps(results, default=str))


if __name__ == "__main__":
    main()
