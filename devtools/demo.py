"""``make demo`` and ``make ui``: a call through a real Airflow and a sandbox, shown live in the terminal.

Leaves nothing behind: not on success, not on failure, not on Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from devtools.airflow_instance import COMPONENTS, AirflowInstance
from devtools.airflow_instance.instance import FINISHED_RUN_STATES
from devtools.processes import ROOT, ProcessDiedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

WORK = ROOT / ".work"
FAILED_LOGS = WORK / "demo-failed-logs"

DAG_ID = "example_telzino_place_call"
PLACING_TASK = "place_call"
CONF = {
    "to_number": MAGIC_NUMBERS["completed"],
    "call_context": "You are calling John to confirm his appointment tomorrow at 2pm.",
    "crm_id": "123",
}
"""What the DAG is triggered with."""

SANDBOX_SPEED = 4.0
RUN_TIMEOUT = 120.0
POLL_INTERVAL = 0.2

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TROUBLE = re.compile(
    r"\[(error|critical) *\]|^\S* ?(error|critical):|Error\b|Exception\b|\blocked\b|\brefused\b"
)
"""Marks a log line as worth showing after a failure: its level, or an exception's name in it."""
MAX_LINES = 15
MAX_LINE_LENGTH = 300


class DemoFailedError(Exception):
    """The demo ran to its end, but without success."""


FAILURES = (DemoFailedError, ProcessDiedError, TimeoutError, RuntimeError, requests.RequestException)


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


class Demo:
    """One run of the demo, whose Airflow writes to ``home``."""

    def __init__(self, airflow: AirflowInstance, sandbox: Sandbox, console: Console) -> None:
        self.airflow = airflow
        self.sandbox = sandbox
        self.console = console

    def run(self) -> None:
        """Start Airflow, run the DAG and show its result; raise if it doesn't succeed."""
        with self._step(f"Starting Airflow: {', '.join(COMPONENTS)}"):
            self.airflow.start_all()
        with self._step("Adding the connection telzino_default, and triggering the DAG"):
            self.airflow.add_telzino_connection(self.sandbox.url)
            self.airflow.wait_for_dag(DAG_ID)
            run_id = self.airflow.api.trigger(DAG_ID, CONF)
        self.console.print(f"  DAG {DAG_ID}, run {run_id}\n  calls {CONF['to_number']}", highlight=False)

        state = self._follow(run_id)

        record = self._pushed_record(run_id)
        if isinstance(record, dict):
            self._show_record(record)
        self._show_tasks(run_id)
        if problem := shortcoming(state, record, [call["id"] for call in self.sandbox.calls]):
            raise DemoFailedError(problem)

    def keep_running(self) -> None:
        """Print where everything is, and keep it running until Ctrl-C."""
        airflow = self.airflow
        text = (
            f"Airflow    {airflow.base_url}/dags/{DAG_ID}\n"
            f"  user     {airflow.username}\n"
            f"  password {airflow.password}\n"
            f"Sandbox    {self.sandbox.url}/\n"
            f"Logs       {airflow.home.relative_to(ROOT)}/logs\n\n"
            "Ctrl-C stops it all."
        )
        panel = Panel(text, title="Running", title_align="left", expand=False)
        self.console.print(panel, highlight=False, soft_wrap=True)
        with contextlib.suppress(SystemExit):  # Ctrl-C is the normal way to end it, not a failure.
            while True:
                airflow.family.check()
                time.sleep(1)

    @contextlib.contextmanager
    def _step(self, title: str) -> Iterator[None]:
        """Show that a step runs, and its duration when it has ended."""
        if not self.console.is_terminal:
            self.console.print(f"  {title} ...")
        started, mark = time.monotonic(), "[red]✗[/]"
        try:
            with self.console.status(f"{title} ..."):
                yield
            mark = "[green]✓[/]"
        finally:
            self.console.print(f"{mark} {title} [dim]({time.monotonic() - started:.1f} s)[/]")

    def _follow(self, run_id: str) -> str:
        """Print each status of the call and each state of a task until the DAG run ends; return its state."""
        started = time.monotonic()
        shown: dict[str, str] = {}
        with self.console.status("The call is in progress ..."):
            while True:
                # First: the last round then shows the tasks as they ended.
                state = self.airflow.api.run_state(DAG_ID, run_id)
                tasks = self.airflow.api.task_states(DAG_ID, run_id)
                current = {f"task {name}": task for name, task in tasks.items() if task}
                for call in self.sandbox.calls:
                    current["call"] = call["status"]
                seconds = time.monotonic() - started
                for name, status in current.items():
                    if shown.get(name) != status:
                        self.console.print(f"  {seconds:5.1f} s  {name}: {status}")
                shown = current
                if state in FINISHED_RUN_STATES:
                    return state
                self.airflow.family.check()
                if seconds > RUN_TIMEOUT:
                    raise DemoFailedError(f"The DAG run did not finish within {RUN_TIMEOUT:.0f} s.")
                time.sleep(POLL_INTERVAL)

    def _pushed_record(self, run_id: str) -> object:
        """Return what the task pushed that places the call, or None."""
        with contextlib.suppress(requests.HTTPError):
            record: object = self.airflow.api.xcom(DAG_ID, run_id, PLACING_TASK)
            return record
        return None

    def _show_record(self, record: dict[str, Any]) -> None:
        """Print the final record, and its summary once more as the Markdown that it is."""
        self.console.rule(f"Final record: XCom return_value of {PLACING_TASK}", align="left")
        self.console.print_json(data=record)
        self.console.print(Markdown(record["summary_text"] or ""))

    def _show_tasks(self, run_id: str) -> None:
        """Print the final state of every task of the run."""
        title = "Tasks of the DAG run"
        table = Table("Task", "Operator", "State", "Tries", "Duration", title=title, title_justify="left")
        for task in self.airflow.api.task_instances(DAG_ID, run_id):
            duration = "" if task["duration"] is None else f"{task['duration']:.1f} s"
            tries = str(task["try_number"])
            table.add_row(task["task_id"], task["operator_name"], task["state"], tries, duration)
        self.console.print(table)


