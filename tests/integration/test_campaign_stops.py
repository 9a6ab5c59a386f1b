"""A person clears, marks or pauses a campaign on a whole Airflow while it dials."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from airflow_provider_telzino.placing.campaign import LIST_LAG
from airflow_provider_telzino.placing.wave import CONFIRMED_FOR, MAX_SEND_DELAY
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sandbox.lifecycle import Outcome
from devtools.airflow_instance import AirflowInstance
from tests.conftest import ReportCount
from tests.integration.dags.campaign_stops.campaign_stops import WAVE
from tests.support.decided_outcomes import decide_outcomes
from tests.support.integration.running_airflow import running_airflow
from tests.support.placing_runs import NEEDS_TASK_STATE

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("campaign stops")]

TASK = "campaign"
CONTACTS = 60
LATENCY = 0.8  # seconds for each of four requests at a time: to call all contacts takes 12 s
QUICK = Outcome("completed", queued=(0.1, 0.5), ringing=(0.5, 1.0), talking=(1.0, 3.0))
RUN_TIMEOUT = 240.0
MOST_LATE = CONFIRMED_FOR + MAX_SEND_DELAY
"""By how many seconds a POST may follow a stop: its confirmation by Airflow may be so old."""
ALSO_SUCCESS, ALSO_FAILED = (
    pytest.param(state, marks=pytest.mark.nightly) for state in ("success", "failed")
)
"""Marks that are tried each night only, since another test has tried them."""
WATCHED_FOR = LIST_LAG.total_seconds() + 10  # seconds in which a campaign that isn't stopped would dial again


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A Telzino whose calls are short."""
    with pytest.MonkeyPatch.context() as patched, Sandbox() as running:
        decide_outcomes(patched, lambda *_: QUICK)
        yield running


