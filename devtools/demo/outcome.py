"""The end of the demo: the final record in XCom, the tasks' states, and whether that's a success."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.json import JSON
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table

from devtools.demo.progress import styled

if TYPE_CHECKING:
    from collections.abc import Mapping


PLACING_TASK = "place_call"


def shortcoming(run_state: str, record: object, call_ids: list[str]) -> str | None:
    """Return what is missing for a success, or None: one call was placed, and its final record is there.

    :param call_ids: the calls that the sandbox knows
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


def show_record(console: Console, record: Mapping[str, Any]) -> None:
    """Print the final record, and its summary once more as the Markdown that it is."""
    whole = JSON(json.dumps(record))
    whole.text.no_wrap = False  # By default, rich cuts long lines off.
    whole.text.overflow = "fold"
    parts: list[RenderableType] = [whole]
    if record.get("summary_text"):
        parts += ["", Markdown(record["summary_text"])]
    title = f"Final record: XCom return_value of {PLACING_TASK}"
    console.print(Panel(Group(*parts), title=title, title_align="left"))


def show_tasks(console: Console, tasks: list[dict[str, Any]]) -> None:
    """Print the final state of every task of the run."""
    table = Table(
        "Task", "Operator", "State", "Tries", "Duration", title="Tasks of the DAG run", title_justify="left"
    )
    for task in tasks:
        duration = f"{task['duration']:.1f} s" if task["duration"] is not None else ""
        table.add_row(
            task["task_id"], task["operator"], styled(task["state"]), str(task["try_number"]), duration
        )
    console.print(table)
