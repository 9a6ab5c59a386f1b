"""The example DAGs, as Airflow parses and runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.dag_test_run import (
    CALLED,
    CONTACTS,
    CORRECTED,
    INVALID,
    PLANNED,
    RESULT_MARK,
    ZONE,
    example_dag,
    example_names,
)
from tests.support.installed_airflow import INSTALLED

ROOT = Path(__file__).parent.parent
NEEDS_ANSWERS = pytest.mark.skipif(
    INSTALLED < (3, 3), reason="before Airflow 3.3 `dag.test()` can't wait for a person's answer"
)
END = "2026-11-27T10:00:00.123456+00:00"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example DAGs")]  # one process runs them all


def airflow(*arguments: str) -> str:
    """Run Airflow's command line in the home of these tests."""
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def last_run(run: Any) -> dict[str, Any]:
    """Return the last one of an example that was run several times."""
    last: dict[str, Any] = run[-1] if isinstance(run, list) else run
    return last


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    """One run of the waiting example for each of three outcomes, and one of each that places calls."""
    airflow("db", "migrate")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.dag_test_run", "completed", "no_answer", "failed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    log, mark, rest = done.stdout.partition("\n" + RESULT_MARK)
    assert mark, done.stdout[-4_000:] + done.stderr[-4_000:]
    outcomes: dict[str, Any] = json.loads(rest.splitlines()[0])
    return outcomes | {"log": "\n".join([log, done.stderr])}


def test_a_completed_call(runs: dict[str, Any]) -> None:
    """The sensor pushes the final record, and the branch that reads it runs."""
    run = runs["completed"]

    assert run["state"] == "success"
    assert run["pushed"]["wait_for_call"] == run["sandbox"]
    assert run["sandbox"]["status"] == "completed"
    assert run["tasks"] == {
        "wait_for_call": "success",
        "choose": "success",
        "read_summary": "success",
        "call_again_later": "skipped",
    }


def test_a_call_without_an_answer(runs: dict[str, Any]) -> None:
    """The other branch runs when nobody was reached."""
    run = runs["no_answer"]

    assert run["state"] == "success"
    assert run["pushed"]["wait_for_call"]["status"] == "no_answer"
    assert run["tasks"]["call_again_later"] == "success"
    assert run["tasks"]["read_summary"] == "skipped"


def test_a_failed_call(runs: dict[str, Any]) -> None:
    """A call that could not be placed fails the sensor; its record is in XCom all the same."""
    run = runs["failed"]

    assert run["state"] == "failed"
    assert run["tasks"]["wait_for_call"] == "failed"
    assert run["pushed"]["wait_for_call"] == run["sandbox"]


def test_a_connection_in_the_database_is_found(runs: dict[str, Any]) -> None:
    """Also by a trigger, which ``dag.test()`` runs in the task's own process."""
    assert "isn't defined" not in runs["log"]


def test_placing_a_call(runs: dict[str, Any]) -> None:
    """One call, its record, and what was said in it."""
    run = runs["example_telzino_place_call"]

    (call,) = run["calls"]
    assert run["state"] == "success"
    assert run["tasks"] == {
        "place_call": "success",
        "choose": "success",
        "transcript": "success",
        "count_turns": "success",
        "not_reached": "skipped",
    }
    assert run["pushed"]["place_call"] == call
    assert call["request_metadata"]["crm_id"] == "123"
    assert set(run["pushed"]["count_turns"]) == {"agent", "user"}


def test_redial(runs: dict[str, Any]) -> None:
    """Somebody answers at once: one call, and nobody gives up."""
    run = runs["example_telzino_redial"]

    assert len(run["calls"]) == 1
    assert run["tasks"] == {"call": "success", "confirmed": "success", "give_up": "skipped"}


def test_calling_contacts(runs: dict[str, Any]) -> None:
    """Each contact is called once, and the transcript of the one who answered is read."""
    run = runs["example_telzino_call_contacts"]

    assert sorted(call["status"] for call in run["calls"]) == ["busy", "completed"]
    assert run["state"] == "success"
    assert [run["tasks"][f"call[{index}]"] for index in (0, 1)] == ["success", "success"]
    assert set(run["pushed"]["call[0]"]) == {"id", "agent_id", "status", "ended_at", "transcript_id"}
    assert [task for task in run["tasks"] if task.startswith("transcript")] == ["transcript[0]"]
    assert run["pushed"]["count_words"] > 0


def test_nightly_calls(runs: dict[str, Any]) -> None:
    """Each contact's outcome is in the table, that of the last call, although the task of another failed."""
    night = runs["example_telzino_nightly_calls"][0]

    assert [night["table"][contact]["outcome"] for contact in "1234"] == ["completed"] * 2 + ["failed", None]
    statuses = [(call["to_number"], call["status"]) for call in night["calls"]]
    assert sorted(statuses) == sorted(
        [
            (CONTACTS[1], "completed"),
            (CONTACTS[2], "busy"),
            (CONTACTS[2], "completed"),
            (CONTACTS[3], "failed"),
        ]
    )
    assert {row["call_id"] for row in night["table"].values()} == {
        None,
        *(call["id"] for call in night["calls"] if call["status"] != "busy"),
    }
    assert night["pushed"]["report"] == {"completed": 2, "failed": 1, "no outcome": 1}
    assert night["tasks"]["report"] == "success"
    assert night["tasks"]["call[3]"] == night["state"] == "failed"


