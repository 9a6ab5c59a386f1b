"""The example DAGs, as Airflow parses and runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example DAGs")]  # one process runs them all


def airflow(*arguments: str) -> str:
    """Run Airflow's command line in the home of these tests."""
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    """One run of the example DAG for each of three outcomes."""
    airflow("db", "migrate")
    done = subprocess.run(
        [sys.executable, "-m", "tests.dag_test_run", "completed", "no_answer", "failed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    *log, result = done.stdout.splitlines()
    outcomes: dict[str, Any] = json.loads(result)
    return outcomes | {"log": "\n".join([*log, done.stderr])}


def test_a_completed_call(runs: dict[str, Any]) -> None:
    """The sensor pushes the final record, and the branch that reads it runs."""
    run = runs["completed"]

    assert run["state"] == "success"
    assert run["record"] == run["sandbox"]
    assert run["record"]["status"] == "completed"
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
    assert run["record"]["status"] == "no_answer"
    assert run["tasks"]["call_again_later"] == "success"
    assert run["tasks"]["read_summary"] == "skipped"


def test_a_failed_call(runs: dict[str, Any]) -> None:
    """A call that could not be placed fails the sensor; its record is in XCom all the same."""
    run = runs["failed"]

    assert run["state"] == "failed"
    assert run["tasks"]["wait_for_call"] == "failed"
    assert run["record"] == run["sandbox"]


def test_logs_hold_no_personal_data(runs: dict[str, Any]) -> None:
    """Nothing of the record but ids, statuses and times is in what the tasks wrote."""
    personal = [
        runs[outcome]["record"][field]
        for outcome in ("completed", "no_answer", "failed")
        for field in ("to_number", "summary_text")
        if runs[outcome]["record"][field]
    ]
    log = runs["log"]

    for status in ("completed", "no_answer", "failed"):
        assert f"in_progress → {status} after" in log
    assert len(personal) == 4
    for text in personal:
        assert text not in log
        assert text.partition("\n")[0] not in log
    assert "sandbox-token" not in log
