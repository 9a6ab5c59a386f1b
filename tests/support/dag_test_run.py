"""Load example DAGs, and run DAGs with ``dag.test()`` on the clock of our pytest plugin."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS
from airflow_provider_telzino.testing.clock import MovableClock
from airflow_provider_telzino.testing.telzino import Telzino

RESULT_MARK = "RESULT "
"""Begins the line with the results. Airflow may print more after it, when the process ends."""
EXAMPLES = Path(__file__).resolve().parents[2] / "example_dags"


NIGHT = datetime(2027, 1, 5, 3, tzinfo=timezone.utc)
"""When the runs begin: a Monday at 22:00 in New York. Those that keep calling hours wait until morning."""
ZONE = "America/New_York"

ANSWERS, BUSY = MAGIC_NUMBERS["completed"], MAGIC_NUMBERS["busy"]

AIRFLOW_2 = {
    "from airflow.sdk import dag, task": "from airflow.decorators import dag, task",
    "from airflow.sdk import ObjectStoragePath, dag, task": (
        "from airflow.decorators import dag, task; from airflow.io.path import ObjectStoragePath"
    ),
    "from airflow.sdk import Param, dag, task": (
        "from airflow.decorators import dag, task; from airflow.models.param import Param"
    ),
}
"""What the examples import, and how on Airflow 2.11."""


def example_dag(name: str) -> Any:
    """Load an example DAG."""
    return example_names(name)[name]()


def example_names(name: str) -> dict[str, Any]:
    """Return what the file of an example defines; on Airflow 2.11 with the imports that it has there."""
    path = EXAMPLES / f"{name}.py"
    source = path.read_text()
    if importlib.util.find_spec("airflow.sdk") is None:
        for on_3, on_2 in AIRFLOW_2.items():
            source = source.replace(on_3, on_2)
    names: dict[str, Any] = {"__name__": name, "__file__": str(path)}
    exec(compile(source, path, "exec"), names)  # noqa: S102  # our own file
    return names


@contextlib.contextmanager
def scripted(outcomes: Mapping[str, Sequence[str]]) -> Iterator[Telzino]:
    """In a process without pytest: run Telzino, and fail unless just these calls are placed."""
    with Telzino() as telzino:
        telzino.clock.move_to(NIGHT)
        for number, ends in outcomes.items():
            telzino.script(number, ends)
        os.environ["AIRFLOW_CONN_TELZINO_DEFAULT"] = telzino.connection
        yield telzino
        assert telzino.problems() == []


@dataclass(frozen=True)
class DagTestRun:
    """What became of a DAG run. A mapped task is called ``task[0]``, and so on."""

    state: str
    tasks: dict[str, str]
    """The states of the tasks."""
    pushed: dict[str, Any]
    """The ``return_value`` of each task."""
    labels: dict[str, str]
    """What Airflow's web interface shows for mapped tasks."""


def run_dag(dag: Any, conf: dict[str, Any] | None = None) -> DagTestRun:
    """Run a DAG."""
    run = dag.test(run_conf=conf)
    tasks = {
        ti.task_id + (f"[{ti.map_index}]" if ti.map_index >= 0 else ""): ti for ti in run.get_task_instances()
    }
    return DagTestRun(
        state=run.state,
        tasks={task: ti.state for task, ti in tasks.items()},
        pushed={
            task: ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index) for task, ti in tasks.items()
        },
        labels={task: ti.rendered_map_index for task, ti in tasks.items() if ti.map_index >= 0},
    )


@contextlib.contextmanager
def when_time_passes(clock: MovableClock, action: Callable[[], object]) -> Iterator[None]:
    """Act whenever somebody waits on the clock, such as a task between two polls, until it has succeeded.

    Args:
        clock: The clock.
        action: What to do; what it returns is true if that was all.
    """
    advance, done = clock.advance, False

    def advance_and_act(seconds: float | timedelta) -> None:
        nonlocal done
        advance(seconds)
        done = done or bool(action())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "advance", advance_and_act)
        yield
    assert done, "nobody has waited for it"
