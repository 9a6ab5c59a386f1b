"""``make demo-campaign``: the example of a campaign with 200 contacts, shown live in the terminal."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.live import Live
from rich.table import Table
from rich.text import Text

from airflow_provider_telzino.models import has_ended
from airflow_provider_telzino.sandbox import Sandbox
from devtools.airflow_instance.instance import FINISHED_RUN_STATES
from devtools.processes import ROOT
from devtools.stage import EXAMPLES, WORK, DemoFailedError, Stage, perform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

DAG_ID = "example_telzino_campaign"
CAMPAIGN_TASK = "call"
REPORTS = WORK / "reports"

LISTS = ("Spring renewals", "Spring renewals", "Trial users", "Lapsed customers")
"""Where the contacts come from, in turn."""
CONTACTS = 200
MAX_ATTEMPTS = 3  # as in the example
CHANGES = {
    "redial_delay=timedelta(hours=2)": "redial_delay=timedelta(seconds=10)",
    "max_active_calls=100": "max_active_calls=200",
}
"""What the demo changes in the example: it calls again sooner, since nobody watches a demo for hours."""

SANDBOX_SPEED = 20.0
MAX_CONCURRENT_CALLS = 20  # so that the calls go on for as long as the campaign pauses
RUN_TIMEOUT = 400.0  # seconds: on a busy machine
POLL_INTERVAL = 0.5
LINE_INTERVAL = 5.0
"""Seconds from one line to the next, where the output is no terminal."""

WAITING, QUEUED, LIVE = "not called yet", "queued", "in progress"
STYLES = {
    "completed": "green",
    "no_answer": "yellow",
    "busy": "dark_orange",
    "failed": "red",
    LIVE: "cyan",
    QUEUED: "blue",
    WAITING: "bright_black",
}
"""Where a contact's last call is, in the order in which they are shown."""
BAR_WIDTH = 60


class Progress(NamedTuple):
    """How far the campaign is."""

    contacts: Counter[str]
    """Contacts by what became of their last call."""
    calls: int
    """How many calls were placed."""


def progress(calls: Iterable[Mapping[str, Any]], contacts: int) -> Progress:
    """Say how far a campaign is.

    Args:
        calls: The sandbox's calls, in the order in which they were placed.
        contacts: How many contacts there are.
    """
    placed = list(calls)
    last = {call["to_number"]: call for call in placed}
    counts = Counter(
        call["status"] if has_ended(call) else QUEUED if call["status"] == "queued" else LIVE
        for call in last.values()
    )
    counts[WAITING] = contacts - len(last)
    return Progress(counts, len(placed))


def shortcoming(
    run_state: str, summary: object, outcomes: Mapping[str | None, int], calls: Counter[str]
) -> str | None:
    """Return what is missing for a success, or None.

    Args:
        run_state: How the DAG run ended.
        summary: What the campaign pushed.
        outcomes: Contacts by the outcome that is in the table.
        calls: The sandbox's calls, by number.
    """
    if run_state != "success":
        return f"The DAG run ended as {run_state}."
    if not isinstance(summary, dict):
        return f"The campaign pushed no summary, but this: {summary!r}"
    if summary["outcomes"] != outcomes:
        return f"The table has other outcomes than the campaign: {outcomes}, not {summary['outcomes']}."
    if len(calls) != CONTACTS or summary["attempts"] != calls.total():
        return (
            f"The campaign reports {summary['attempts']} calls to {CONTACTS} contacts, but the sandbox has "
            f"{calls.total()} to {len(calls)}."
        )
    if max(calls.values()) > MAX_ATTEMPTS:
        return f"Somebody was called {max(calls.values())} times."
    return None


def play(stage: Stage) -> None:
    """Run the campaign and show what became of it; raise if it doesn't succeed."""
    home, console = stage.airflow.home, stage.console
    copy_example(home / "dags")
    table = home / "contacts.db"
    create_table(table)
    stage.start_airflow()
    stage.airflow.add_connection("contacts_db", "sqlite", host=str(table))
    variable = {"key": "telzino_reports", "value": f"file://{REPORTS}"}
    stage.airflow.api.request("POST", "/variables", json=variable)
    run_id = stage.trigger(DAG_ID, run_id=f"demo-{datetime.now(timezone.utc):%Y-%m-%dT%H%M%S}")
    console.print(f"  DAG {DAG_ID}, run {run_id}: {CONTACTS} contacts", highlight=False)
    console.print(
        f"  The sandbox shows the calls, while the demo runs: {stage.sandbox.url}/\n", highlight=False
    )

    state = follow(stage, run_id)

    summary = stage.pushed(DAG_ID, run_id, CAMPAIGN_TASK, "summary")
    stage.show_tasks(DAG_ID, run_id)
    if isinstance(summary, dict):
        show_summary(stage, summary)
    calls = Counter(call["to_number"] for call in stage.sandbox.calls)
    if problem := shortcoming(state, summary, read_outcomes(table), calls):
        raise DemoFailedError(problem)
    report = REPORTS / f"{run_id}.html"
    if not report.is_file():
        raise DemoFailedError(f"There is no report {report.relative_to(ROOT)}.")
    console.print(
        f"Report: {report.relative_to(ROOT)} (open it in a browser)", highlight=False, soft_wrap=True
    )


# --- The contacts ---


