"""The example DAGs, as Airflow parses and runs them, tested as users test theirs: with our pytest plugin.

Each run begins at night, so that tasks that keep calling hours wait until morning.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS
from airflow_provider_telzino.testing.telzino import Telzino
from tests.support.dag_test_run import (
    ANSWERS,
    BUSY,
    EXAMPLES,
    NIGHT,
    ZONE,
    DagTestRun,
    example_dag,
    example_names,
    run_dag,
    when_time_passes,
)
from tests.support.installed_airflow import INSTALLED

NEEDS_ANSWERS = pytest.mark.skipif(
    INSTALLED < (3, 3), reason="before Airflow 3.3 `dag.test()` can't wait for a person's answer"
)
NO_SUCH_NUMBER = MAGIC_NUMBERS["no_such_number"]
BUSY_ONCE = MAGIC_NUMBERS["busy_then_completed"]
CALL_CONTEXT = "Ask for the parcel."
END = "2026-11-27T10:00:00.123456+00:00"
NOT_OURS = ["[debug", "│"] if version("apache-airflow").startswith("3.0.") else ["[debug"]
"""Marks lines that are not of tasks: under ``dag.test()`` some Airflows log the messages between their
processes, and 3.0 puts the variables of a failed task's functions into a box (docs/versions.md)."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example DAGs")]
WITH_A_TABLE = pytest.mark.xdist_group("with a table")
"""Marks the tests that a second process runs: some versions of Airflow need minutes for all of them."""


@pytest.fixture(scope="module")
def airflow_database() -> None:
    """Create it."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)


class Examples:
    """Runs example DAGs, and has what they logged.

    Args:
        telzino: What they call with.
        capture: Captures the output of this process.
    """

    def __init__(self, telzino: Telzino, capture: pytest.CaptureFixture[str]) -> None:
        self.secrets = ["sandbox-token"]
        """What no log may contain, besides what the calls' records have."""
        self.logged = logging.StreamHandler(io.StringIO())
        """Gets what the root logger gets, whose own handler prints past ``capture``."""
        self.logged.setLevel("INFO")
        self._telzino = telzino
        self._capture = capture
        self._printed = ""

    def run(self, name: str, conf: dict[str, Any] | None = None) -> DagTestRun:
        """Run an example."""
        return run_dag(example_dag(name), conf)

    @property
    def log(self) -> str:
        """All that was printed and logged so far, without Airflow's own."""
        self._printed += "\n".join(self._capture.readouterr())
        lines = [*self._printed.splitlines(), *self.logged.stream.getvalue().splitlines()]
        return "\n".join(line for line in lines if not any(mark in line for mark in NOT_OURS))

    def assert_no_personal_data(self) -> None:
        """Fail if there is more of the calls in the log than ids, statuses and times."""
        log, personal = self.log, list(self.secrets)
        for call in self._telzino.calls:
            personal += [call["to_number"], call["call_context"]]
            personal += [call["summary_text"]] if call["status"] == "completed" else []

        assert "[DAG TEST]" in log
        assert "isn't defined" not in log
        for text in personal:
            assert text
            assert text not in log
            assert text.partition("\n")[0] not in log


@pytest.fixture
def examples(
    airflow_database: None, telzino: Telzino, capfd: pytest.CaptureFixture[str]
) -> Iterator[Examples]:
    """Runs example DAGs in this process; whatever a test is about, their logs hold no personal data."""
    telzino.clock.move_to(NIGHT)
    examples = Examples(telzino, capfd)
    root = logging.getLogger()
    root.addHandler(examples.logged)
    with mock.patch.dict(os.environ):  # `dag.test()` leaves variables there
        yield examples
    root.removeHandler(examples.logged)
    examples.assert_no_personal_data()


# --- Waiting for calls ---