def explain(error: BaseException, logs: Path, console: Console) -> None:
    """Print the error and the log lines that may explain it, and keep the logs."""
    for path in sorted(logs.rglob("*.log")):
        lines = [line for line in path.read_text(errors="replace").splitlines() if TROUBLE.search(line)]
        if lines:
            console.rule(escape(str(path.relative_to(logs))), align="left")
            shown = "\n".join(line[:MAX_LINE_LENGTH] for line in lines[-MAX_LINES:])
            console.print(shown, markup=False, highlight=False, soft_wrap=True)
    shutil.rmtree(FAILED_LOGS, ignore_errors=True)
    shutil.copytree(logs, FAILED_LOGS)
    console.rule()
    console.print(f"[red]Failed:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    console.print(f"All logs: {FAILED_LOGS.relative_to(ROOT)}", highlight=False)


def ignore_signals() -> None:
    """Let nothing interrupt the clean-up, which is short."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop(number: int, _frame: FrameType | None) -> None:
    """End at the first signal, with the exit code of an interrupted program; further ones change nothing."""
    ignore_signals()
    raise SystemExit(128 + number)


def main() -> int:
    """Run the demo, and return the exit code."""
    parser = argparse.ArgumentParser(prog="devtools.demo", description=__doc__)
    parser.add_argument("--ui", action="store_true", help="leave it running until Ctrl-C")
    parser.add_argument("--dags-folder", type=Path, default=ROOT / "example_dags", help="the DAG files")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    started = time.monotonic()
    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    WORK.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix=f"demo-{os.getpid()}-", dir=WORK))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        airflow = stack.enter_context(AirflowInstance(home, dags_folder=options.dags_folder))
        sandbox = stack.enter_context(Sandbox(SANDBOX_SPEED, seed=1))
        stack.callback(ignore_signals)
        demo = Demo(airflow, sandbox, console)
        try:
            demo.run()
            console.print(f"[green]✓[/] The demo succeeded in {time.monotonic() - started:.0f} s.")
            if options.ui:
                demo.keep_running()
        except SystemExit:
            console.print("\nInterrupted. Stopping everything ...")
            raise
        except FAILURES as error:
            explain(error, home / "logs", console)
            return 1
    if options.ui:
        console.print("\nStopped: nothing is left running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
