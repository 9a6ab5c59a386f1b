"""Run the demo, and leave nothing behind: on success, on failure, and on Ctrl-C."""

from __future__ import annotations

import argparse
import os
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

from devtools.airflow_instance import AirflowInstance
from devtools.demo.explain import explaining_lines
from devtools.demo.steps import Steps
from devtools.demo.story import DAG_ID, DAGS_FOLDER, DemoFailedError, play
from devtools.processes import ROOT, ProcessDiedError

if TYPE_CHECKING:
    from types import FrameType

    from devtools.sandbox_process import SandboxProcess

WORK = ROOT / ".work"
FAILED_LOGS = WORK / "demo-failed-logs"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FAILURES = (DemoFailedError, ProcessDiedError, TimeoutError, RuntimeError, requests.RequestException)


class Stopped(BaseException):
    """A signal asks us to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def ignore_signals() -> None:
    """Let nothing interrupt the cleaning up, which is short."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_once(number: int, _frame: FrameType | None) -> None:
    """Stop at the first signal; further ones change nothing."""
    ignore_signals()
    raise Stopped(number)


def serve_ui(airflow: AirflowInstance, sandbox: SandboxProcess, console: Console) -> None:
    """Print where everything is, and keep it running until a signal comes."""
    console.print(
        Panel(
            f"Airflow    {airflow.base_url}/dags/{DAG_ID}\n"
            f"  user     {airflow.username}\n"
            f"  password {airflow.password}\n"
            f"Sandbox    {sandbox.url}/\n"
            f"Logs       {airflow.home.relative_to(ROOT)}/logs\n\n"
            "Ctrl-C stops it all.",
            title="Running",
            title_align="left",
            expand=False,
        ),
        highlight=False,
        soft_wrap=True,
    )
    try:
        while True:
            airflow.family.check()
            time.sleep(1)
    except Stopped:
        return  # It's the way to end this: no failure.


def explain(error: BaseException, logs: Path, console: Console) -> None:
    """Print the error and the log lines behind it, and keep the logs."""
    for name, lines in explaining_lines(logs).items():
        console.rule(escape(name), align="left")
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    shutil.rmtree(FAILED_LOGS, ignore_errors=True)
    shutil.copytree(logs, FAILED_LOGS, dirs_exist_ok=True)
    console.rule()
    console.print(f"[red]Failed:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    console.print(f"All logs: {FAILED_LOGS.relative_to(ROOT)}", highlight=False)


def run(home: Path, dags_folder: Path, console: Console, *, ui: bool) -> int:
    """Play the story in ``home`` and return the exit code."""
    with AirflowInstance(home, dags_folder=dags_folder) as airflow:
        try:
            sandbox = play(airflow, Steps(console))
            if ui:
                serve_ui(airflow, sandbox, console)
        except Stopped as stopped:
            console.print("\nStopping ...")
            return 128 + stopped.number
        except FAILURES as error:
            explain(error, home / "logs", console)
            return 1
        finally:
            ignore_signals()
    return 0


def main() -> int:
    """Read the options, run, and remove the folder."""
    parser = argparse.ArgumentParser(prog="devtools.demo", description=__doc__)
    parser.add_argument("--ui", action="store_true", help="leave it running until Ctrl-C")
    parser.add_argument("--dags-folder", type=Path, default=DAGS_FOLDER, help="another folder of DAG files")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    WORK.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix=f"demo-{os.getpid()}-", dir=WORK))
    started = time.monotonic()
    for number in STOP_SIGNALS:
        signal.signal(number, stop_once)
    try:
        code = run(home, options.dags_folder, console, ui=options.ui)
    except Stopped as stopped:
        code = 128 + stopped.number
    finally:
        ignore_signals()
        shutil.rmtree(home, ignore_errors=True)
    if code == 0:
        console.print(f"[green]✓[/] The demo succeeded in {time.monotonic() - started:.0f} s.")
    return code


if __name__ == "__main__":
    sys.exit(main())
