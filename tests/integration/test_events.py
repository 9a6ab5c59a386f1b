"""Watchers of ended calls on a whole Airflow: events, DAG runs, restarts of the triggerer, shared polls."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from airflow_provider_telzino.sandbox import CLIENT_SECRET, MAGIC_NUMBERS, Sandbox
from devtools.airflow_instance import AirflowInstance
from tests.conftest import ReportCount
from tests.support.installed_airflow import INSTALLED
from tests.support.integration.watcher_dags import EXAMPLE, INTERVAL, WATCHERS, write_dags

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("events")]

ASSET = "telzino_ended_calls"
TIMEOUT = 300.0
ROUNDS = 3  # of calls, with a restart of the triggerer in between
CALLS = 5  # in a round
POLLS = 10


class Watched:
    """An Airflow whose assets watch the calls of a sandbox."""

    def __init__(self, airflow: AirflowInstance, sandbox: Sandbox) -> None:
        self.airflow = airflow
        self.sandbox = sandbox

    def events(self) -> Counter[str]:
        """Count the events of the example's asset, by call."""
        (asset,) = [each for each in self._get("/assets", "assets") if each["name"] == ASSET]
        events = self._get("/assets/events", "asset_events", asset_id=asset["id"])
        return Counter(event["extra"]["payload"]["call_id"] for event in events)

    def assets_with_events(self) -> int:
        """Count the assets that have had an event."""
        return len({event["asset_id"] for event in self._get("/assets/events", "asset_events")})

    def handled(self) -> Counter[str]:
        """Count by call how often the example has worked with it."""
        counts: Counter[str] = Counter()
        for run in self._get(f"/dags/{EXAMPLE}/dagRuns", "dag_runs"):
            for task in self.airflow.api.task_instances(EXAMPLE, run["dag_run_id"]):
                if task["task_id"] == "handle" and task["state"] == "success":
                    where = EXAMPLE, run["dag_run_id"], "handle"
                    result = self.airflow.api.xcom(*where, map_index=task["map_index"])
                    counts[result["call_id"]] += 1
        return counts

    def wait_for_events(self, calls: set[str]) -> Counter[str]:
        """Wait until there is an event for each of these calls; return all events."""
        found: Counter[str] = Counter()

        def all_have_events() -> bool:
            # Airflow 3.3.2 can't list events while a DAG run of theirs is queued.
            with contextlib.suppress(requests.HTTPError):
                found.update(self.events() - found)
            return calls <= set(found)

        self.airflow.wait_until(all_have_events, "an event for each call", TIMEOUT)
        return found

    def _get(self, path: str, name: str, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = {"limit": 100, "offset": len(found), **params}
            answer = self.airflow.api.request("GET", path, params=page)
            found += answer[name]
            if not answer[name] or len(found) >= answer["total_entries"]:
                return found


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Ten DAG files with a watcher each, in an Airflow that runs."""
    home = tmp_path_factory.mktemp("events")
    write_dags(home / "dags")
    with (
        Sandbox() as sandbox,
        AirflowInstance(home / "airflow", dags_folder=home / "dags") as airflow,
    ):
        airflow.start_all()
        airflow.add_telzino_connection(sandbox.url)
        for dag_id in (EXAMPLE, *(f"watcher_{number}" for number in range(1, WATCHERS))):
            airflow.wait_for_dag(dag_id, TIMEOUT)
        airflow.wait_until(lambda: sandbox.requests, "the first poll", TIMEOUT)
        yield Watched(airflow, sandbox)


def test_each_call_that_ends_is_handled(watched: Watched, report_count: ReportCount) -> None:
    """Also those that end while the triggerer is dead; duplicates come from restarts only."""
    sandbox, airflow = watched.sandbox, watched.airflow
    ended: set[str] = set()
    for _ in range(ROUNDS):
        live = [sandbox.add_call("in_progress")["id"] for _ in range(CALLS)]
        time.sleep(3 * INTERVAL)
        for call_id in live[:-2]:
            sandbox.finish(call_id, "completed")
        ended.update(live[:-2])
        watched.wait_for_events(ended)
        airflow.process("triggerer").kill_tree()
        for call_id in live[-2:]:
            sandbox.finish(call_id, "no_answer")
        ended.update(live[-2:])
        short = sandbox.place(MAGIC_NUMBERS["completed"])["id"]
        sandbox.finish(short, "failed")
        ended.add(short)
        airflow.start("triggerer")
        watched.wait_for_events(ended)
    airflow.wait_until(lambda: ended <= set(watched.handled()), "each call was handled", TIMEOUT)

    handled = set(watched.handled())
    events = watched.wait_for_events(ended)
    report_count(
        f"{len(ended)} ended calls, {ROUNDS} kills of the triggerer: "
        f"{len(set(events) & ended)} with an event, {events.total() - len(events)} events twice, "
        f"{len(handled & ended)} handled"
    )
    assert set(events) == handled == ended
    assert all(count <= 1 + ROUNDS for count in events.values())


def test_no_personal_data(watched: Watched) -> None:
    """Neither in logs nor in events."""
    logs = watched.airflow.home / "logs"
    written = "".join(path.read_text(errors="replace") for path in logs.rglob("*.log"))
    call = watched.sandbox.calls[0]

    assert call["id"] in written
    for private in (call["to_number"], CLIENT_SECRET):
        assert private not in written


@pytest.mark.skipif(INSTALLED < (3, 3), reason="watchers share their polls from Airflow 3.3 on")
def test_ten_watchers_share_one_poll(watched: Watched, report_count: ReportCount) -> None:
    """In ten DAG files: one list page in each interval, and events for all ten assets."""

    def all_have_events() -> bool:
        with contextlib.suppress(requests.HTTPError):
            return watched.assets_with_events() == WATCHERS
        return False

    def pages() -> int:
        # The example's tasks get single records.
        return sum(request.path.endswith("/outbound-calls") for request in list(watched.sandbox.requests))

    watched.sandbox.finish(watched.sandbox.place()["id"], "busy")
    watched.airflow.wait_until(all_have_events, "events for all assets", TIMEOUT)
    watched.sandbox.requests.clear()
    began = time.monotonic()
    watched.airflow.wait_until(lambda: pages() >= POLLS, "polls", TIMEOUT)
    passed = time.monotonic() - began

    report_count(f"{WATCHERS} watchers, each {INTERVAL:g} s: {POLLS} list pages in {passed:.0f} s")
    assert passed >= (POLLS - 2) * INTERVAL * 0.9
