"""A whole Airflow for an integration test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devtools.airflow_instance import AirflowInstance
from devtools.processes import ProcessFamily
from devtools.servers import postgres_server

DAGS_FOLDER = Path(__file__).resolve().parents[2] / "integration" / "dags"


@contextlib.contextmanager
def running_airflow(
    home: Path, dags: str, *, database: str = "sqlite", **options: Any
) -> Iterator[AirflowInstance]:
    """Run all components of an Airflow until the end of the block.

    Args:
        home: Folder for everything that it writes.
        dags: The folder with its DAG files, below ``tests/integration/dags``.
        database: ``sqlite`` or ``postgresql``.
        options: More arguments of ``AirflowInstance``.
    """
    with contextlib.ExitStack() as stack:
        if database == "postgresql":
            options["family"] = stack.enter_context(ProcessFamily())
            options["sql_alchemy_conn"] = stack.enter_context(postgres_server(options["family"])).url
        airflow = stack.enter_context(AirflowInstance(home, dags_folder=DAGS_FOLDER / dags, **options))
        airflow.start_all()
        yield airflow


def database_url(airflow: AirflowInstance) -> str:
    """Return the address of an Airflow's database, for SQLAlchemy."""
    return airflow.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