@pytest.fixture
def database_connection(
    airflow_database: None, telzino: Telzino, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The connection is in Airflow's database, where most users have it, instead of in the environment."""
    from airflow.models import Connection
    from airflow.utils.session import create_session

    monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")
    fields = json.loads(telzino.connection)
    connection = Connection(conn_id="telzino_default", **fields)  # noqa: AIR311  # the database's
    with create_session() as session:
        session.add(connection)
    yield
    with create_session() as session:
        session.delete(connection)


@pytest.fixture
def wait_for(
    examples: Examples, telzino: Telzino, database_connection: None
) -> Callable[[str], tuple[DagTestRun, dict[str, Any]]]:
    """A function that runs the waiting example; the call ends with a status after the first poll."""

    def run(status: str) -> tuple[DagTestRun, dict[str, Any]]:
        call = telzino.sandbox.add_call("in_progress", call_context=CALL_CONTEXT)["id"]
        with when_time_passes(telzino.clock, lambda: telzino.sandbox.finish(call, status)):
            run = examples.run("example_telzino_wait_for_call", {"call_id": call})
        assert f"in_progress → {status} after" in examples.log
        return run, telzino.sandbox.call(call)

    return run


WaitFor = Callable[[str], tuple[DagTestRun, dict[str, Any]]]


def test_a_completed_call(wait_for: WaitFor) -> None:
    """The sensor pushes the final record, and the branch that reads it runs."""
    run, call = wait_for("completed")

    assert run.state == "success"
    assert run.pushed["wait_for_call"] == call
    assert call["status"] == "completed"
    assert run.tasks == {
        "wait_for_call": "success",
        "choose": "success",
        "read_summary": "success",
        "call_again_later": "skipped",
    }


def test_a_call_without_an_answer(wait_for: WaitFor) -> None:
    """The other branch runs when nobody was reached."""
    run, _ = wait_for("no_answer")

    assert run.state == "success"
    assert run.pushed["wait_for_call"]["status"] == "no_answer"
    assert run.tasks["call_again_later"] == "success"
    assert run.tasks["read_summary"] == "skipped"


def test_a_failed_call(wait_for: WaitFor) -> None:
    """A call that could not be placed fails the sensor; its record is in XCom all the same."""
    run, call = wait_for("failed")

    assert run.state == "failed"
    assert run.tasks["wait_for_call"] == "failed"
    assert run.pushed["wait_for_call"] == call


def test_waiting_for_many_calls(examples: Examples, telzino: Telzino) -> None:
    """One task waits for all; a list of what it is to keep of the records comes in their order."""
    sandbox = telzino.sandbox
    calls = [
        sandbox.add_call(status, call_context=CALL_CONTEXT) for status in ["completed", "busy", "dialing"] * 5
    ]

    def finish() -> bool:
        """End those that are live."""
        for call in calls:
            if call["status"] == "dialing":
                sandbox.finish(call["id"], "no_answer")
        return True

    given = [call["id"] for call in calls]
    with when_time_passes(telzino.clock, finish):
        run = examples.run("example_telzino_wait_for_batch", {"call_ids": given})

    assert run.state == "success"
    assert [record["id"] for record in run.pushed["wait_for_calls"]] == given
    assert set(run.pushed["wait_for_calls"][0]) == {"id", "status", "duration"}
    assert run.pushed["count"]["outcomes"] == {"completed": 5, "busy": 5, "no_answer": 5}
    assert "10 of 15 ended: 5 busy, 5 completed" in examples.log


# --- Placing calls ---


def test_placing_a_call(examples: Examples, telzino: Telzino) -> None:
    """One call, its record, and what was said in it."""
    telzino.script(ANSWERS, ["completed"])

    run = examples.run("example_telzino_place_call", {"to_number": ANSWERS, "crm_id": "123"})

    (call,) = telzino.calls
    assert run.state == "success"
    assert run.tasks == {
        "place_call": "success",
        "choose": "success",
        "transcript": "success",
        "count_turns": "success",
        "not_reached": "skipped",
    }
    assert run.pushed["place_call"] == call
    assert call["request_metadata"]["crm_id"] == "123"
    assert set(run.pushed["count_turns"]) == {"agent", "user"}


def test_redial(examples: Examples, telzino: Telzino) -> None:
    """Somebody answers at once: one call, and nobody gives up."""
    telzino.script(ANSWERS, ["completed"])

    run = examples.run("example_telzino_redial", {"to_number": ANSWERS, "timezone": ZONE})

    assert len(telzino.calls) == 1
    assert run.tasks == {"call": "success", "confirmed": "success", "give_up": "skipped"}


def test_calling_contacts(examples: Examples, telzino: Telzino) -> None:
    """Each contact is called once, and the transcript of the one who answered is read."""
    telzino.script(ANSWERS, ["completed"])
    telzino.script(BUSY, ["busy"])

    run = examples.run("example_telzino_call_contacts", {"to_numbers": [ANSWERS, BUSY], "timezone": ZONE})

    assert sorted(call["status"] for call in telzino.calls) == ["busy", "completed"]
    assert run.state == "success"
    assert [run.tasks[f"call[{index}]"] for index in (0, 1)] == ["success", "success"]
    assert set(run.pushed["call[0]"]) == {"id", "agent_id", "status", "ended_at", "transcript_id"}
    assert [task for task in run.tasks if task.startswith("transcript")] == ["transcript[0]"]
    assert run.pushed["count_words"] > 0


# --- With a table of contacts ---

Row = Mapping[str, Any]


class Contacts:
    """A table of contacts, which an example describes."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def create(self, example: str) -> None:
        """Create the table as the example says."""
        source = (EXAMPLES / f"{example}.py").read_text()
        (create_table,) = re.findall(r"CREATE TABLE .*?\n    \)", source, re.DOTALL)
        self._database.execute(create_table)

    def insert(self, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert contacts, all in the same time zone."""
        marks = ", ".join("?" * (len(columns.split(",")) + 1))
        self._database.executemany(
            f"INSERT INTO contacts ({columns}, timezone) VALUES ({marks})",  # noqa: S608  # a test's own
            [(*row, ZONE) for row in rows],
        )

    def update(self, contact: int, **values: Any) -> None:
        """Change a contact."""
        assignments = ", ".join(f"{column} = ?" for column in values)
        statement = f"UPDATE contacts SET {assignments} WHERE id = ?"  # noqa: S608  # a test's own
        self._database.execute(statement, (*values.values(), contact))

    @property
    def rows(self) -> dict[int, Row]:
        """The whole table, by id."""
        return {row["id"]: dict(row) for row in self._database.execute("SELECT * FROM contacts")}


@pytest.fixture
def contacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Contacts]:
    """A database to which ``contacts_db`` connects."""
    path = tmp_path / "contacts.db"
    monkeypatch.setenv("AIRFLOW_CONN_CONTACTS_DB", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.row_factory = sqlite3.Row
        yield Contacts(database)


def script_calls(telzino: Telzino) -> None:
    """Announce the calls to three contacts: one answers, one is busy at first, and one can't be reached."""
    telzino.script(ANSWERS, ["completed"])
    telzino.script(BUSY_ONCE, ["busy", "completed"])
    telzino.script(NO_SUCH_NUMBER, ["no_such_number"])


NIGHTLY = "example_telzino_nightly_calls"
INVALID_NUMBER = "0815 4711"


@pytest.fixture
def nightly(examples: Examples, contacts: Contacts, telzino: Telzino) -> Callable[[], DagTestRun]:
    """A function that runs the nightly example, for contacts of which the last one's number isn't E.164."""
    contacts.create(NIGHTLY)
    numbers = [ANSWERS, BUSY_ONCE, NO_SUCH_NUMBER, INVALID_NUMBER]
    contacts.insert(
        "id, to_number, call_context",
        [(identity, number, CALL_CONTEXT) for identity, number in enumerate(numbers, 1)],
    )
    examples.secrets.append(INVALID_NUMBER)
    script_calls(telzino)
    return lambda: examples.run(NIGHTLY)


@WITH_A_TABLE
def test_nightly_calls(nightly: Callable[[], DagTestRun], contacts: Contacts, telzino: Telzino) -> None:
    """Each contact's outcome is in the table, that of the last call, although the task of another failed.

    What Airflow's web interface shows for each mapped task is the contact's id: no personal data.
    """
    night = nightly()

    table = contacts.rows
    assert [table[contact]["outcome"] for contact in (1, 2, 3, 4)] == ["completed"] * 2 + ["failed", None]
    statuses = [(call["to_number"], call["status"]) for call in telzino.calls]
    assert sorted(statuses) == sorted(
        [
            (ANSWERS, "completed"),
            (BUSY_ONCE, "busy"),
            (BUSY_ONCE, "completed"),
            (NO_SUCH_NUMBER, "failed"),
        ]
    )
    assert {row["call_id"] for row in table.values()} == {
        None,
        *(call["id"] for call in telzino.calls if call["status"] != "busy"),
    }
    assert night.pushed["report"] == {"completed": 2, "failed": 1, "no outcome": 1}
    assert night.tasks["report"] == "success"
    assert night.tasks["call[3]"] == night.state == "failed"
    assert night.labels == {f"call[{index}]": f"contact {index + 1}" for index in range(4)}


@WITH_A_TABLE
def test_the_next_night_calls_only_who_is_new(
    nightly: Callable[[], DagTestRun], contacts: Contacts, telzino: Telzino
) -> None:
    """Whoever belongs to an earlier run isn't called again, and a night without contacts succeeds."""
    nightly()
    calls_of_the_first = telzino.calls
    contacts.update(4, to_number=ANSWERS, dag_run=None)  # corrected
    telzino.script(ANSWERS, ["completed"])

    second = nightly()
    calls_of_both = telzino.calls
    third = nightly()

    (call,) = calls_of_both[len(calls_of_the_first) :]
    assert call["request_metadata"]["contact_id"] == 4
    assert second.state == "success"
    assert second.pushed["report"] == {"completed": 1}
    assert telzino.calls == calls_of_both
    assert third.state == "success"
    assert third.tasks["call"] == "skipped"
    assert third.pushed["report"] == {}


CAMPAIGN = "example_telzino_campaign"
CALLED = [
    (1, "Spring renewals", ANSWERS, "Rosalind", None),
    (2, "Spring renewals", BUSY_ONCE, "Marmaduke", None),
    (3, "Trial users", NO_SUCH_NUMBER, None, None),
    (4, "Trial users", BUSY, "Peregrine", "an earlier run"),
]
"""Those in the table of the campaign's example: id, list, number, name, and the run that has taken them."""


@pytest.fixture
def campaign(
    examples: Examples,
    contacts: Contacts,
    telzino: Telzino,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[DagTestRun, Path]:
    """The run of the campaign's example, and its report."""
    contacts.create(CAMPAIGN)
    contacts.insert("id, list, to_number, name, dag_run", CALLED)
    examples.secrets += [name for _, _, _, name, _ in CALLED if name]
    script_calls(telzino)
    monkeypatch.setenv("AIRFLOW_VAR_TELZINO_REPORTS", f"file://{tmp_path}/reports")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)  # where DAGs are parsed it isn't installed
        dag = example_dag(CAMPAIGN)
    run = run_dag(dag)
    (report,) = (tmp_path / "reports").iterdir()
    return run, report


@WITH_A_TABLE
def test_a_campaign_with_a_report(
    campaign: tuple[DagTestRun, Path], contacts: Contacts, telzino: Telzino
) -> None:
    """The new contacts are called, two calls for one who was busy, and the table has their outcomes."""
    run, report = campaign

    assert run.state == "success"
    rows = list(contacts.rows.values())
    assert [(row["outcome"], row["attempts"]) for row in rows] == [
        ("completed", 1),
        ("completed", 2),
        ("failed", 1),
        (None, None),  # it belongs to another run
    ]
    last_calls = {call["to_number"]: call for call in telzino.calls}
    for row in rows[:3]:
        call = last_calls[row["to_number"]]
        assert (row["call_id"], row["ended_at"]) == (call["id"], call["ended_at"])
    assert run.pushed["report"] == f"file://{report}"


@WITH_A_TABLE
def test_the_report_of_a_campaign(campaign: tuple[DagTestRun, Path], contacts: Contacts) -> None:
    """It has the counts, needs no other file and no network, and names nobody."""
    report = campaign[1].read_text()

    tiles = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", report)
    assert tiles == [
        ("contacts", "3"),
        ("reached", "67%"),
        ("calls", "4"),
        ("calls per contact reached", "2.0"),
    ]
    _, spring, trial = re.findall(r"<tr><th>(.*?)</tr>", report, re.DOTALL)
    assert re.findall(r"\w+", re.sub("<.*?>", " ", spring)) == ["Spring", "renewals", *"200002"]
    assert re.findall(r"\w+", re.sub("<.*?>", " ", trial)) == ["Trial", "users", *"000101"]
    assert report.count("<svg") == 3
    for text in ("Spring renewals", "100% reached", "0% reached", "call 2", "not reached"):
        assert f">{text}</text>" in report
    assert "<script" not in report
    assert [link for link in re.findall(r"(?:src|href)=[\"'](.*?)[\"']", report) if link[0] != "#"] == []
    for identity, _, number, name, _ in CALLED:
        assert number not in report
        assert name is None or name not in report
        assert str(contacts.rows[identity]["call_id"]) not in report


@pytest.mark.parametrize(
    ("rows", "charts", "shown"),
    [
        ([], 0, ["Nobody was to be called"]),
        ([("A", "no_answer", 3, None)], 2, ["0% reached"]),  # without a time there is no chart over time
        (
            [("A", "rejected", 0, None), ("A", None, None, None), ("A", "voicemail", 1, END)],
            3,
            ["<td>3</td>"],
        ),
        (
            [("<b>$x^2$ & y", "completed", 1, END)],
            3,
            ["&lt;b&gt;$x^2$ &amp; y</th>", ">&lt;b&gt;$x^2$ &amp; y</text>"],
        ),
    ],
)
def test_a_report_of_odd_outcomes(rows: list[tuple[Any, ...]], charts: int, shown: list[str]) -> None:
    """Nobody at all, nobody reached, no call, no outcome, an unknown one; and a name that is no markup."""
    report = example_names("example_telzino_campaign")["report_page"]("run", rows)

    assert report.count("<svg") == charts
    for text in shown:
        assert text in report


@pytest.mark.skipif(INSTALLED < (3, 1), reason="Airflow has `ApprovalOperator` from 3.1 on")
def test_a_campaign_that_waits_for_an_approval() -> None:
    """The DAG can be parsed, and nobody is called before the approval."""
    call = example_names("example_telzino_campaign_approval")["example_telzino_campaign_approval"]().get_task(
        "call"
    )

    assert call.upstream_task_ids == {"approve", "plan"}
    assert call.needs_approval


APPROVAL = "example_telzino_campaign_approval"
PLANNED = [(1, ANSWERS, "Clementine"), (2, MAGIC_NUMBERS["quick_hang_up"], "Barnaby")]
"""Those in the table of the example with an approval: id, number, name."""
INVALID = (3, "0815 4712", "Hortensia")
"""One more, in the plan that is rejected."""


@pytest.fixture
def planned(examples: Examples, contacts: Contacts) -> None:
    """The contacts of the example with an approval."""
    contacts.create(APPROVAL)
    contacts.insert("id, to_number, name", PLANNED)
    for _, number, name in (*PLANNED, INVALID):
        examples.secrets += [number, name]


@WITH_A_TABLE
@NEEDS_ANSWERS
def test_a_plan_that_is_approved(examples: Examples, planned: None, telzino: Telzino) -> None:
    """A person sees the plan's counts, and all are called once it is approved."""
    from tests.support.approval import answering

    for (_, number, _), outcome in zip(PLANNED, ("completed", "quick_hang_up"), strict=True):
        telzino.script(number, [outcome])

    with answering(telzino.clock, APPROVAL, "Approve") as seen:
        run = examples.run(APPROVAL)

    assert run.state == "success"
    plan = run.pushed["plan"]
    for text in (
        "**2 contacts** get 6 calls",
        plan["first_dial"],
        plan["last_dial"],
        f"| {ZONE} |",
    ):
        assert text in seen["body"]
    assert "invalid" not in seen["body"]
    assert sorted(call["to_number"] for call in telzino.calls) == sorted(number for _, number, _ in PLANNED)
    assert [result["outcome"] for result in run.pushed["call"]] == ["completed", "completed"]


@WITH_A_TABLE
@NEEDS_ANSWERS
def test_a_plan_that_is_rejected(
    examples: Examples, planned: None, contacts: Contacts, telzino: Telzino
) -> None:
    """Nobody is called. What is wrong with the contacts was in the plan, by position."""
    from tests.support.approval import answering

    contacts.insert("id, to_number, name", [INVALID])

    with answering(telzino.clock, APPROVAL, "Reject") as seen:
        run = examples.run(APPROVAL)

    assert "**1 contacts are invalid.**" in seen["body"]
    assert "- position 3: `to_number` should be a phone number in E.164 form" in seen["body"]
    assert run.tasks["call"] == "skipped"
    assert telzino.calls == []


@WITH_A_TABLE
@NEEDS_ANSWERS
def test_contacts_that_changed_after_the_approval(
    examples: Examples, planned: None, contacts: Contacts, telzino: Telzino
) -> None:
    """Nobody is called, and the task fails at its first try."""
    from tests.support.approval import answering

    def change() -> None:
        contacts.update(2, name="Theodora")

    with answering(telzino.clock, APPROVAL, "Approve", first=change) as seen:
        run = examples.run(APPROVAL)

    assert seen["subject"] == "Call these contacts?"
    assert run.tasks["call"] == run.state == "failed"
    assert telzino.calls == []
    assert "changed since its plan was approved" in examples.log


# --- For each call that ends ---


@pytest.mark.skipif(INSTALLED < (3, 0), reason="Airflow 2 has no watchers")
def test_several_events_in_one_run() -> None:
    """Airflow collects events, and a restart of the triggerer repeats some: each call is handled once."""
    payloads = [{"call_id": call, "agent_id": "agent", "status": "busy"} for call in ("a", "b", "a")]
    events = [SimpleNamespace(extra={"from_trigger": True, "payload": payload}) for payload in payloads]
    calls = example_dag("example_telzino_call_ended").get_task("calls").python_callable

    assert calls(triggering_asset_events={"asset": events[:1], "another": events[1:]}) == [
        {"id": "a", "agent_id": "agent"},
        {"id": "b", "agent_id": "agent"},
    ]
    assert calls(triggering_asset_events={}) == []
