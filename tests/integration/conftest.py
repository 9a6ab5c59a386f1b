"""One Airflow for each database, shared by the tests that only read the outcome of one DAG run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from tests.support.integration.finished_run import ACCESS_TOKEN, CLIENT_SECRET, FinishedRun
from tests.support.integration.leaks import Watcher
from tests.support.integration.metrics_server import metrics_server
from tests.support.integration.running_airflow import database_url, running_airflow
from tests.support.programs import needs

MAPPED_WAITS = 50


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(
            "sqlite",
            marks=[pytest.mark.integration, pytest.mark.nightly, pytest.mark.xdist_group("end to end")],
        ),
        pytest.param(
            "postgresql",
            marks=[
                pytest.mark.integration,
                pytest.mark.xdist_group("end to end on PostgreSQL"),
                needs("initdb", "postgres"),
            ],
        ),
    ],
)
def finished_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FinishedRun]:
    """The DAG run, on SQLite and on PostgreSQL."""
    database = request.param
    home = tmp_path_factory.mktemp(database) / "airflow"
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(client_secret=CLIENT_SECRET, access_token=ACCESS_TOKEN))
        metrics = stack.enter_context(metrics_server())
        airflow = stack.enter_context(
            running_airflow(home, "end_to_end", database=database, extra_env=metrics.settings)
        )
        watcher = Watcher(database_url(airflow), airflow.env["AIRFLOW__CORE__FERNET_KEY"])
        stack.callback(watcher.close)
        run = FinishedRun(airflow, sandbox, watcher, metrics)
        run.play(MAPPED_WAITS)
        yield run
