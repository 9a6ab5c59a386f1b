"""Proxies of the environment, as Airflow's images and workers set them, with both hooks."""

from __future__ import annotations

import base64
import traceback
from pathlib import Path

import pytest

from airflow_provider_telzino import exceptions
from tests.conftest import CALL_ID, ConnectionSetter
from tests.hooks.conftest import NAME, HookMaker
from tests.support.http_servers import RECORD, Proxy, Server, serving


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_tunnel(
    server: Server,
    bundle: Path,
    connect: ConnectionSetter,
    make_hook: HookMaker,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """The proxy gets its credentials, and never the token."""
    connect(f"https://{NAME}", extra={"ca_bundle": str(bundle)})
    proxy = Proxy(server)
    monkeypatch.setenv(variable, f"http://user:pass%20word@{proxy.address}")

    with serving(proxy):
        hook = make_hook()
        assert hook.get_call(CALL_ID) == RECORD
        hook.close()

    [(target, headers)] = proxy.tunnels
    assert target == f"{NAME}:443"
    kind, credentials = headers["Proxy-Authorization"].split()
    assert (kind, base64.b64decode(credentials)) == ("Basic", b"user:pass word")
    assert "Authorization" not in headers
    assert server.requests[0][1]["Host"] == NAME


@pytest.mark.parametrize(
    "proxy",
    ["socks5://127.0.0.1:1", "http://:8080", "http://[x", "ftp://a.example", "user:hunter2@a.example:1"],
)
def test_one_that_can_not_be_used(
    connect: ConnectionSetter, make_hook: HookMaker, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """The error names the variable."""
    connect(f"https://{NAME}")
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(exceptions.TelzinoConfigurationError, match="HTTPS_PROXY") as caught:
        make_hook().get_call(CALL_ID)

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_without_a_scheme(
    server: Server,
    bundle: Path,
    connect: ConnectionSetter,
    make_hook: HookMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It counts as http://, as in requests."""
    connect(f"https://{NAME}", extra={"ca_bundle": str(bundle)})
    proxy = Proxy(server)
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)

    with serving(proxy):
        hook = make_hook()
        assert hook.get_call(CALL_ID) == RECORD
        hook.close()


@pytest.mark.parametrize(
    ("host", "exempt"),
    [(NAME, NAME), (NAME, "other.example, .example"), (NAME, f"{NAME}:443"), ("192.0.2.1", "192.0.2.0/24")],
)
def test_no_proxy(
    server: Server,
    connect: ConnectionSetter,
    make_hook: HookMaker,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    exempt: str,
) -> None:
    """Hosts, domains, ports and networks are exempt, by the rules of requests."""
    connect(f"https://{host}:443", extra={"timeout": 0.3})
    proxy = Proxy(server)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
    monkeypatch.setenv("NO_PROXY", exempt)

    with serving(proxy), pytest.raises(exceptions.TelzinoUnavailableError):
        make_hook().get_call(CALL_ID, retry_for=0)

    assert proxy.tunnels == []


def test_a_proxy_is_not_used_for_this_machine(
    server: Server,
    bundle: Path,
    connect: ConnectionSetter,
    make_hook: HookMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loopback address needs none, with https:// either."""
    connect(f"https://{server.address}", extra={"ca_bundle": str(bundle)})
    proxy = Proxy(server)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")

    with serving(proxy):
        assert make_hook().get_call(CALL_ID) == RECORD

    assert proxy.tunnels == []
