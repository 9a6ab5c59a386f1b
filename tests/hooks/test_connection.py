"""What the connection says reaches the wire, or is refused before anything is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import (
    ACCESS_TOKEN,
    DEFAULT_AGENT_ID,
    Sandbox,
)
from tests.conftest import CALL_ID, ConnectionSetter
from tests.hooks.conftest import HookMaker, HookUnderTest


@pytest.mark.parametrize("call_id", ["", "x", f"{CALL_ID}/..", f"{CALL_ID}?a=b", f"../{CALL_ID}"])
def test_bad_ids_never_reach_the_wire(sandbox: Sandbox, hook: HookUnderTest, call_id: str) -> None:
    """An id that isn't a UUID is refused before anything is sent, and the error names the connection."""
    with pytest.raises(exceptions.TelzinoConfigurationError, match="`call_id`") as caught:
        hook.get_call(call_id)

    assert sandbox.requests == []
    assert caught.value.conn_id == "telzino_default"


def test_a_missing_agent(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
) -> None:
    """Without an agent anywhere, the error says where to set one."""
    connect(sandbox, extra={"agent_id": None})

    with pytest.raises(exceptions.TelzinoConfigurationError, match="Agent ID in the connection"):
        make_hook().get_call(CALL_ID)


def test_a_plain_host_is_refused(connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]) -> None:
    """http:// to another machine would send the token in the clear."""
    connect("http://telzino.example")

    with pytest.raises(exceptions.TelzinoConfigurationError, match="in the clear"):
        make_hook().get_call(CALL_ID)


def test_credentials_of_netrc_stay_out(
    sandbox: Sandbox,
    hook: HookUnderTest,
    call: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    """Neither library puts credentials of ~/.netrc in the token's place."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    hook.get_call(call["id"])

    assert sandbox.requests[-1].headers["authorization"] == f"Bearer {ACCESS_TOKEN}"


def test_proxies_are_not_used_for_this_machine(
    sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain http:// request to the sandbox must not leave the machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert hook.get_call(call["id"])["id"] == call["id"]


def test_default_agent_of_the_connection(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """Requests go to the connection's default agent."""
    with pytest.raises(exceptions.TelzinoNotFoundError):
        hook.get_call(CALL_ID)

    assert DEFAULT_AGENT_ID in sandbox.requests[-1].path


def test_a_hook_can_be_closed_and_used_again(
    sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
) -> None:
    """Closing frees the connections, not the hook."""
    before = threading.active_count()  # `dag.test()` has left some, where it ran in this process
    hook.get_call(call["id"])
    hook.close()

    assert hook.get_call(call["id"])["id"] == call["id"]
    assert threading.active_count() < before + 10


def test_a_connection_that_does_not_exist(make_hook: HookMaker) -> None:
    """It is an error of ours that names the connection and what to do."""
    with pytest.raises(exceptions.TelzinoConnectionNotFoundError, match="Create it") as caught:
        make_hook().get_call(CALL_ID)

    assert isinstance(caught.value, exceptions.TelzinoConfigurationError)
    assert caught.value.conn_id == "telzino_default"
