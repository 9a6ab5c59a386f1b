"""Checks of arguments: what is known when the DAG is parsed, and what templates make of a value."""

from __future__ import annotations

import math
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_telzino.api.arguments import (
    check_literals,
    checked_call_id,
    checked_context,
    checked_metadata,
    checked_number,
    checked_optional_agent_id,
    is_literal,
)
from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from tests.conftest import AGENT_ID, CALL_ID


class Resolved:
    """Stands for a value of a running DAG, as Airflow's XComArg does."""

    def resolve(self, context: Any) -> Any:
        """Return the value."""
        raise NotImplementedError


class WithTemplates:
    """An object whose attributes Airflow renders."""

    template_fields = ("name",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CALL_ID, True),
        (UUID(CALL_ID), True),
        ("", True),
        (None, True),
        (5, True),
        (math.nan, True),
        (date(2026, 6, 11), True),
        ({"id": CALL_ID, "duration": 5}, True),
        ({"{{ a key isn't rendered }}": 1}, True),
        ([CALL_ID, {"a": (1, "b")}], True),
        ("{ one brace }", True),
        ("{{ params.call_id }}", False),
        ("+1{{ params.number }}", False),
        ("{% if params.a %}a{% endif %}", False),
        ({"id": "{{ params.call_id }}"}, False),
        ({"a": {"b": ["{{ params.b }}"]}}, False),
        (("a", {"{{ params.a }}"}), False),
        (Resolved(), False),
        ({"id": Resolved()}, False),
        (lambda context: CALL_ID, False),
        (WithTemplates(), False),
    ],
)
def test_what_is_known_when_the_dag_is_parsed(value: object, expected: bool) -> None:
    """Everything but templates, and what stands for a value of a running DAG."""
    assert is_literal(value) is expected


def test_only_given_literals_are_checked() -> None:
    """A template is checked when the task runs; a name that isn't given has a good default."""
    check_literals({"call_id": "{{ params.call_id }}"}, call_id=checked_call_id, agent_id=checked_call_id)

    with pytest.raises(TelzinoConfigurationError, match="`call_id`"):
        check_literals({"call_id": "nonsense"}, call_id=checked_call_id)
    with pytest.raises(TelzinoConfigurationError, match=r"`call_id` .* NoneType"):
        check_literals({"call_id": None}, call_id=checked_call_id)


@pytest.mark.parametrize(("given", "expected"), [(AGENT_ID.upper(), AGENT_ID), (None, None), ("", None)])
def test_a_task_may_name_an_agent(given: object, expected: str | None) -> None:
    """Or leave that to the record or the connection."""
    assert checked_optional_agent_id(given) == expected


@pytest.mark.parametrize("value", [18135551234, 1.8e10])
def test_a_number_that_a_template_made_of_text(value: object) -> None:
    """The fix is quotes."""
    with pytest.raises(TelzinoConfigurationError, match=r"`render_template_as_native_obj=True`.* put quotes"):
        checked_number(value)


@pytest.mark.parametrize("value", [5, 1.5, True, {"name": "SECRET"}, ["SECRET"], ("SECRET",), {"SECRET"}])
def test_a_context_that_a_template_made_a_python_value(value: object) -> None:
    """Airflow evaluates rendered text that reads like a number, list or dict: a word more prevents that."""
    with pytest.raises(TelzinoConfigurationError) as caught:
        checked_context(value)

    message = str(caught.value)
    assert f"`call_context` should be text, but is of type {type(value).__name__}." in message
    assert "`render_template_as_native_obj=True`" in message
    assert "add a word to the template" in message
    assert "SECRET" not in message


def test_metadata_that_a_template_made_text() -> None:
    """The opposite: without native rendering, a template of a mapping becomes text."""
    with pytest.raises(TelzinoConfigurationError) as caught:
        checked_metadata("{'crm_id': 'SECRET'}")

    message = str(caught.value)
    assert "`metadata` should be a mapping with text keys (a JSON object), but is text of 20" in message
    assert "give a mapping of templates" in message
    assert "`render_template_as_native_obj=True`" in message
    assert "SECRET" not in message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {"a": [math.nan]}])
def test_metadata_with_nan(value: object) -> None:
    """A value that comes from pandas, and that Python's JSON has, but JSON hasn't."""
    with pytest.raises(TelzinoConfigurationError, match="`metadata` contains NaN or infinity"):
        checked_metadata({"score": value})


@pytest.mark.parametrize("value", [date(2026, 6, 11), {1}, b"bytes", "\ud800"])
def test_metadata_that_json_does_not_have(value: object) -> None:
    """The error says what such a value may be, and doesn't name NaN."""
    with pytest.raises(TelzinoConfigurationError, match="a value that JSON doesn't have") as caught:
        checked_metadata({"x": value})

    assert "NaN" not in str(caught.value)


def test_metadata_that_contains_itself() -> None:
    """It is refused like any other value that JSON doesn't have."""
    metadata: dict[str, Any] = {}
    metadata["self"] = metadata

    with pytest.raises(TelzinoConfigurationError, match="a value that JSON doesn't have"):
        checked_metadata(metadata)
