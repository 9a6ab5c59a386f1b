"""Text that Airflow can't store or log: how both hooks return it, and how they don't show it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.hooks.conftest import HookUnderTest

TEXT = "emoji 😀, half of one \ud83d, NUL \0"
STORABLE = "emoji 😀, half of one �, NUL �"


@pytest.fixture
def call(sandbox: Sandbox) -> dict[str, Any]:
    """A call that has ended."""
    return sandbox.add_call("completed")


def test_a_record_can_be_stored(sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]) -> None:
    """Lone surrogates and NUL become U+FFFD; the rest of the record is as the API gives it."""
    record = call | {"summary_text": TEXT, "request_metadata": {TEXT: [{"a": TEXT}]}}
    sandbox.faults.next("GET", f"{call['id']}$", raw_body=json.dumps(record).encode())

    received = hook.get_call(call["id"])

    assert received == call | {"summary_text": STORABLE, "request_metadata": {STORABLE: [{"a": STORABLE}]}}


def test_a_list_can_be_stored(sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]) -> None:
    """An id that isn't a UUID is just text there."""
    items = [call | {"id": TEXT}, call | {"error": TEXT}]
    page = {"data": items, "pagination": {"hasNext": False}}
    sandbox.faults.next("GET", "outbound-calls$", raw_body=json.dumps(page).encode())

    assert list(hook.list_calls()) == [call | {"id": STORABLE}, call | {"error": STORABLE}]


def test_a_call_log_can_be_stored(sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]) -> None:
    """A transcript is text that speech recognition and a language model have written."""
    log = {"id": call["transcript_id"], "transcript_text": TEXT, "transcript_json": [{"text": TEXT}]}
    page = {"data": [log], "pagination": {"hasNext": False}}
    sandbox.faults.next("GET", "call-logs", raw_body=json.dumps(page).encode())

    received = hook.get_transcript(call["transcript_id"])

    assert received == log | {"transcript_text": STORABLE, "transcript_json": [{"text": STORABLE}]}


def test_a_refusal_quotes_no_one(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """The error names the field and the error code, and nothing else of the answer."""
    body = {"error": "invalid_number", "message": f"to_number +15005550100 of John is wrong {TEXT}"}
    sandbox.faults.next("POST", "outbound-calls", status=400, raw_body=json.dumps(body).encode())

    with pytest.raises(exceptions.TelzinoBadRequestError) as caught:
        hook.place_call("+15005550100", call_context="Call John.")

    assert "`to_number` (code invalid_number)" in str(caught.value)
    assert "John" not in str(caught.value)
    assert "5005550100" not in str(caught.value)
    assert str(caught.value).isascii()
