"""Clears of tasks that place calls, and what else runs a task again, on a whole Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from devtools.airflow_instance import AirflowInstance
from tests.support.installed_airflow import INSTALLED
from tests.support.integration.mapped_dag_run import CONN_ID, MappedDagRun
from tests.support.integration.placing_dag_run import PlacingDagRun
from tests.support.integration.running_airflow import running_airflow

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("clears")]

A, B, C = (f"+1500555012{n}" for n in range(3))
COMPLETED = MAGIC_NUMBERS["completed"]
LIST_LAG = 12.0  # seconds
SPEED = 10.0  # of calls, and of the clock that the lag follows

KEEP_STATE: dict[str, Any] = {"keep_task_state": True} if INSTALLED >= (3, 4) else {}
"""From Airflow 3.4 on a clear deletes the task's state, unless it is told not to."""
NEEDS_3_4 = pytest.mark.skipif(INSTALLED < (3, 4), reason="Airflow 3.4 has brought it")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A Telzino whose list shows a call 12 real seconds late."""
    with Sandbox(SPEED, list_lag=LIST_LAG * SPEED) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """An Airflow with a connection to it for each kind of DAG."""
    with running_airflow(tmp_path_factory.mktemp("clears") / "airflow", "placing") as instance:
        instance.add_telzino_connection(sandbox.url)
        instance.add_telzino_connection(sandbox.url, CONN_ID)
        yield instance


def test_a_list_of_contacts_that_changes_before_a_clear(airflow: AirflowInstance, sandbox: Sandbox) -> None:
    """A new contact in front of the others: only this one is called, and each record is its contact's."""
    run = MappedDagRun(airflow, A, B)
    assert run.finish() == "success"

    run.list_contacts(C, A, B)
    state = run.clear("contacts", only_failed=False, include_downstream=True)

    assert state == "success"
    assert [record["to_number"] for record in run.records(3)] == [C, A, B]
    assert run.dialled(sandbox) == [A, B, C]


def test_a_call_that_is_gone_for_good(airflow: AirflowInstance, sandbox: Sandbox) -> None:
    """The way out that docs/placing.md shows: this one task instance dials again, and no other does."""
    run = MappedDagRun(airflow, A, B, C)
    assert run.finish() == "success"
    before = run.records(3)

    with Sandbox(SPEED, seed=2) as elsewhere:
        airflow.api.request(
            "PATCH",
            f"/connections/{CONN_ID}",
            params={"update_mask": ["host"]},
            json={"connection_id": CONN_ID, "conn_type": "telzino", "host": elsewhere.url},
        )
        blocked = run.clear(["place", 1], only_failed=False, **KEEP_STATE)
        states, log = run.states(), run.log(1, 2)
        run.delete_stored("telzino_call", 1)
        state = run.clear(["place", 1], **KEEP_STATE)
        dialled, records = run.dialled(elsewhere), run.records(3)

    assert blocked == "failed"
    assert states == {"place[0]": "success", "place[1]": "failed", "place[2]": "success"}
    assert "the API does not know it" in log
    assert state == "success"
    assert dialled == [B]
    assert [records[0], records[2]] == [before[0], before[2]]
    assert records[1]["to_number"] == B
    assert records[1]["id"] != before[1]["id"]


def test_a_task_that_is_cleared_while_it_dials(airflow: AirflowInstance, sandbox: Sandbox) -> None:
    """Without the DAG run's state, so that Airflow reports it nowhere; 3.4 also deletes what is stored."""
    sandbox.faults.next("POST", "outbound-calls$", delay=60)
    run = PlacingDagRun(airflow, sandbox, "place_once", COMPLETED)
    run.wait(lambda: run.requests("POST"), "the POST")

    run.clear(reset_dag_runs=False)
    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert run.requests("POST") == 1
    assert run.task["try_number"] >= 2


@NEEDS_3_4
def test_the_same_try_again_finds_the_call(airflow: AirflowInstance, sandbox: Sandbox) -> None:
    """Its answer was lost, and the list could not be read. No try counts, and only one call is placed."""
    sandbox.faults.next("POST", "outbound-calls$", status=500, after_commit=True, delay=3)
    run = PlacingDagRun(airflow, sandbox, "place_rescheduled", COMPLETED)
    run.wait(lambda: run.requests("POST"), "the POST")
    sandbox.faults.next("GET", "outbound-calls$", status=403)

    state = run.finish()

    assert state == "success"
    assert "So that nobody is called twice, the task doesn't dial" in run.log(1)
    assert [run.record] == run.calls
    assert run.requests("POST") == 1
    assert run.needed_tries == 1


@NEEDS_3_4
def test_the_same_try_again_continues_to_wait(airflow: AirflowInstance, sandbox: Sandbox) -> None:
    """The wait is shorter than the call; it takes several, all in one try."""
    run = PlacingDagRun(airflow, sandbox, "place_rescheduled", MAGIC_NUMBERS["long_call"])
    run.wait(lambda: run.calls, "the call")
    airflow.wait_until(lambda: "continues to wait for it" in run.log(1), "the first timeout", timeout=60)
    sandbox.finish(run.calls[0]["id"])

    state = run.finish()

    assert state == "success"
    assert [run.record] == run.calls
    assert run.requests("POST") == 1
    assert run.needed_tries == 1


@NEEDS_3_4
def test_each_iteration_of_a_loop_places_its_call(airflow: AirflowInstance, sandbox: Sandbox) -> None:
    """A clear of all iterations calls nobody again."""
    run = PlacingDagRun(airflow, sandbox, "place_in_loop", COMPLETED)
    assert run.finish() == "success"
    before = run.calls

    run.clear("calls.place")
    state = run.finish()

    assert state == "success"
    assert [call["request_metadata"]["airflow"]["loop_index"] for call in before] == [0, 1]
    assert run.calls == before
