"""A list of calls, as a task is given it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_telzino.api.call_lists import CallOfAgent, checked_calls, positions_text
from airflow_provider_telzino.exceptions import TelzinoArgumentError
from tests.conftest import AGENT_ID, CALL_ID

OTHER_ID = "11111111-2222-4333-8444-555555555555"
OTHER_AGENT = "99999999-2222-4333-8444-555555555555"
RECORD = {"id": OTHER_ID, "agent_id": OTHER_AGENT, "status": "queued", "error": None}


class Lazy(Sequence[Any]):
    """The outputs of mapped tasks: on Airflow 3 each item is a request, and so is a slice."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.requests = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: Any) -> Any:
        self.requests += 1
        return self.items[key]


@pytest.mark.parametrize(
    "given",
    [
        [CALL_ID, OTHER_ID],
        (CALL_ID.upper(), UUID(OTHER_ID)),
        [{"id": CALL_ID}, OTHER_ID],
        str([CALL_ID, OTHER_ID]),
        json.dumps([CALL_ID, OTHER_ID]),
        f"\n {[CALL_ID, {'id': OTHER_ID, 'error': None}]} ",
    ],
)
def test_ids_and_records_in_any_kind_of_list(given: object) -> None:
    """What Jinja makes of a list, which is text, is read as that list."""
    assert checked_calls(given, None) == [CallOfAgent(CALL_ID, None), CallOfAgent(OTHER_ID, None)]


@pytest.mark.parametrize("given", [[], (), "[]"])
def test_no_calls_are_no_mistake(given: object) -> None:
    """A day may have none."""
    assert checked_calls(given, None) == []


def test_the_order_and_duplicates_are_kept() -> None:
    """The results have the order of the calls."""
    assert [call.call_id for call in checked_calls([OTHER_ID, CALL_ID, OTHER_ID], None)] == [
        OTHER_ID,
        CALL_ID,
        OTHER_ID,
    ]


def test_the_agent_of_the_task_comes_before_that_of_a_record() -> None:
    """A record's agent counts where the task names none."""
    assert checked_calls([RECORD, CALL_ID], None) == [(OTHER_ID, OTHER_AGENT), (CALL_ID, None)]
    assert checked_calls([RECORD, CALL_ID], AGENT_ID) == [(OTHER_ID, AGENT_ID), (CALL_ID, AGENT_ID)]


def test_outputs_of_mapped_tasks_are_read_at_once() -> None:
    """One request for all, not one for each."""
    outputs = Lazy([RECORD] * 50)

    assert len(checked_calls(outputs, None)) == 50
    assert outputs.requests == 1


def test_all_mistakes_are_named_together() -> None:
    """By position, and without the values."""
    given = ["SECRET", CALL_ID, None, 5, {"status": "SECRET"}, CALL_ID, {"id": CALL_ID, "agent_id": "SECRET"}]

    with pytest.raises(TelzinoArgumentError) as caught:
        checked_calls(given, None)

    message = str(caught.value)
    assert "no valid call id at positions 1, 3 to 5, and no valid agent id at position 7" in message
    assert "(the first position is 1)" in message
    assert "SECRET" not in message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("SECRET", "is text, but not that of a list"),
        (CALL_ID, "is text, but not that of a list"),
        ("LazyXComSequence([3 items])", "is text, but not that of a list"),
        ("'SECRET'", "should be a list of call ids"),
        (5, "is of type int."),
        (None, "is of type NoneType."),
        ({CALL_ID}, "is of type set."),
        (RECORD, "is of type dict. Put the record into a list."),
        (str(RECORD), "is of type dict. Put the record into a list."),
        (CALL_ID.encode(), "is of type bytes."),
    ],
)
def test_what_is_no_list_is_refused(given: object, words: str) -> None:
    """With its fix, and without the value."""
    with pytest.raises(TelzinoArgumentError, match=re.escape(words)) as caught:
        checked_calls(given, None)

    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        ([2], "position 2"),
        ([2, 3], "positions 2 to 3"),
        ([1, 3, 4, 5, 9], "positions 1, 3 to 5, 9"),
        (range(1, 1_001), "positions 1 to 1000"),
        (range(1, 200, 2), "positions " + ", ".join(map(str, range(1, 41, 2))) + ", and 80 more"),
    ],
)
def test_positions(positions: Sequence[int], text: str) -> None:
    """However many they are, the message stays short."""
    assert positions_text(positions) == text
