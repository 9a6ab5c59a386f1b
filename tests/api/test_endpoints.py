"""The endpoints: what is sent, and which arguments are refused before anything is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from airflow_provider_telzino.api import endpoints
from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from tests.conftest import AGENT_ID, CALL_ID
from tests.support.api_values import GET_CALL, NUMBER, place


def test_get_call() -> None:
    """The path contains both ids, as the API writes them."""
    request = endpoints.get_call_request(AGENT_ID.upper(), f" {CALL_ID.upper()}\n")

    assert request.method == "GET"
    assert request.path == f"/v1/agents/{AGENT_ID}/outbound-calls/{CALL_ID}"
    assert request.call_id == CALL_ID
    assert request.idempotent


@pytest.mark.parametrize("call_id", [UUID(CALL_ID), {"id": CALL_ID, "status": "queued"}])
def test_a_uuid_or_a_record_can_be_given_as_call_id(call_id: object) -> None:
    """What placing a call pushed to XCom can be used as it is."""
    assert endpoints.get_call_request(AGENT_ID, call_id) == GET_CALL


@pytest.mark.parametrize(
    "call_id",
    [
        "",
        None,
        5,
        {},
        {"id": None},
        {"id": ["unhashable"]},
        "../../v1/agents",
        f"{CALL_ID}/../x",
        f"{CALL_ID}?x=1",
        f"{CALL_ID}#",
        f"{CALL_ID}%2F",
        f"{CALL_ID}\x00",
        CALL_ID.replace("-", ""),
        f"{{{CALL_ID}}}",
        "0fc6daf8-7251-4553-9488-867ba0b82d8é",
        "0fc6daf8-7251-4553-9488-867ba0b82d8\ud800",
    ],
)
def test_an_invalid_id_never_becomes_part_of_a_path(call_id: object) -> None:
    """Anything but a UUID is an error that names the field and doesn't repeat the value."""
    with pytest.raises(TelzinoConfigurationError, match="`call_id` should be a UUID") as caught:
        endpoints.get_call_request(AGENT_ID, call_id)

    assert "0fc6daf8" not in str(caught.value)


def test_a_record_that_jinja_turned_into_text_is_explained() -> None:
    """The most common mistake has a message of its own, without the record in it."""
    with pytest.raises(TelzinoConfigurationError, match="pass the XCom itself") as caught:
        endpoints.get_call_request(AGENT_ID, f"{{'id': '{CALL_ID}', 'to_number': '{NUMBER}'}}")

    assert NUMBER not in str(caught.value)


@pytest.mark.parametrize("agent_id", [None, ""])
def test_a_missing_agent_is_an_error_that_says_where_to_set_it(agent_id: str | None) -> None:
    """The API has no default agent."""
    with pytest.raises(TelzinoConfigurationError, match=r"of the task or hook, or .* in the connection"):
        endpoints.get_call_request(agent_id, CALL_ID)


def test_list_pages() -> None:
    """A list begins at page 1 with the largest pages, and each next page has the same filter."""
    first = endpoints.list_calls_request(AGENT_ID, "busy")
    second = endpoints.next_page(first)

    assert first.params == {"page": 1, "limit": 100, "status": "busy"}
    assert second.params == {"page": 2, "limit": 100, "status": "busy"}


def test_an_unknown_status_filter_is_refused() -> None:
    """A typo in the filter is an error that lists the statuses."""
    with pytest.raises(TelzinoConfigurationError, match="queued, dispatching"):
        endpoints.list_calls_request(AGENT_ID, "no-answer")


def test_place_call_sends_only_the_given_fields() -> None:
    """Optional fields that nobody set are not in the body."""
    request = place()

    assert request.json == {"to_number": NUMBER}
    assert not request.idempotent


def test_place_call_sends_all_the_given_fields() -> None:
    """They have their documented names."""
    body = {
        "to_number": NUMBER,
        "call_context": "Call John.",
        "metadata": {"crm": 1},
        "callback_url": "https://a.example/b",
    }

    request = place(**{name: value for name, value in body.items() if name != "to_number"})

    assert request.json == body


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("to_number", "18135559876", "E.164"),
        ("to_number", "+0123456", "E.164"),
        ("to_number", "+1 813 555 1234", "E.164"),
        ("to_number", "+1234567890123456", "E.164"),
        ("to_number", "+1813555123٤", "E.164"),
        ("to_number", "+18135551234\n", "E.164"),
        ("to_number", 18135551234, "E.164"),
        ("to_number", None, "E.164"),
        ("call_context", "x" * 4_001, "4,001 characters; the API accepts at most 4,000"),
        ("call_context", 7, "text"),
        ("call_context", "emoji \ud83d", "contains a lone surrogate"),
        ("callback_url", "https://ex\n.example/a b", "https://"),
        ("metadata", ["a"], "mapping"),
        ("metadata", {1: "a"}, "text keys"),
        ("metadata", {"a": {1, 2}}, "JSON doesn't have"),
        ("metadata", {"a": float("nan")}, "JSON doesn't have"),
        ("metadata", {"a": [float("inf")]}, "JSON doesn't have"),
        ("metadata", {"a": "é" * 9_000}, "18,008 bytes"),
        ("metadata", {"a": "\ud800"}, "lone surrogate"),
        ("callback_url", "http://a.example", "https://"),
        ("callback_url", "https:///path", "https://"),
        ("callback_url", "https://[", "https://"),
        ("callback_url", 5, "https://"),
    ],
)
def test_an_invalid_argument_is_refused_by_name(field: str, value: object, message: str) -> None:
    """Each documented limit is checked before anything is dialled; the value is not in the error."""
    with pytest.raises(TelzinoConfigurationError, match=f"`{field}`") as caught:
        place(**{field: value})

    assert message in str(caught.value)
    assert not isinstance(value, str) or len(value) < 6 or value not in str(caught.value)


def test_limits_may_be_reached() -> None:
    """The largest allowed values pass; the context is counted in characters."""
    metadata: dict[str, Any] = {"a": "x" * (16 * 1024 - len('{"a":""}'))}

    assert place(call_context="é" * 4_000, metadata=metadata).json


def test_a_body_is_json_whatever_it_contains() -> None:
    """A lone surrogate can't be encoded as UTF-8, but JSON has an escape for it."""
    request = GET_CALL._replace(json={"to": "ü\ud800"})

    assert request.body == b'{"to":"\xc3\xbc\\ud800"}'
    assert GET_CALL.body is None
