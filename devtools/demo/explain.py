"""After a failure: find the log lines that explain it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINES = 25
"""Lines to show of one log."""

MAX_LINE_LENGTH = 300
"""Characters to show of one line: the scheduler repeats whole tracebacks of tasks in one line."""

TROUBLE = re.compile(
    r"\[(error|critical) *\]|^\S* ?(error|critical):|Error\b|Exception\b|\blocked\b|\brefused\b"
)
"""Marks a line of a log as worth showing: its level, or an exception's name in it."""

TRACEBACK_START = "Traceback (most recent call last)"


def component_log(text: str) -> list[str]:
    """Return what matters of a component's log: its last traceback, else its lines about trouble."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if TRACEBACK_START in line]
    if starts:
        end = starts[-1] + 1
        while end < len(lines) and (lines[end].startswith((" ", "\t")) or not lines[end].strip()):
            end += 1
        trace = lines[starts[-1] : end + 1]
        return trace if len(trace) <= MAX_LINES else [trace[0], "  ...", *trace[2 - MAX_LINES :]]
    return [line for line in lines if TROUBLE.search(line)][-MAX_LINES:]


def task_log(text: str) -> list[str]:
    """Return the last lines of a task's log, which Airflow writes as one JSON object a line."""
    lines: list[str] = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            lines.append(line)
            continue
        time, level = entry.get("timestamp", "")[11:19], entry.get("level", "")
        lines.append(f"{time} {level}: {entry.get('event', '')}")
        for error in entry.get("error_detail") or []:
            frames = error.get("frames", [])[-3:]
            lines += [f"    {frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in frames]
            lines.append(f"    {error.get('exc_type')}: {error.get('exc_value')}")
    return lines[-MAX_LINES:]


def explaining_lines(logs: Path) -> dict[str, list[str]]:
    """Return the lines that explain a failure by the name of the log; logs that tell nothing are left out.

    :param logs: the instance's log folder: components' logs in it, tasks' logs in its folders ``dag_id=...``
    """
    found = {}
    for path in sorted(logs.glob("*.log")):
        found[path.stem] = component_log(path.read_text(errors="replace"))
    for path in sorted(logs.glob("dag_id=*/**/*.log")):
        lines = task_log(path.read_text(errors="replace"))
        if any(TROUBLE.search(line) for line in lines):
            found[str(path.relative_to(logs))] = lines
    return {name: [line[:MAX_LINE_LENGTH] for line in lines] for name, lines in found.items() if lines}
