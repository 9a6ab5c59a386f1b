"""OAuth client credentials, with both hooks."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import (
    CLIENT_SECRET,
    Sandbox,
)
from tests.conftest import CALL_ID, ConnectionSetter
from tests.hooks.conftest import HookUnderTest, requests_to


def test_a_token_is_fetched_once(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
) -> None:
    """One token serves all requests of a hook; it goes out as documented."""
    connect(sandbox, oauth=True)
    record = sandbox.add_call(status="completed")
    hook = make_hook()

    for _ in range(5):
        hook.get_call(record["id"])

    token_requests = requests_to(sandbox, "/oauth/token")
    assert len(token_requests) == 1
    assert token_requests[0].json == {
        "client_id": "sandbox",
        "client_secret": CLIENT_SECRET,
        "audience": "https://api.telzino.com/",
        "grant_type": "client_credentials",
    }
    assert "authorization" not in token_requests[0].headers


def test_a_token_is_renewed_before_it_expires(
    sandbox: Sandbox,
    connect: ConnectionSetter,
    make_hook: Callable[[], HookUnderTest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shortly before its end a token counts as expired, so that no request meets a 401."""
    connect(sandbox, oauth=True)
    record = sandbox.add_call(status="completed")
    hook = make_hook()
    hook.get_call(record["id"])
    now = time.monotonic()
    monkeypatch.setattr("airflow_provider_telzino.api.token.time.monotonic", lambda: now + 86_400 - 30)

    hook.get_call(record["id"])

    assert len(requests_to(sandbox, "/oauth/token")) == 2
    assert [each.status for each in requests_to(sandbox, "outbound-calls")] == [200, 200]


def test_a_refused_token_is_renewed_once(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
) -> None:
    """After a 401 there is one new token; if that is refused, too, the error is final."""
    connect(sandbox, oauth=True)
    record = sandbox.add_call(status="completed")
    hook = make_hook()
    hook.get_call(record["id"])
    sandbox.faults.next("GET", "outbound-calls", status=401, times=2)

    with pytest.raises(exceptions.TelzinoCredentialsError, match="audience"):
        hook.get_call(record["id"])

    assert len(requests_to(sandbox, "/oauth/token")) == 2
    assert len(requests_to(sandbox, "outbound-calls")) == 3


def test_many_at_once_fetch_one_token(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
) -> None:
    """However many threads or coroutines need it at the same moment: one token, and one more after a 401."""
    connect(sandbox, oauth=True)
    record = sandbox.add_call(status="completed")
    hook = make_hook()

    hook.get_call_many_times_at_once(record["id"], 20)
    sandbox.revoke_tokens()
    hook.get_call_many_times_at_once(record["id"], 20)

    assert len(requests_to(sandbox, "/oauth/token")) == 2


def test_a_wrong_secret(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
) -> None:
    """The error names the fields to check, is final at once, and holds no secret."""
    connect(sandbox, login="sandbox", password="not-the-secret")

    with pytest.raises(exceptions.TelzinoCredentialsError, match=r"Client ID \(`login`\)") as caught:
        make_hook().get_call(CALL_ID)

    assert len(sandbox.requests) == 1
    assert "not-the-secret" not in str(caught.value)


def test_a_wrong_token(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
) -> None:
    """A pasted token that is refused is final at once; there is nothing to renew it with."""
    connect(sandbox, password="expired-token")

    with pytest.raises(exceptions.TelzinoCredentialsError, match="expires after a day") as caught:
        make_hook().get_call(CALL_ID)

    assert len(sandbox.requests) == 1
    assert "expired-token" not in str(caught.value)
