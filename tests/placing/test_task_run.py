"""What is read from Airflow's context, on every version of Airflow."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_telzino.placing.task_run import read_task_run
from airflow_provider_telzino.rules.search import CLOCK_MARGIN
from airflow_provider_telzino.version_compat import clears_delete_task_state

NOW = datetime.now(timezone.utc)
IDENTITY = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": 3}


def context(**attributes: Any) -> dict[str, Any]:
    """The context of a retry in a DAG run that was due an hour ago."""
    ti = {**IDENTITY, "try_number": 2, "max_tries": 3, "task": SimpleNamespace(retries=3)}
    dag_run = {"run_after": NOW - timedelta(hours=1), "start_date": NOW, "clear_number": 0}
    for name, value in attributes.items():
        (dag_run if name in dag_run or name == "data_interval_end" else ti)[name] = value
    return {"ti": SimpleNamespace(**ti), "dag_run": SimpleNamespace(**dag_run)}


def test_the_identity_has_no_try_number() -> None:
    """All tries of a task share it; a task that is not mapped has index -1 on every Airflow."""
    run = read_task_run(context(map_index=None))

    assert run.identity == IDENTITY | {"map_index": -1}


def test_calls_are_searched_from_when_the_run_was_due() -> None:
    """Not from the run's start, which a clear resets; clocks may differ."""
    run = read_task_run(context())

    assert run.since == NOW - timedelta(hours=1) - CLOCK_MARGIN


def test_airflow_2_has_the_data_interval_instead() -> None:
    """Its end is when a run is due."""
    run = read_task_run(context(run_after=None, data_interval_end=NOW))

    assert run.since == NOW - CLOCK_MARGIN


def test_a_run_that_is_not_due_yet_limits_nothing() -> None:
    """Airflow 2 can be configured to run it now: its date would hide its own calls."""
    run = read_task_run(context(run_after=NOW + timedelta(days=1)))

    assert run.since is None


def test_a_run_that_started_before_it_was_due() -> None:
    """It was not due when it started; its calls may be as old as its start."""
    due, start = NOW - timedelta(minutes=10), NOW - timedelta(hours=2)

    run = read_task_run(context(run_after=None, data_interval_end=due, start_date=start))

    assert run.since == start - CLOCK_MARGIN


@pytest.mark.parametrize(
    ("attributes", "is_first"),
    [
        ({"try_number": 1}, True),
        ({"try_number": 2}, False),
        ({"try_number": 1, "clear_number": 1}, False),
        ({"try_number": None}, False),
    ],
)
def test_the_very_first_try(attributes: dict[str, Any], is_first: bool) -> None:
    """Only then no other process can have dialled."""
    assert read_task_run(context(**attributes)).is_first is is_first


def test_without_a_dag_run_no_try_is_the_first() -> None:
    """What is unknown is not assumed."""
    run = read_task_run({"ti": context(try_number=1)["ti"]})

    assert (run.is_first, run.since) == (False, None)


@pytest.mark.parametrize(
    ("attributes", "was_cleared"),
    [
        ({}, False),
        ({"max_tries": 4}, True),
        ({"clear_number": 1}, True),
        ({"clear_number": None}, False),
        ({"max_tries": None}, True),
        ({"task": None}, True),
    ],
)
def test_a_clear(attributes: dict[str, Any], was_cleared: bool) -> None:
    """It raises ``max_tries``; the DAG run does not count every clear."""
    run = read_task_run(context(**attributes))

    assert run.was_cleared is was_cleared


def test_an_edit_of_the_retries_starts_no_generation() -> None:
    """Airflow keeps ``max_tries`` when the DAG's ``retries`` change: a retry remains a retry."""
    before, after = context(), context(task=SimpleNamespace(retries=7))

    assert read_task_run(before).generation == read_task_run(after).generation == 3


REGION, OTHER_REGION = UUID(int=7), UUID(int=8)


def test_a_region_is_not_part_of_the_identity() -> None:
    """On Airflow 3.4 each mapped task has one: a contact that moves to another map index keeps its calls."""
    run = read_task_run(context(region_id=REGION, region_index=3))

    assert (run.identity, run.generation) == (IDENTITY, 3)


def in_loop(region_id: UUID) -> dict[str, Any]:
    """The context of a task in the third iteration of a task loop."""
    return {**context(region_id=region_id, region_index=2, map_index=-1), "loop": SimpleNamespace(index=2)}


def test_the_iteration_of_a_task_loop_is_part_of_the_identity() -> None:
    """Airflow 3.4 runs the task several times in one DAG run."""
    assert read_task_run(in_loop(REGION)).identity == IDENTITY | {"map_index": -1, "loop_index": 2}


def test_an_iteration_that_is_replaced_begins_a_generation() -> None:
    """A clear of a loop replaces its later iterations, whose tasks count their tries from 1 again."""
    before, retry, replaced = (read_task_run(in_loop(region)) for region in (REGION, REGION, OTHER_REGION))

    assert before.generation == retry.generation != replaced.generation
    assert json.dumps(before.generation)


def test_from_airflow_3_4_on_a_clear_deletes_the_state() -> None:
    """The same release brought the regions."""
    assert clears_delete_task_state(context(region_id=UUID(int=0))["ti"])
    assert not clears_delete_task_state(context()["ti"])
