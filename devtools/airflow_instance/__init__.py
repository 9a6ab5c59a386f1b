"""A disposable Airflow: real components as child processes, in a folder and on ports of its own.

    with AirflowInstance(home=tmp_path, dags_folder=dags) as airflow:
        airflow.start_all()
        run_id = airflow.api.trigger("my_dag", {"call_id": "..."})
        airflow.process("triggerer").kill()  # a crash, with kill -9
        airflow.start("triggerer")
        airflow.wait_for_run("my_dag", run_id, timeout=60)

The demo, a benchmark and the tests that need a real Airflow use it. Whatever was started is stopped when
the block ends, and also when this process is killed.
"""

from __future__ import annotations

from devtools.airflow_instance.instance import COMPONENTS, AirflowInstance
from devtools.airflow_instance.rest_client import AirflowApi

__all__ = ["COMPONENTS", "AirflowApi", "AirflowInstance"]
