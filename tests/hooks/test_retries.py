"""Failures of a GET, with both hooks: retried when that can help, final at once when it can't."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.api import retry
from airflow_provider_telzino.sandbox import (
    Sandbox,
)
from tests.conftest import CALL_ID, ConnectionSetter
from tests.hooks.conftest import NUMBER, OTHER_ID, HookUnderTest


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429},
        {"status": 500},
        {"status": 503, "retry_after": "0"},
        {"reset": True},
        {"cut_off": True},
        {"status": 200, "raw_body": b"<html>Sign in</html>"},
        {"status": 200, "raw_body": b""},
        {"status": 200, "raw_body": b"[]"},
        {"status": 404},
    ],
    ids=str,
)
def test_a_passing_fault_is_retried(
    sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any], fault: dict[str, Any]
) -> None:
    """Two faults, then the record: the caller sees only the record."""
    sandbox.faults.next("GET", "outbound-calls", times=2, **fault)

    assert hook.get_call(call["id"])["status"] == "completed"
    assert len(sandbox.requests) == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, exceptions.TelzinoBadRequestError),
        (403, exceptions.TelzinoPermissionError),
        (302, exceptions.TelzinoConfigurationError),
    ],
)
def test_a_final_error_is_final_at_once(
    sandbox: Sandbox, hook: HookUnderTest, status: int, error: type[Exception]
) -> None:
    """What a retry can't mend isn't retried."""
    sandbox.faults.next("GET", "outbound-calls", status=status, times=9)

    with pytest.raises(error):
        hook.get_call(CALL_ID)

    assert len(sandbox.requests) == 1


def test_an_unknown_call(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """A 404 may be of a call too young to be visible: only after a while it is final."""
    with pytest.raises(exceptions.TelzinoNotFoundError, match=CALL_ID):
        hook.get_call(CALL_ID)

    assert len(sandbox.requests) > 3


def test_a_call_that_is_visible_late(sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]) -> None:
    """How long a call is missing counts, not how often: the API may need some time."""
    sandbox.faults.next("GET", "outbound-calls", status=404, times=5)

    assert hook.get_call(call["id"]) == call


def test_an_unknown_call_in_a_single_try(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """With a single try, the 404 is raised at once."""
    with pytest.raises(exceptions.TelzinoNotFoundError):
        hook.get_call(CALL_ID, retry_for=0)

    assert len(sandbox.requests) == 1


def test_an_unknown_agent(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """A POST to an unknown agent is refused, and not repeated."""
    with pytest.raises(exceptions.TelzinoNotFoundError):
        hook.place_call(NUMBER, agent_id=OTHER_ID)

    assert len(sandbox.requests) == 1


def test_a_redirect_is_not_followed(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """A redirect, which would take the token elsewhere, is an error."""
    sandbox.faults.next("GET", "outbound-calls", location=f"{sandbox.url}/v1/agents")

    with pytest.raises(exceptions.TelzinoConfigurationError, match="redirect"):
        hook.get_call(CALL_ID)

    assert len(sandbox.requests) == 1


def test_a_huge_body_is_not_read(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """A body of 20 MB is not read beyond 10."""
    sandbox.faults.next("GET", "outbound-calls", raw_body=b" " * 20 * 1024 * 1024)

    with pytest.raises(exceptions.TelzinoUnreadableAnswerError, match="larger than 10 MB"):
        hook.get_call(CALL_ID, retry_for=0)


@pytest.mark.parametrize("location", ["http://[bad", "/elsewhere"])
def test_the_address_of_a_redirect_does_not_matter(
    sandbox: Sandbox, hook: HookUnderTest, location: str
) -> None:
    """A redirect isn't followed, so whatever it says is the same error."""
    sandbox.faults.next("GET", "outbound-calls", location=location)

    with pytest.raises(exceptions.TelzinoConfigurationError, match="redirect"):
        hook.get_call(CALL_ID)


def test_a_404_after_an_outage_is_not_final(
    sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only 404s in a row count: a gateway that comes back may say anything for a moment."""
    monkeypatch.setattr(retry, "NOT_FOUND_FOR", 30.0)
    for status in (503, 503, 503, 404, 404, 503, 404, 404):
        sandbox.faults.next("GET", "outbound-calls", status=status)

    assert hook.get_call(call["id"]) == call


def test_a_token_endpoint_that_hangs(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
) -> None:
    """A request that waits while another one fetches the token has its own time limit."""
    connect(sandbox, oauth=True, extra={"timeout": 0.4})
    sandbox.faults.next("POST", "/oauth/token", hang=True, times=50)
    hook = make_hook()

    with pytest.raises(exceptions.TelzinoUnavailableError):
        hook.get_call_many_times_at_once(CALL_ID, 10, retry_for=0)


def test_a_list_without_end_ends(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """A server that always promises another page, but has nothing new, is not polled forever."""
    page = {"data": [{"id": CALL_ID, "status": "busy"}], "pagination": {"hasNext": True}}
    sandbox.faults.next("GET", "outbound-calls", raw_body=json.dumps(page).encode(), times=1_000)

    assert [record["id"] for record in hook.list_calls()] == [CALL_ID]
    assert len(sandbox.requests) == 4


def test_retries_end_when_their_time_is_over(
    sandbox: Sandbox, hook: HookUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last error is raised after the time that was given, not later."""
    monkeypatch.setattr(retry, "BACKOFF_BASE", 0.05)
    sandbox.faults.next("GET", "outbound-calls", status=503, times=1_000)

    with pytest.raises(exceptions.TelzinoUnavailableError, match="503"):
        hook.get_call(CALL_ID, retry_for=0.3)

    assert len(sandbox.requests) < 200


def test_a_retry_after_beyond_the_time_left_fails_at_once(
    sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
) -> None:
    """No request is sent before the API allows it."""
    sandbox.faults.next("GET", "outbound-calls", status=429, retry_after="3600")

    with pytest.raises(exceptions.TelzinoRateLimitError) as caught:
        hook.get_call(call["id"], retry_for=30)

    assert caught.value.retry_after == 3_600
    assert [request.method for request in sandbox.requests].count("GET") == 1


def test_retry_after_is_a_floor(sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]) -> None:
    """No request comes sooner than the server asked for."""
    sandbox.faults.next("GET", "outbound-calls", status=429, retry_after="0.4")
    started = time.monotonic()

    hook.get_call(call["id"])

    assert time.monotonic() - started >= 0.4


def test_retries_are_logged_with_their_reason(
    sandbox: Sandbox,
    hook: HookUnderTest,
    call: dict[str, Any],
    task_log: pytest.LogCaptureFixture,
) -> None:
    """A retry says why and when, and to which call and connection."""
    sandbox.faults.next("GET", "outbound-calls", status=503)

    hook.get_call(call["id"])

    retries = [line for line in task_log.messages if "Trying again" in line]
    assert len(retries) == 1
    for part in ("503", "telzino_default", call["id"]):
        assert part in retries[0]
