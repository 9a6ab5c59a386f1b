"""The stage of every integration test: a sandbox, and a real Airflow with a connection to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devtools.airflow_instance import AirflowInstance
from devtools.processes import ProcessFamily
from devtools.sandbox_process import SandboxProcess

DAGS_FOLDER = Path(__file__).parent / "dags"
CONN_ID = "telzino_default"


@contextlib.contextmanager
def stage(
    home: Path, *, speed: float, dags_folder: Path = DAGS_FOLDER, **airflow_options: Any
) -> Iterator[tuple[AirflowInstance, SandboxProcess]]:
    """Start a sandbox and all of an Airflow, wait until they're ready, and stop them at the end.

    Args:
        home: Folder for everything that they write.
        speed: How many times faster than real calls the sandbox's calls go.
        dags_folder: Folder with the DAG files.
        airflow_options: For ``AirflowInstance``, such as ``sql_alchemy_conn`` and ``executor``; ``family`` is
            what else shall end with it.
    """
    family = airflow_options.pop("family", None) or ProcessFamily()
    with AirflowInstance(home, dags_folder=dags_folder, family=family, **airflow_options) as airflow:
        sandbox = SandboxProcess(family, airflow.home, speed=speed, seed=1)
        airflow.migrate()
        airflow.add_connection(CONN_ID, *sandbox.connection_options())
        airflow.start_all()
        airflow.wait_until_healthy()
        yield airflow, sandbox