def test_the_next_night_calls_only_who_is_new(runs: dict[str, Any]) -> None:
    """Whoever belongs to an earlier run isn't called again, and a night without contacts succeeds."""
    first, second, third = runs["example_telzino_nightly_calls"]

    (call,) = second["calls"][len(first["calls"]) :]
    assert call["request_metadata"]["contact_id"] == 4
    assert second["state"] == "success"
    assert second["pushed"]["report"] == {"completed": 1}
    assert third["calls"] == second["calls"]
    assert third["state"] == "success"
    assert third["tasks"]["call"] == "skipped"
    assert third["pushed"]["report"] == {}


def test_a_night_shows_contacts_by_their_id(runs: dict[str, Any]) -> None:
    """What Airflow's web interface shows for each mapped task is no personal data."""
    night = runs["example_telzino_nightly_calls"][0]

    assert night["labels"] == {f"call[{index}]": f"contact {index + 1}" for index in range(4)}


def test_waiting_for_many_calls(runs: dict[str, Any]) -> None:
    """One task waits for all; a list of what it is to keep of the records comes in their order."""
    run = runs["example_telzino_wait_for_batch"]

    assert run["state"] == "success"
    assert [record["id"] for record in run["pushed"]["wait_for_calls"]] == run["given"]
    assert set(run["pushed"]["wait_for_calls"][0]) == {"id", "status", "duration"}
    assert run["pushed"]["count"]["outcomes"] == {"completed": 5, "busy": 5, "no_answer": 5}
    assert "10 of 15 ended: 5 busy, 5 completed" in runs["log"]


def test_a_campaign_with_a_report(runs: dict[str, Any]) -> None:
    """The new contacts are called, two calls for one who was busy, and the table has their outcomes."""
    run = runs["example_telzino_campaign"]

    assert run["state"] == "success"
    assert [(row["outcome"], row["attempts"]) for row in run["table"].values()] == [
        ("completed", 1),
        ("completed", 2),
        ("failed", 1),
        (None, None),  # it belongs to another run
    ]
    last_calls = {call["to_number"]: call for call in run["calls"]}
    for row in list(run["table"].values())[:3]:
        call = last_calls[row["to_number"]]
        assert (row["call_id"], row["ended_at"]) == (call["id"], call["ended_at"])
    assert run["pushed"]["report"] == f"file://{run['report_path']}"


def test_the_report_of_a_campaign(runs: dict[str, Any]) -> None:
    """It has the counts, needs no other file and no network, and names nobody."""
    run = runs["example_telzino_campaign"]
    report = run["report"]

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
        assert str(run["table"][str(identity)]["call_id"]) not in report


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


@NEEDS_ANSWERS
def test_a_plan_that_is_approved(runs: dict[str, Any]) -> None:
    """A person sees the plan's counts, and all are called once it is approved."""
    run = runs["approvals"]["approved"]

    assert run["state"] == "success"
    plan = run["pushed"]["plan"]
    for text in (
        "**2 contacts** get 6 calls",
        plan["first_dial"],
        plan["last_dial"],
        f"| {ZONE} |",
    ):
        assert text in run["seen"]["body"]
    assert "invalid" not in run["seen"]["body"]
    assert sorted(call["to_number"] for call in run["calls"]) == sorted(number for _, number, _ in PLANNED)
    assert [result["outcome"] for result in run["pushed"]["call"]] == ["completed", "completed"]


@NEEDS_ANSWERS
def test_a_plan_that_is_rejected(runs: dict[str, Any]) -> None:
    """Nobody is called. What is wrong with the contacts was in the plan, by position."""
    run = runs["approvals"]["rejected"]

    assert "**1 contacts are invalid.**" in run["seen"]["body"]
    assert "- position 3: `to_number` should be a phone number in E.164 form" in run["seen"]["body"]
    assert run["tasks"]["call"] == "skipped"
    assert run["calls"] == []


@NEEDS_ANSWERS
def test_contacts_that_changed_after_the_approval(runs: dict[str, Any]) -> None:
    """Nobody is called, and the task fails at its first try."""
    run = runs["approvals"]["changed"]

    assert run["seen"]["subject"] == "Call these contacts?"
    assert run["tasks"]["call"] == run["state"] == "failed"
    assert run["calls"] == []
    assert "changed since its plan was approved" in runs["log"]


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


def test_logs_hold_no_personal_data(runs: dict[str, Any]) -> None:
    """Nothing of the record but ids, statuses and times is in what the tasks wrote."""
    personal = [
        record[field]
        for record in [
            *(runs[outcome]["sandbox"] for outcome in ("completed", "no_answer", "failed")),
            *(call for name in runs if name.startswith("example_") for call in last_run(runs[name])["calls"]),
        ]
        for field in ("to_number", "summary_text", "call_context")
        if record[field]
    ]
    personal.append(CONTACTS[CORRECTED])
    personal += [name for _, _, _, name, _ in CALLED if name]
    for run in runs.get("approvals", {}).values():
        personal += [
            call[field] for call in run["calls"] for field in ("to_number", "summary_text", "call_context")
        ]
    personal += [*INVALID[1:], *(name for _, _, name in PLANNED)] if "approvals" in runs else []
    # Under `dag.test()` some Airflows log the messages between their processes, and 3.0 puts the variables of
    # a failed task's functions into a box (docs/versions.md).
    not_ours = ["[debug", "│"] if version("apache-airflow").startswith("3.0.") else ["[debug"]
    lines = runs["log"].splitlines()
    log = "\n".join(line for line in lines if not any(mark in line for mark in not_ours))

    for status in ("completed", "no_answer", "failed"):
        assert f"in_progress → {status} after" in log

    assert len(personal) == (72 if "approvals" in runs else 62)
    for text in personal:
        assert text not in log
        assert text.partition("\n")[0] not in log
    assert "sandbox-token" not in log