@pytest.fixture(scope="module")
def airflow(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """An Airflow with a connection to it."""
    with running_airflow(tmp_path_factory.mktemp("stops") / "airflow", "campaign_stops") as instance:
        instance.add_telzino_connection(sandbox.url)
        yield instance


class CampaignRun:
    """A run of one of the DAGs, and the calls that it has placed."""

    started = 0

    def __init__(self, airflow: AirflowInstance, sandbox: Sandbox, dag_id: str, contacts: int) -> None:
        type(self).started += 1
        self.airflow = airflow
        self.sandbox = sandbox
        self.dag_id = dag_id
        self.numbers = [f"+1813{self.started:03d}{contact:04d}" for contact in range(contacts)]
        airflow.wait_for_dag(dag_id)
        self.run_id = airflow.api.trigger(dag_id, {"numbers": self.numbers})

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The run's calls, oldest first."""
        return [call for call in self.sandbox.calls if call["to_number"] in self.numbers]

    @property
    def state(self) -> str | None:
        """The state of its task."""
        return self.airflow.api.task_states(self.dag_id, self.run_id)[TASK]

    def wait(self, ready: Callable[[], object], what: str) -> None:
        """Wait for a condition."""
        self.airflow.family.wait_until(ready, what, 90, interval=0.05)

    def wait_until_it_dials(self, calls: int = 12) -> None:
        """Wait until so many calls are placed."""
        self.wait(lambda: len(self.calls) >= calls, f"{calls} calls")

    def clear(self) -> datetime:
        """Clear the task; return when Airflow has confirmed that."""
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": [TASK], "only_failed": False}
        self.airflow.api.request("POST", f"/dags/{self.dag_id}/clearTaskInstances", json=body)
        return datetime.now(timezone.utc)

    def mark(self, state: str) -> datetime:
        """Mark the task; return when Airflow has confirmed that."""
        path = f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{TASK}"
        self.airflow.api.request("PATCH", path, json={"new_state": state})
        return datetime.now(timezone.utc)

    def pause(self, is_paused: bool) -> None:
        """Pause the DAG, or let it continue."""
        self.airflow.api.request("PATCH", f"/dags/{self.dag_id}", json={"is_paused": is_paused})

    def late(self, stopped_at: datetime, until: datetime) -> list[float]:
        """Return by how many seconds calls were placed after a stop, up to a time."""
        placed = [datetime.fromisoformat(call["created_at"]) for call in self.calls]
        return [(at - stopped_at).total_seconds() for at in placed if stopped_at < at < until]

    def finish(self) -> list[dict[str, Any]]:
        """Wait for the end of the run; return the results."""
        assert self.airflow.wait_for_run(self.dag_id, self.run_id, RUN_TIMEOUT) == "success"
        results: list[dict[str, Any]] = self.airflow.api.xcom(self.dag_id, self.run_id, TASK)
        return results

    def assert_each_is_called_once(self) -> None:
        """Check the calls, and the results at the end of the run."""
        results = self.finish()
        assert Counter(call["to_number"] for call in self.calls) == Counter(self.numbers)
        by_number = {call["to_number"]: call for call in self.calls}
        assert {each["contact"]: each["record"] for each in results} == by_number
        assert {each["outcome"] for each in results} == {"completed"}


@pytest.fixture
def slow(sandbox: Sandbox) -> Iterator[None]:
    """Make the Telzino slow."""
    sandbox.faults.latency = (LATENCY, LATENCY)
    yield
    sandbox.faults.latency = (0.0, 0.0)


@NEEDS_TASK_STATE
def test_no_call_follows_a_clear_until_the_campaign_continues(
    airflow: AirflowInstance, sandbox: Sandbox, slow: None, report_count: ReportCount
) -> None:
    """The process that dialled places no more; the next one calls the others, and nobody twice."""
    run = CampaignRun(airflow, sandbox, "all_at_once", CONTACTS)
    run.wait_until_it_dials()

    stopped_at = run.clear()
    placed = len(run.calls)
    time.sleep(LIST_LAG.total_seconds() - 2)  # the next process does not dial before

    late = run.late(stopped_at, datetime.now(timezone.utc))
    report_count(f"a clear after {placed} of {CONTACTS} calls: {len(late)} were placed after it: {late}")
    assert [each for each in late if each > MOST_LATE] == []
    assert placed + len(late) < CONTACTS
    run.assert_each_is_called_once()


@NEEDS_TASK_STATE
@pytest.mark.parametrize("state", ["success", ALSO_FAILED])
def test_no_call_follows_a_mark(
    airflow: AirflowInstance, sandbox: Sandbox, slow: None, state: str, report_count: ReportCount
) -> None:
    """A campaign that was marked no longer dials; if it is cleared, it continues, and calls nobody twice."""
    run = CampaignRun(airflow, sandbox, "all_at_once", CONTACTS)
    run.wait_until_it_dials()

    stopped_at = run.mark(state)
    placed = len(run.calls)
    time.sleep(WATCHED_FOR)

    late = run.late(stopped_at, datetime.now(timezone.utc))
    report_count(f"{state} after {placed} of {CONTACTS} calls: {len(late)} were placed after it: {late}")
    assert [each for each in late if each > MOST_LATE] == []
    assert placed + len(late) < CONTACTS
    assert run.state == state
    run.clear()
    run.assert_each_is_called_once()


@pytest.mark.parametrize("state", ["failed", ALSO_SUCCESS])
def test_a_deferred_campaign_that_is_marked_dials_no_new_wave(
    airflow: AirflowInstance, sandbox: Sandbox, state: str
) -> None:
    """Its trigger ends; if the task is cleared, it continues, and calls nobody twice."""
    run = CampaignRun(airflow, sandbox, "in_waves", 2 * WAVE)
    run.wait(lambda: run.state == "deferred", "the deferral")

    run.mark(state)
    time.sleep(WATCHED_FOR)

    assert len(run.calls) == WAVE
    assert run.state == state
    run.clear()
    run.assert_each_is_called_once()


def test_a_paused_campaign_dials_no_new_wave(airflow: AirflowInstance, sandbox: Sandbox) -> None:
    """Until its DAG is unpaused."""
    run = CampaignRun(airflow, sandbox, "in_waves", 2 * WAVE)
    run.wait(lambda: run.state == "deferred", "the deferral")

    run.pause(True)
    time.sleep(WATCHED_FOR)

    assert len(run.calls) == WAVE
    run.pause(False)
    run.assert_each_is_called_once()


def test_a_cleared_campaign_redials_nobody_whose_outcome_is_known(
    airflow: AirflowInstance, sandbox: Sandbox
) -> None:
    """All calls of the first wave have ended; the clear comes while the task is deferred."""
    run = CampaignRun(airflow, sandbox, "in_waves", 2 * WAVE)
    run.wait(lambda: run.state == "deferred", "the deferral")
    run.wait(lambda: all(call["ended_at"] for call in run.calls), "the end of all calls")

    run.clear()

    run.assert_each_is_called_once()
