"""Campaigns in ``dag.test()``, with contacts from everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.support.campaign_dags import dags
from tests.support.campaign_dags.dags import BUSY_ONCE, CONTACTS, MAPPED
from tests.support.dag_test_run import RESULT_MARK

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("contact DAGs")]  # one process at a time runs DAGs


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    """The run of a DAG with one campaign of each kind."""
    environment = {**os.environ, "AIRFLOW__CORE__DAGS_FOLDER": str(Path(dags.__file__).parent)}
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, check=True, capture_output=True)
    program = [sys.executable, "-m", "tests.support.campaign_dags.dags"]
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    _, mark, rest = done.stdout.partition("\n" + RESULT_MARK)
    assert mark, done.stdout[-4_000:] + done.stderr[-4_000:]
    result: dict[str, Any] = json.loads(rest.splitlines()[0])
    return result


def check(run: dict[str, Any], task: str, numbers: list[str]) -> None:
    """Check the results of a campaign against the calls of the sandbox."""
    last = {call["to_number"]: call for call in run["calls"]}
    results = run["pushed"][task]
    assert [each["contact"] for each in results] == numbers
    assert [each["record"] for each in results] == [last[number] for number in numbers]
    assert {each["outcome"] for each in results} == {"completed"}


@pytest.mark.parametrize("task", CONTACTS)
def test_a_campaign_of_five_contacts(run: dict[str, Any], task: str) -> None:
    """From a list, from a function, and from another task's output."""
    assert run["tasks"][task] == "success"
    check(run, task, CONTACTS[task])


@pytest.mark.parametrize("task", MAPPED)
def test_a_mapped_campaign(run: dict[str, Any], task: str) -> None:
    """Over literal lists, and over another task's output."""
    for index, numbers in enumerate(MAPPED[task]):
        check(run, f"{task}[{index}]", numbers)


def test_each_contact_is_called_as_often_as_it_takes(run: dict[str, Any]) -> None:
    """One was busy at first, and nobody is called twice for nothing."""
    lists = [*CONTACTS.values(), *(each for lists in MAPPED.values() for each in lists)]

    placements = Counter(call["to_number"] for call in run["calls"])

    assert placements == Counter(chain(*lists, [BUSY_ONCE]))
