"""Placing a call with both hooks: a POST is never sent twice if a person might be called twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import (
    Sandbox,
)
from tests.conftest import ConnectionSetter
from tests.hooks.conftest import NUMBER, HookUnderTest, requests_to


def test_place_call_gives_the_answer_as_it_is(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """The answer is the documented one, and the body has what the caller gave."""
    answer = hook.place_call(NUMBER, call_context="Call John.", metadata={"crm": 1})

    assert set(answer) == {"id", "status", "room_name", "created_at"}
    assert hook.get_call(answer["id"])["call_context"] == "Call John."
    assert hook.get_call(answer["id"])["request_metadata"] == {"crm": 1}


def test_metadata_is_sent_as_it_was_measured(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """Compact and in UTF-8: what just fits must not grow by escapes on its way."""
    metadata = {"ü": "ü" * 8_180, "n": [1, 2]}

    hook.place_call(NUMBER, metadata=metadata)

    (request,) = sandbox.requests
    assert '"metadata":{"ü":"üü'.encode() in request.body
    assert len(request.body) < 16_384 + 100
    assert request.headers["content-type"] == "application/json"
    assert sandbox.calls[0]["request_metadata"] == metadata


def test_a_single_post(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """``retry_for=0`` means a single try, for callers that check something before each POST."""
    sandbox.faults.next("POST", "outbound-calls$", status=429, retry_after="0", times=2)

    with pytest.raises(exceptions.TelzinoRateLimitError):
        hook.place_call(NUMBER, retry_for=0)

    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 503, "retry_after": "0"},
        {"after_commit": True, "status": 500},
        {"after_commit": True, "reset": True},
        {"after_commit": True, "cut_off": True},
        {"raw_body": b"<html>ok</html>", "status": 200},
        {"reset": True},
    ],
    ids=str,
)
def test_a_post_that_may_have_been_received_is_not_sent_again(
    sandbox: Sandbox, hook: HookUnderTest, fault: dict[str, Any]
) -> None:
    """Whatever came instead of an answer, one POST was sent, and the error warns of the call."""
    sandbox.faults.next("POST", "outbound-calls", **fault)

    with pytest.raises(exceptions.TelzinoTransientError, match="may have been placed") as caught:
        hook.place_call(NUMBER)

    assert caught.value.maybe_received
    assert len(requests_to(sandbox, "outbound-calls")) == 1
    assert len(sandbox.calls) <= 1


def test_a_refused_post_is_sent_again(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """A 429 means that nobody was called, so the POST is retried."""
    sandbox.faults.next("POST", "outbound-calls", status=429, retry_after="0", times=2)

    hook.place_call(NUMBER)

    assert len(requests_to(sandbox, "outbound-calls")) == 3
    assert len(sandbox.calls) == 1


def test_a_post_whose_token_expired_is_sent_again(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
) -> None:
    """So does a 401: a new token, and one call."""
    connect(sandbox, oauth=True)
    hook = make_hook()
    hook.place_call(NUMBER)
    sandbox.revoke_tokens()

    hook.place_call(NUMBER)

    assert len(sandbox.calls) == 2
    assert len(requests_to(sandbox, "/oauth/token")) == 2


def test_a_failing_token_endpoint_is_no_reason_to_give_up(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
) -> None:
    """While the token is fetched, nothing was dialled, so even a POST is retried."""
    connect(sandbox, oauth=True)
    sandbox.faults.next("POST", "/oauth/token", status=503, times=2)

    make_hook().place_call(NUMBER)

    assert len(sandbox.calls) == 1


def test_bad_input_is_never_sent(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """A number that isn't E.164 is never dialled, and not quoted in the error."""
    with pytest.raises(exceptions.TelzinoConfigurationError, match="`to_number`") as caught:
        hook.place_call("813 555 6789")

    assert sandbox.requests == []
    assert "6789" not in str(caught.value)
    assert caught.value.conn_id == "telzino_default"
