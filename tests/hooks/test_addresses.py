"""Hosts, addresses and paths of the base URL, on the wire."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from airflow_provider_telzino.hooks.telzino import TelzinoHook
from tests.conftest import AGENT_ID, CALL_ID, ConnectionSetter
from tests.hooks.conftest import HookMaker
from tests.support.http_servers import RECORD, Server, serving


@pytest.mark.parametrize(
    ("path", "sent"), [("", ""), ("/telzino/", "/telzino"), ("/Größe%20", "/Gr%C3%B6%C3%9Fe%20")]
)
def test_a_path_of_the_host(connect: ConnectionSetter, make_hook: HookMaker, path: str, sent: str) -> None:
    """A gateway may serve the API below a path of its own."""
    server = Server()
    connect(f"http://{server.address}{path}")

    with serving(server):
        hook = make_hook()
        assert hook.get_call(CALL_ID) == RECORD
        hook.close()

    assert server.requests[0][0] == f"{sent}/v1/agents/{AGENT_ID}/outbound-calls/{CALL_ID}"


def test_an_address_of_ipv6(connect: ConnectionSetter, make_hook: HookMaker) -> None:
    """It has brackets, on the wire too."""
    try:
        server = Server(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    connect(f"http://{server.address}")

    with serving(server):
        hook = make_hook()
        assert hook.get_call(CALL_ID) == RECORD
        hook.close()

    assert server.requests[0][1]["Host"] == server.address


def test_a_host_whose_first_address_is_dead(
    connect: ConnectionSetter, quick_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of a host's addresses is tried, in one request."""
    server = Server()
    connect(f"http://localhost:{server.server_address[1]}")
    addresses = {"localhost": ["127.0.0.9", "127.0.0.1"]}

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        found = addresses.get(host, [host])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    with serving(server), TelzinoHook() as hook:
        assert hook.get_call(CALL_ID, retry_for=0) == RECORD

    [(_, headers)] = server.requests
    assert headers["Accept-Encoding"] == "identity"