def copy_example(folder: Path) -> None:
    """Copy the example, with the demo's changes."""
    source = (EXAMPLES / f"{DAG_ID}.py").read_text()
    for old, new in CHANGES.items():
        if source.count(old) != 1:
            raise DemoFailedError(f"The example should have {old} once.")
        source = source.replace(old, new)
    folder.mkdir()
    (folder / f"{DAG_ID}.py").write_text(source)


def create_table(path: Path) -> None:
    """Create the example's table, with contacts in a time zone in which people may be called now."""
    noon = f"Etc/GMT{datetime.now(timezone.utc).hour - 12:+d}"
    contacts = [
        (LISTS[index % len(LISTS)], f"+1{(212, 312, 415)[index % 3]}55501{index // 3:02}", noon)
        for index in range(CONTACTS)
    ]
    columns = (
        "list TEXT, to_number TEXT, timezone TEXT, name TEXT, dag_run TEXT, outcome TEXT, attempts INTEGER"
    )
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            f"CREATE TABLE contacts (id INTEGER PRIMARY KEY, {columns}, call_id TEXT, ended_at TEXT)"
        )
        database.executemany("INSERT INTO contacts (list, to_number, timezone) VALUES (?, ?, ?)", contacts)


def read_outcomes(path: Path) -> dict[str | None, int]:
    """Return how many contacts have which outcome in the table."""
    with closing(sqlite3.connect(path)) as database:
        return dict(database.execute("SELECT outcome, count(*) FROM contacts GROUP BY outcome"))


# --- The terminal ---


def follow(stage: Stage, run_id: str) -> str:
    """Show how far the campaign is until the DAG run ends; return its state."""
    started = time.monotonic()
    is_terminal = stage.console.is_terminal
    next_line = started
    with Live(console=stage.console, auto_refresh=False, transient=not is_terminal) as live:
        while True:
            # First: the last round then shows the tasks as they ended.
            state = stage.airflow.api.run_state(DAG_ID, run_id)
            tasks = stage.airflow.api.task_states(DAG_ID, run_id)
            now = progress(stage.sandbox.calls, CONTACTS)
            seconds = time.monotonic() - started
            if is_terminal:
                live.update(picture(now, tasks, seconds), refresh=True)
            elif time.monotonic() >= next_line or state in FINISHED_RUN_STATES:
                stage.console.print(line(now, tasks, seconds), highlight=False, soft_wrap=True)
                next_line = time.monotonic() + LINE_INTERVAL
            if state in FINISHED_RUN_STATES:
                return state
            stage.pause(started, RUN_TIMEOUT, POLL_INTERVAL)


def picture(now: Progress, tasks: Mapping[str, str | None], seconds: float) -> Table:
    """Return what a terminal shows: contacts as a bar, with a legend, and the tasks."""
    bar, legend = Text(), Text()
    shown = 0
    for name, count in in_order(now.contacts):
        width = round((shown + count) * BAR_WIDTH / CONTACTS) - round(shown * BAR_WIDTH / CONTACTS)
        style = STYLES.get(name, "magenta")
        bar.append("█" * width, style)
        legend.append("█ ", style).append(f"{count} {spelled(name)}   ")
        shown += count
    rows = Table.grid(padding=(0, 2))
    rows.add_row("  contacts", bar)
    rows.add_row("", legend)
    rows.add_row("  calls", f"{now.calls} placed")
    rows.add_row("  tasks", task_text(tasks))
    rows.add_row("  time", f"{seconds:.0f} s")
    return rows


def line(now: Progress, tasks: Mapping[str, str | None], seconds: float) -> str:
    """Return the same as one line."""
    contacts = ", ".join(f"{count} {spelled(name)}" for name, count in in_order(now.contacts))
    return f"  {seconds:5.1f} s  {now.calls} calls placed; contacts: {contacts}; tasks: {task_text(tasks)}"


def in_order(contacts: Counter[str]) -> list[tuple[str, int]]:
    """Return the counts in the order in which they are shown, those of unknown statuses in the middle."""
    known = list(STYLES)
    order = {name: known.index(name) for name in known}
    return sorted(
        ((name, count) for name, count in contacts.items() if count),
        key=lambda each: order.get(each[0], known.index(LIVE)),
    )


def spelled(name: str) -> str:
    """Return a status as words."""
    return name.replace("_", " ")


def task_text(tasks: Mapping[str, str | None]) -> str:
    """Return the state of each task."""
    return ", ".join(f"{name} {state or 'waits'}" for name, state in tasks.items())


def show_summary(stage: Stage, summary: Mapping[str, Any]) -> None:
    """Print the campaign's own summary."""
    title = f"XCom summary of {CAMPAIGN_TASK}"
    table = Table("Outcome", title=title, title_justify="left")
    table.add_column("Contacts", justify="right")
    table.add_column("Share", justify="right")
    for outcome, count in summary["outcomes"].items():
        table.add_row(spelled(outcome), str(count), f"{count / summary['contacts']:.0%}")
    stage.console.print(table)
    talk = f"{summary['talk_time'] / 60:.0f} minutes of talk on the sandbox's clock"
    stage.console.print(f"  {summary['attempts']} calls, {talk}", highlight=False)


def main() -> int:
    """Run the demo, and return the exit code."""
    sandbox = Sandbox(SANDBOX_SPEED, seed=1, max_concurrent_calls=MAX_CONCURRENT_CALLS, keep_requests=False)
    return perform(play, sandbox)


if __name__ == "__main__":
    sys.exit(main())
