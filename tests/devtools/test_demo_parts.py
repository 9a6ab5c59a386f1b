"""The demo's pure parts: what it shows, what it takes for a success, and how it explains a failure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from devtools.demo.explain import MAX_LINES, component_log, explaining_lines, task_log
from devtools.demo.outcome import shortcoming, show_record, show_tasks
from devtools.demo.progress import LiveProgress, Progress
from devtools.demo.steps import Steps

if TYPE_CHECKING:
    from pathlib import Path

CALL_ID = "0fc6daf8-7251-4553-9488-867ba0b82d8e"
RECORD = {"id": CALL_ID, "status": "completed", "summary_text": "Confirmed\n\n**Sentiment:** Positive"}


def text_console(*, terminal: bool = False) -> Console:
    return Console(record=True, force_terminal=terminal, width=120, file=open("/dev/null", "w"))


def test_only_the_placed_calls_completed_record_in_a_successful_run_is_a_success() -> None:
    """Everything else has a sentence that says what is missing."""
    assert shortcoming("success", RECORD, [CALL_ID]) is None


@pytest.mark.parametrize(
    ("run_state", "record", "calls", "problem"),
    [
        ("failed", RECORD, [CALL_ID], "ended as failed"),
        ("success", None, [CALL_ID], "pushed no record"),
        ("success", "a string", [CALL_ID], "pushed no record"),
        ("success", {**RECORD, "id": "another"}, [CALL_ID], "is of call another"),
        ("success", RECORD, [], "placed were: ."),
        ("success", RECORD, [CALL_ID, "a second"], "a second"),
        ("success", {**RECORD, "status": "busy"}, [CALL_ID], "'busy' instead of 'completed'"),
    ],
)
def test_a_shortcoming_is_named(run_state: str, record: object, calls: list[str], problem: str) -> None:
    """The run's state is looked at first, then the record; a second call is a shortcoming, too."""
    assert problem in str(shortcoming(run_state, record, calls))


def test_progress_tells_each_change_once() -> None:
    """The same look twice tells nothing new."""
    progress = Progress()

    assert progress.see_call(0, "queued") == ["call: queued"]
    assert progress.see_call(1, "queued") == []
    assert progress.see_call(2, "dialing") == ["call: dialing"]
    assert progress.see_tasks(0, {"wait": None}) == ["task wait: waiting"]
    assert progress.see_tasks(1, {"wait": "deferred"}) == ["task wait: deferred"]
    assert progress.see_tasks(2, {"wait": "deferred"}) == []


def test_the_picture_has_the_calls_way_and_the_tasks_states() -> None:
    """A task's earlier states stand beside its present one."""
    progress = Progress()
    progress.see_call(3, "in_progress")
    progress.see_tasks(1, {"wait": "running"})
    progress.see_tasks(2, {"wait": "deferred"})
    console = text_console()

    console.print(progress.render(5))

    picture = console.export_text()
    assert "3 s    in_progress" in picture
    assert "deferred  running" in picture


@pytest.mark.parametrize("terminal", [True, False])
def test_before_there_is_a_call_none_is_shown(terminal: bool) -> None:
    """The task that places it comes first."""
    console = text_console(terminal=terminal)
    progress = LiveProgress(console, lambda: None)

    with progress.shown():
        progress.see_tasks({"place": "running"})

    shown = console.export_text()
    assert "running" in shown
    assert "None" not in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_the_last_look_at_the_call_is_shown(terminal: bool) -> None:
    """Even when the run ends before the next look is due."""
    console = text_console(terminal=terminal)
    statuses = iter(["in_progress"])
    progress = LiveProgress(console, lambda: next(statuses, "completed"))

    with progress.shown():
        progress.see_tasks({"wait": "success"})

    shown = console.export_text()
    assert "completed" in shown
    assert "success" in shown


def test_record_and_tasks_are_printed() -> None:
    """The record as it is, its summary as Markdown, and one row a task; a skipped one has no duration."""
    console = text_console()
    task = {"task_id": "wait_for_call", "operator": "TelzinoCallSensor", "try_number": 1}

    show_record(console, RECORD)
    show_tasks(console, [{**task, "state": "success", "duration": 1.25}])
    show_tasks(console, [{**task, "state": "skipped", "duration": None}])

    shown = console.export_text()
    assert f'"id": "{CALL_ID}"' in shown
    assert "Sentiment: Positive" in shown
    assert "1.2 s" in shown


def test_a_long_record_is_printed_to_its_end() -> None:
    """It is wrapped, not cut off."""
    console = text_console()

    show_record(console, {**RECORD, "call_context": "very " * 100 + "long"})

    assert console.export_text().count("very") == 100


@pytest.mark.parametrize("terminal", [True, False])
def test_a_step_tells_its_title_and_duration(terminal: bool) -> None:
    """In a terminal and elsewhere."""
    console = text_console(terminal=terminal)

    with Steps(console).step("Doing it"):
        pass

    assert "✓ Doing it (0.0 s)" in console.export_text()


def test_of_a_component_log_the_last_traceback_is_shown() -> None:
    """With the line that names the error, and without the lines around it."""
    log = "start\nTraceback (most recent call last):\n  File x\nValueError: no\nlater\n"

    assert component_log(log) == ["Traceback (most recent call last):", "  File x", "ValueError: no"]


def test_a_long_traceback_is_cut_in_the_middle() -> None:
    """Its end says what happened."""
    log = "Traceback (most recent call last):\n" + "  File x\n" * 100 + "ValueError: no\n"

    shown = component_log(log)

    assert len(shown) == MAX_LINES
    assert shown[-1] == "ValueError: no"


def test_without_a_traceback_lines_about_trouble_are_shown() -> None:
    """And a healthy log shows nothing."""
    assert component_log("fine\n[error ] database is locked\nfine") == ["[error ] database is locked"]
    assert component_log("fine\nfine") == []


def test_a_task_log_is_shown_with_its_error() -> None:
    """Airflow writes JSON lines with the traceback as a list."""
    frames = [{"filename": "sensor.py", "lineno": 7, "name": "execute"}]
    error = [{"exc_type": "TelzinoError", "exc_value": "gone", "frames": frames}]
    entry = {"timestamp": "2026-06-11T12:49:28Z", "level": "error", "event": "Task failed"}

    shown = task_log(json.dumps({**entry, "error_detail": error}) + "\nplain")

    assert shown == [
        "12:49:28 error: Task failed",
        "    sensor.py:7 in execute",
        "    TelzinoError: gone",
        "plain",
    ]


def test_logs_that_tell_nothing_are_left_out(tmp_path: Path) -> None:
    """Only components and tasks in trouble are shown."""
    task_folder = tmp_path / "dag_id=d" / "run_id=r" / "task_id=t"
    task_folder.mkdir(parents=True)
    (task_folder / "attempt=1.log").write_text('{"event": "fine", "level": "info"}\n')
    (task_folder / "attempt=2.log").write_text('{"event": "no", "level": "error"}\n')
    (tmp_path / "scheduler.log").write_text("fine\n")
    (tmp_path / "triggerer.log").write_text("Error: no\n")

    assert list(explaining_lines(tmp_path)) == [
        "triggerer",
        "dag_id=d/run_id=r/task_id=t/attempt=2.log",
    ]
