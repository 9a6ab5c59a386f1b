"""Getting and listing, with both hooks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import (
    ACCESS_TOKEN,
    FORBIDDEN_AGENT_ID,
    Sandbox,
)
from tests.conftest import CALL_ID
from tests.hooks.conftest import NUMBER, OTHER_ID, HookUnderTest, requests_to


def test_get_call_gives_the_record_as_it_is(
    sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
) -> None:
    """The record is what the API says, field by field."""
    assert hook.get_call(call["id"]) == call


def test_the_documented_record_passes_untouched(
    sandbox: Sandbox, hook: HookUnderTest, seed_record: dict[str, Any]
) -> None:
    """The documentation's own example comes through byte for byte."""
    sandbox.faults.next("GET", CALL_ID, raw_body=json.dumps(seed_record).encode())

    assert hook.get_call(CALL_ID) == seed_record


def test_every_request_has_token_and_user_agent(
    sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
) -> None:
    """Requests identify the provider and carry the token."""
    hook.get_call(call["id"])

    headers = sandbox.requests[-1].headers
    assert headers["user-agent"].startswith("airflow-provider-telzino/")
    assert headers["authorization"] == f"Bearer {ACCESS_TOKEN}"


def test_list_calls_goes_through_all_pages(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """All calls come, newest first, each once, in pages of 100."""
    ids = [sandbox.place(NUMBER)["id"] for _ in range(250)]

    listed = [record["id"] for record in hook.list_calls()]

    assert listed == ids[::-1]
    assert [each.query["limit"] for each in requests_to(sandbox, "outbound-calls")] == ["100"] * 3


def test_list_calls_of_one_status(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """The filter is the server's."""
    for status in ("busy", "completed", "busy"):
        sandbox.add_call(status=status)

    assert [record["status"] for record in hook.list_calls(status="busy")] == ["busy", "busy"]


def test_get_transcript_finds_the_log(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """A transcript is found by its id in the call logs."""
    placed = [sandbox.place(NUMBER) for _ in range(3)]
    sandbox.clock.advance(3_600)
    transcript_id = sandbox.call(placed[0]["id"])["transcript_id"]

    log = hook.get_transcript(transcript_id)

    assert log["id"] == transcript_id
    assert log["transcript_text"]


def test_a_transcript_that_does_not_exist(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """The search ends with an error that says how far it went."""
    sandbox.add_call(status="completed")

    with pytest.raises(exceptions.TelzinoNotFoundError, match="newest 5,000 call logs"):
        hook.get_transcript(OTHER_ID)


def test_the_agent_of_a_method_wins(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """An agent given to the method is used instead of the connection's."""
    with pytest.raises(exceptions.TelzinoPermissionError):
        hook.get_call(CALL_ID, agent_id=FORBIDDEN_AGENT_ID)

    assert FORBIDDEN_AGENT_ID in sandbox.requests[-1].path


def test_one_connection_is_kept_alive(sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]) -> None:
    """Ten requests travel over one TCP connection."""
    for _ in range(10):
        hook.get_call(call["id"])

    assert len({each.client for each in sandbox.requests}) == 1
