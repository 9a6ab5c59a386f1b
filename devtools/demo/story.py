"""The story of the demo: a sandbox, an Airflow, and a DAG that places a call and waits for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import requests

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS
from devtools.airflow_instance import COMPONENTS, AirflowInstance
from devtools.airflow_instance.instance import FINISHED_RUN_STATES
from devtools.demo.outcome import PLACING_TASK, shortcoming, show_record, show_tasks
from devtools.demo.progress import LiveProgress
from devtools.processes import ROOT
from devtools.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from rich.console import Console

    from devtools.demo.steps import Steps

DAGS_FOLDER = ROOT / "example_dags"
DAG_ID = "example_telzino_place_call"
CONN_ID = "telzino_default"

SANDBOX_SPEED = 4.0
SANDBOX_SEED = 1
RUN_TIMEOUT = 120.0
LOOK_INTERVAL = 0.5

CONF = {
    "to_number": MAGIC_NUMBERS["completed"],
    "call_context": "You are calling John to confirm his appointment tomorrow at 2pm.",
    "crm_id": "123",
}
"""What the DAG is triggered with."""


class DemoFailedError(Exception):
    """The demo came to its end, but not to a success."""


def start_airflow(airflow: AirflowInstance, sandbox: SandboxProcess, steps: Steps) -> None:
    """Bring up a whole Airflow with a connection to the sandbox."""
    with steps.step("Making Airflow's database (SQLite)"):
        airflow.migrate()
    with steps.step(f"Starting {', '.join(COMPONENTS)}, and adding the connection {CONN_ID}"):
        for component in COMPONENTS:
            airflow.start(component)
        airflow.add_connection(CONN_ID, *sandbox.connection_options())
        airflow.wait_until_healthy()
        airflow.wait_for_dag(DAG_ID)


def status_of_the_call(sandbox: SandboxProcess) -> str | None:
    """Return the status of the newest call, or None before there is one."""
    calls = sandbox.newest_calls()
    return str(calls[0]["status"]) if calls else None


def follow_run(airflow: AirflowInstance, sandbox: SandboxProcess, run_id: str, console: Console) -> str:
    """Show call and tasks until the DAG run has finished, and return its state."""
    deadline = time.monotonic() + RUN_TIMEOUT
    progress = LiveProgress(console, lambda: status_of_the_call(sandbox))
    with progress.shown():
        while True:
            state = str(airflow.api.dag_run(DAG_ID, run_id)["state"])
            # After the state: so that the last look shows the tasks as they ended.
            progress.see_tasks(airflow.api.task_states(DAG_ID, run_id))
            if state in FINISHED_RUN_STATES:
                return state
            airflow.family.check()
            if time.monotonic() > deadline:
                raise DemoFailedError(f"The DAG run did not finish within {RUN_TIMEOUT:.0f} s.")
            time.sleep(LOOK_INTERVAL)


def final_record(airflow: AirflowInstance, run_id: str) -> object:
    """Return what the task pushed that places the call, or None."""
    try:
        record: object = airflow.api.xcom(DAG_ID, run_id, PLACING_TASK)
    except requests.HTTPError:
        return None
    return record


def play(airflow: AirflowInstance, steps: Steps) -> SandboxProcess:
    """Play the whole story; raise if it doesn't end well. Sandbox and Airflow run on."""
    console = steps.console
    with steps.step("Starting the Telzino sandbox"):
        sandbox = SandboxProcess(airflow.family, airflow.home, speed=SANDBOX_SPEED, seed=SANDBOX_SEED)
    start_airflow(airflow, sandbox, steps)
    with steps.step("Triggering the DAG"):
        run_id = airflow.api.trigger(DAG_ID, CONF)
    console.print(f"  DAG {DAG_ID}, run {run_id}\n  calls {CONF['to_number']}", highlight=False)

    state = follow_run(airflow, sandbox, run_id, console)

    record = final_record(airflow, run_id)
    if isinstance(record, dict):
        show_record(console, record)
    show_tasks(console, airflow.api.task_instances(DAG_ID, run_id))
    if problem := shortcoming(state, record, [call["id"] for call in sandbox.newest_calls()]):
        raise DemoFailedError(problem)
    return sandbox
