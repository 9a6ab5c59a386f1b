"""A task that does nothing."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import BaseOperator

from benchmarks.dag_calls import placing_dags_of


class EmptyTask(BaseOperator):
    """Does nothing, on a worker: Airflow's own ``EmptyOperator`` never gets there."""

    def execute(self, context: object) -> None:
        """Do nothing."""


for _ in placing_dags_of("empty"):
    EmptyTask(task_id="call")
