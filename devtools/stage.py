"""Where a demo runs: a real Airflow beside a sandbox, shown in the terminal.

It leaves nothing behind: not on success, not on failure, not on Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from devtools.airflow_instance import COMPONENTS, AirflowInstance
from devtools.processes import ROOT, ProcessDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from airflow_provider_telzino.sandbox import Sandbox

WORK = ROOT / ".work"
FAILED_LOGS = WORK / "demo-failed-logs"
EXAMPLES = ROOT / "example_dags"

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


class Stage:
    """What a demo has: a sandbox, an Airflow that writes to a home of its own, and a terminal."""

    def __init__(self, airflow: AirflowInstance, sandbox: Sandbox, console: Console) -> None:
        self.airflow = airflow
        self.sandbox = sandbox
        self.console = console

    def start_airflow(self) -> None:
        """Start all components of Airflow."""
        with self.step(f"Starting Airflow: {', '.join(COMPONENTS)}"):
            self.airflow.start_all()

    def trigger(self, dag_id: str, conf: dict[str, object] | None = None, run_id: str | None = None) -> str:
        """Connect Airflow to the sandbox, and start a DAG run; return its id."""
        with self.step("Adding the connection telzino_default, and triggering the DAG"):
            self.airflow.add_telzino_connection(self.sandbox.url)
            self.airflow.wait_for_dag(dag_id)
            return self.airflow.api.trigger(dag_id, conf, run_id)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
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

    def pause(self, since: float, timeout: float, interval: float = POLL_INTERVAL) -> None:
        """Wait before the demo reads its DAG run again.

        Args:
            since: When the run was started (``time.monotonic``).
            timeout: Seconds after which the demo gives it up.
            interval: Seconds to wait.
        """
        self.airflow.family.check()
        if time.monotonic() - since > timeout:
            raise DemoFailedError(f"The DAG run did not finish within {timeout:.0f} s.")
        time.sleep(interval)

    def pushed(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> object:
        """Return what a task has pushed, or None."""
        with contextlib.suppress(requests.HTTPError):
            value: object = self.airflow.api.xcom(dag_id, run_id, task_id, key)
            return value
        return None

    def show_tasks(self, dag_id: str, run_id: str) -> None:
        """Print the final state of every task of a run."""
        title = "Tasks of the DAG run"
        table = Table("Task", "Operator", "State", "Tries", "Duration", title=title, title_justify="left")
        for task in self.airflow.api.task_instances(dag_id, run_id):
            duration = "" if task["duration"] is None else f"{task['duration']:.1f} s"
            tries = str(task["try_number"])
            table.add_row(task["task_id"], task["operator_name"], task["state"], tries, duration)
        self.console.print(table)

    def keep_running(self, dag_id: str) -> None:
        """Print where everything is, and keep it running until Ctrl-C."""
        airflow = self.airflow
        text = (
            f"Airflow    {airflow.base_url}/dags/{dag_id}\n"
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


def perform(
    play: Callable[[Stage], None],
    sandbox: Sandbox,
    *,
    dags_folder: Path | None = None,
    keep_running: str | None = None,
) -> int:
    """Run a demo, and return the exit code.

    Args:
        play: The demo. It raises one of ``FAILURES`` if it doesn't succeed.
        sandbox: Its sandbox, which is started and stopped here.
        dags_folder: The folder with its DAG files; by default ``dags`` in Airflow's home, which it fills.
        keep_running: The DAG to be shown in Airflow's web interface until Ctrl-C; ``None`` stops it all.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    started = time.monotonic()
    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    WORK.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix=f"demo-{os.getpid()}-", dir=WORK))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        airflow = stack.enter_context(AirflowInstance(home, dags_folder=dags_folder or home / "dags"))
        stack.enter_context(sandbox)
        stack.callback(ignore_signals)
        stage = Stage(airflow, sandbox, console)
        try:
            play(stage)
            console.print(f"[green]✓[/] The demo succeeded in {time.monotonic() - started:.0f} s.")
            if keep_running:
                stage.keep_running(keep_running)
        except SystemExit:
            console.print("\nInterrupted. Stopping everything ...")
            raise
        except FAILURES as error:
            explain(error, home / "logs", console)
            return 1
    if keep_running:
        console.print("\nStopped: nothing is left running.")
    return 0


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
