"""``make demo`` and ``make ui``: a call through a real Airflow and a sandbox, shown live in the terminal."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from rich.markdown import Markdown

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from devtools.airflow_instance.instance import FINISHED_RUN_STATES
from devtools.stage import EXAMPLES, DemoFailedError, Stage, perform

DAG_ID = "example_telzino_place_call"
PLACING_TASK = "place_call"
CONF: dict[str, object] = {
    "to_number": MAGIC_NUMBERS["completed"],
    "call_context": "You are calling John to confirm his appointment tomorrow at 2pm.",
    "crm_id": "123",
}
"""What the DAG is triggered with."""

SANDBOX_SPEED = 4.0
RUN_TIMEOUT = 120.0


def shortcoming(run_state: str, record: object, call_ids: list[str]) -> str | None:
    """Return what is missing for a success, or None: one call was placed, and XCom has its final record.

    Args:
        run_state: How the DAG run ended.
        record: What the task pushed that placed the call.
        call_ids: The calls that the sandbox has.
    """
    if run_state != "success":
        return f"The DAG run ended as {run_state}."
    if not isinstance(record, dict):
        return f"The {PLACING_TASK} task pushed no record, but this: {record!r}"
    if [record.get("id")] != call_ids:
        return f"The record in XCom is of call {record.get('id')}, but placed were: {', '.join(call_ids)}."
    if record.get("status") != "completed":
        return f"The record in XCom has the status {record.get('status')!r} instead of 'completed'."
    return None


def play(stage: Stage) -> None:
    """Run the DAG and show its result; raise if it doesn't succeed."""
    stage.start_airflow()
    run_id = stage.trigger(DAG_ID, CONF)
    stage.console.print(f"  DAG {DAG_ID}, run {run_id}\n  calls {CONF['to_number']}", highlight=False)

    state = follow(stage, run_id)

    record = stage.pushed(DAG_ID, run_id, PLACING_TASK)
    if isinstance(record, dict):
        show_record(stage, record)
    stage.show_tasks(DAG_ID, run_id)
    if problem := shortcoming(state, record, [call["id"] for call in stage.sandbox.calls]):
        raise DemoFailedError(problem)


def follow(stage: Stage, run_id: str) -> str:
    """Print each status of the call and each state of a task until the DAG run ends; return its state."""
    started = time.monotonic()
    shown: dict[str, str] = {}
    with stage.console.status("The call is in progress ..."):
        while True:
            # First: the last round then shows the tasks as they ended.
            state = stage.airflow.api.run_state(DAG_ID, run_id)
            tasks = stage.airflow.api.task_states(DAG_ID, run_id)
            current = {f"task {name}": task for name, task in tasks.items() if task}
            for call in stage.sandbox.calls:
                current["call"] = call["status"]
            for name, status in current.items():
                if shown.get(name) != status:
                    stage.console.print(f"  {time.monotonic() - started:5.1f} s  {name}: {status}")
            shown = current
            if state in FINISHED_RUN_STATES:
                return state
            stage.pause(started, RUN_TIMEOUT)


def show_record(stage: Stage, record: dict[str, Any]) -> None:
    """Print the final record, and its summary once more as the Markdown that it is."""
    stage.console.rule(f"Final record: XCom return_value of {PLACING_TASK}", align="left")
    stage.console.print_json(data=record)
    stage.console.print(Markdown(record["summary_text"] or ""))


def main() -> int:
    """Run the demo, and return the exit code."""
    parser = argparse.ArgumentParser(prog="devtools.demo", description=__doc__)
    parser.add_argument("--ui", action="store_true", help="leave it running until Ctrl-C")
    parser.add_argument("--dags-folder", type=Path, default=EXAMPLES, help="the DAG files")
    options = parser.parse_args()
    return perform(
        play,
        Sandbox(SANDBOX_SPEED, seed=1),
        dags_folder=options.dags_folder,
        keep_running=DAG_ID if options.ui else None,
    )


if __name__ == "__main__":
    sys.exit(main())
