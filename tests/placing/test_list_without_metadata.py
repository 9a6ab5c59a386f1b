"""An API whose list says less than its records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.placing import search
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.placed_calls import placed, runs

pytestmark = pytest.mark.usefixtures("surroundings")


def hide(sandbox: Sandbox, calls: list[dict[str, Any]]) -> None:
    """Answer the next requests for the list with items that have hardly any fields."""
    items = [{"id": call["id"], "created_at": call["created_at"]} for call in calls]
    page = {"data": items, "pagination": {"hasNext": False}}
    sandbox.faults.next("GET", "outbound-calls$", raw_body=json.dumps(page).encode(), times=3)


def test_the_tasks_call_is_found_by_its_record(sandbox: Sandbox) -> None:
    """Each record says which task has placed the call."""
    call, other = placed(sandbox, "dialing"), sandbox.add_call("dialing")
    hide(sandbox, [other, call])
    task = runs(wait_for_completion=False, tries=1)

    answer = task.next_try().to_the_end()

    assert answer["id"] == call["id"]


def test_a_list_that_does_not_say_who_called_whom(sandbox: Sandbox) -> None:
    """The call is in the list of the agent that was asked, and the task's: no other says more."""
    call = placed(sandbox, "completed")
    page = {"data": [call | {"agent_id": None, "to_number": None}], "pagination": {"hasNext": False}}
    sandbox.faults.next("GET", "outbound-calls$", raw_body=json.dumps(page).encode(), times=3)
    task = runs(tries=1)
    task.clear()

    record = task.next_try().step("execute")

    assert len(sandbox.calls) == 1
    assert record["id"] == call["id"]


def test_too_many_are_an_error(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of these requests is limited, too."""
    monkeypatch.setattr(search, "MAX_SINGLE_REQUESTS", 2)
    hide(sandbox, [sandbox.add_call("dialing") for _ in range(3)])
    task = runs(tries=1)

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="one by one"):
        task.next_try().step("execute")

    assert len(sandbox.calls) == 3
