"""A DAG run that calls each contact of a list with a task of its own, on a whole Airflow."""

from __future__ import annotations

import json
from typing import Any

import requests

from airflow_provider_telzino.sandbox import Sandbox
from devtools.airflow_instance import AirflowInstance

DAG_ID = "place_mapped"
CONN_ID = "telzino_mapped"
TASK = "place"
RUN_TIMEOUT = 240.0


class MappedDagRun:
    """A run of the DAG, which can be cleared in whole or in part."""

    def __init__(self, airflow: AirflowInstance, *contacts: str) -> None:
        self.airflow = airflow
        self.list_contacts(*contacts)
        airflow.wait_for_dag(DAG_ID)
        self.run_id = airflow.api.trigger(DAG_ID)

    def list_contacts(self, *numbers: str) -> None:
        """Change the list of contacts, which the DAG reads from a variable."""
        body = {"key": "contacts", "value": json.dumps(numbers)}
        try:
            self.airflow.api.request("PATCH", "/variables/contacts", json=body)
        except requests.HTTPError:  # there is none yet
            self.airflow.api.request("POST", "/variables", json=body)

    def finish(self) -> str:
        """Wait for the end of the run and return its state."""
        return self.airflow.wait_for_run(DAG_ID, self.run_id, RUN_TIMEOUT)

    def clear(self, task: str | list[Any], **options: Any) -> str:
        """Clear a task, or one of its instances (``[task id, map index]``); return the run's state after it.

        Args:
            task: What to clear.
            options: More of Airflow's own, such as ``only_failed``, without which it clears nothing else.
        """
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": [task]}
        self.airflow.api.request("POST", f"/dags/{DAG_ID}/clearTaskInstances", json=body | options)
        return self.finish()

    def delete_stored(self, key: str, map_index: int) -> None:
        """Delete an entry of a task instance's state."""
        path = f"/dags/{DAG_ID}/dagRuns/{self.run_id}/taskInstances/{TASK}/state-store/{key}"
        self.airflow.api.request("DELETE", path, params={"map_index": map_index})

    def records(self, count: int) -> list[dict[str, Any]]:
        """Return what the task's instances have pushed."""
        api = self.airflow.api
        return [api.xcom(DAG_ID, self.run_id, TASK, map_index=index) for index in range(count)]

    def states(self) -> dict[str, str | None]:
        """Return the states of the task's instances."""
        states = self.airflow.api.task_states(DAG_ID, self.run_id)
        return {name: state for name, state in states.items() if name.startswith(TASK)}

    def log(self, map_index: int, try_number: int) -> str:
        """Return the log of a task instance."""
        return self.airflow.api.log(DAG_ID, self.run_id, TASK, try_number, map_index)

    def dialled(self, sandbox: Sandbox) -> list[str]:
        """Return the numbers that this run has called at a Telzino."""
        calls = sandbox.calls
        return sorted(
            call["to_number"]
            for call in calls
            if call["request_metadata"]["airflow"]["run_id"] == self.run_id
        )
