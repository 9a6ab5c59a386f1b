"""``make demo`` with a real Airflow: it succeeds, explains its failures, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from devtools.airflow_instance import AirflowApi
from devtools.demo import DAG_ID, shortcoming
from tests.support.demos import DEMO_TIMEOUT, StartDemo, assert_nothing_left, processes_of, read_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["Starting Airflow", "call: in_progress"])
def test_ctrl_c_leaves_nothing(start_demo: StartDemo, moment: str) -> None:
    """At whatever moment it comes; the exit code is that of an interrupted program."""
    demo = start_demo()
    read_until(demo, moment)
    time.sleep(1)
    mark, seen = processes_of(demo)

    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=60)

    assert demo.returncode == 128 + signal.SIGINT, output
    assert "Interrupted" in output
    assert "succeeded" not in output
    assert_nothing_left(demo, mark, seen)


@pytest.mark.slow
def test_ui_runs_the_demo_and_stays_until_ctrl_c(start_demo: StartDemo) -> None:
    """Success is reported before that, with the record and the states; Ctrl-C is its normal end."""
    demo = start_demo("--ui")
    output = read_until(demo, "Ctrl-C stops it all")
    mark, seen = processes_of(demo)
    base_url, user, password = re.search(  # type: ignore[union-attr]
        r"Airflow +(http://127\.0\.0\.1:\d+).*user +(\S+).*password +(\S+)", output, re.DOTALL
    ).groups()

    runs = AirflowApi(base_url, user, password).request("GET", f"/dags/{DAG_ID}/dagRuns")["dag_runs"]
    demo.send_signal(signal.SIGINT)
    end, _ = demo.communicate(timeout=60)

    assert [run["state"] for run in runs] == ["success"]
    for line in ("call: in_progress", "task place_call: deferred", "task transcript: success"):
        assert line in output
    assert '"status": "completed"' in output
    assert "The demo succeeded" in output
    assert "sandbox-secret" not in output
    assert demo.returncode == 0, end
    assert end.split() == ["Stopped:", "nothing", "is", "left", "running."]
    assert_nothing_left(demo, mark, seen)


@pytest.mark.slow
def test_a_failure_shows_what_explains_it(start_demo: StartDemo, tmp_path: Path) -> None:
    """A DAG file with an error: its traceback is shown, the exit code is 1, the logs are kept."""
    (tmp_path / "broken_dag.py").write_text("import airflow.sdk\nraise ValueError('this DAG is broken')\n")
    demo = start_demo("--dags-folder", str(tmp_path))

    output, _ = demo.communicate(timeout=DEMO_TIMEOUT)

    assert demo.returncode == 1, output
    assert "this DAG is broken" in output
    assert "All logs: .work/demo-failed-logs" in output


CALL_ID = "0fc6daf8-7251-4553-9488-867ba0b82d8e"
RECORD = {"id": CALL_ID, "status": "completed"}


@pytest.mark.parametrize(
    ("run_state", "record", "calls", "problem"),
    [
        ("success", RECORD, [CALL_ID], None),
        ("failed", RECORD, [CALL_ID], "ended as failed"),
        ("success", None, [CALL_ID], "pushed no record"),
        ("success", {**RECORD, "id": "another"}, [CALL_ID], "is of call another"),
        ("success", RECORD, [], "placed were: ."),
        ("success", RECORD, [CALL_ID, "a second"], "a second"),
        ("success", {**RECORD, "status": "busy"}, [CALL_ID], "'busy' instead of 'completed'"),
    ],
)
def test_only_one_completed_call_with_its_record_is_a_success(
    run_state: str, record: object, calls: list[str], problem: str | None
) -> None:
    """Everything else has a sentence that says what is missing; a second call is a shortcoming, too."""
    found = shortcoming(run_state, record, calls)

    assert found is None if problem is None else problem in str(found)
