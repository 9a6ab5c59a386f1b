"""One Airflow for each database, shared by the tests that only look at what became of a DAG run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_telzino.sandbox import Sandbox
from devtools.airflow_instance import AirflowInstance
from devtools.processes import ProcessFamily
from devtools.servers import PostgresServer
from tests.integration.finished_run import ACCESS_TOKEN, CLIENT_SECRET, FinishedRun
from tests.integration.leaks import Watcher
from tests.integration.metrics import MetricsServer
from tests.integration.stage import DAGS_FOLDER
from tests.support.programs import needs

MAPPED_WAITS = 50


@pytest.fixture(
    scope="session",
    params=[
        # Not in `make test`: on a busy machine Airflow 3.3.2 may take a task that resumes soon for dead.
        pytest.param("sqlite", marks=[pytest.mark.integration, pytest.mark.xdist_group("end to end")]),
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
    home: Path = tmp_path_factory.mktemp(request.param) / "airflow"
    family = ProcessFamily()
    with contextlib.ExitStack() as stack:
        stack.callback(family.stop)
        database = None
        if request.param == "postgresql":
            database = stack.enter_context(PostgresServer(family)).url
        # In this process, so that the tests lead its calls; they stay as they are meanwhile.
        sandbox = stack.enter_context(Sandbox(client_secret=CLIENT_SECRET, access_token=ACCESS_TOKEN))
        metrics = stack.enter_context(MetricsServer())
        airflow = stack.enter_context(
            AirflowInstance(
                home,
                dags_folder=DAGS_FOLDER / "end_to_end",
                sql_alchemy_conn=database,
                family=family,
                extra_env=metrics.settings,
            )
        )
        airflow.migrate()
        airflow.start_all()
        airflow.wait_until_healthy()
        url = database or airflow.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
        watcher = Watcher(url, airflow.env["AIRFLOW__CORE__FERNET_KEY"])
        stack.callback(watcher.close)
        run = FinishedRun(airflow, sandbox, watcher, metrics)
        run.play(MAPPED_WAITS)
        yield run
