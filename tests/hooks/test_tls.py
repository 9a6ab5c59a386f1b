"""TLS, on real servers with certificates of a private authority, with both hooks."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.hooks.telzino import TelzinoHook
from airflow_provider_telzino.sandbox import ACCESS_TOKEN
from tests.conftest import AGENT_ID, CALL_ID, ConnectionSetter
from tests.hooks.conftest import HookMaker
from tests.support.http_servers import RECORD, Server, serving


def test_the_connections_ca_bundle_is_trusted(
    server: Server, bundle: Path, connect: ConnectionSetter, make_hook: HookMaker
) -> None:
    """A certificate that the bundle's authority has signed is trusted, over one connection."""
    connect(f"https://{server.address}", extra={"ca_bundle": str(bundle)})
    hook = make_hook()

    assert [hook.get_call(CALL_ID) for _ in range(3)] == [RECORD] * 3
    assert server.connections == 1
    path, headers = server.requests[-1]
    assert path == f"/v1/agents/{AGENT_ID}/outbound-calls/{CALL_ID}"
    assert headers["Host"] == server.address
    assert headers["Authorization"] == f"Bearer {ACCESS_TOKEN}"


@pytest.mark.parametrize("trusted", [False, True], ids=["unknown authority", "another host's certificate"])
def test_a_certificate_that_is_not_trusted(
    authority: trustme.CA, bundle: Path, connect: ConnectionSetter, make_hook: HookMaker, trusted: bool
) -> None:
    """It is a final error that names the fix; no token is sent."""
    server = Server(authority.issue_cert("other.example"))
    connect(f"https://{server.address}", extra={"ca_bundle": str(bundle)} if trusted else {})

    with serving(server), pytest.raises(exceptions.TelzinoConfigurationError, match="can't be verified"):
        make_hook().get_call(CALL_ID)

    assert server.requests == []


def test_a_bundle_that_changed_is_read_again(
    server: Server, bundle: Path, connect: ConnectionSetter, make_hook: HookMaker
) -> None:
    """Bundles are replaced in place: a hook that connects later trusts the new one."""
    right = bundle.read_bytes()
    trustme.CA().cert_pem.write_to_path(str(bundle))
    connect(f"https://{server.address}", extra={"ca_bundle": str(bundle)})
    with pytest.raises(exceptions.TelzinoConfigurationError, match="can't be verified"):
        make_hook().get_call(CALL_ID)

    bundle.write_bytes(right)

    assert make_hook().get_call(CALL_ID) == RECORD


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environments_ca_bundle(
    server: Server,
    bundle: Path,
    connect: ConnectionSetter,
    make_hook: HookMaker,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """The variables that requests knows count for both hooks."""
    connect(f"https://{server.address}")
    monkeypatch.setenv(variable, str(bundle))

    assert make_hook().get_call(CALL_ID) == RECORD


def test_the_connections_ca_bundle_wins(
    server: Server,
    bundle: Path,
    tmp_path: Path,
    connect: ConnectionSetter,
    make_hook: HookMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection is more specific than the environment, for the hook and for its session."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    connect(f"https://{server.address}", extra={"ca_bundle": str(bundle)})

    record = make_hook().get_call(CALL_ID)
    with TelzinoHook() as hook:
        answer = hook.get_conn().get(f"https://{server.address}/")

    assert record == RECORD
    assert answer.json() == RECORD


@pytest.mark.parametrize(
    ("path", "words"), [("/does/not/exist.pem", "can't be read"), (__file__, "without CA certificates")]
)
@pytest.mark.parametrize("field", ["ca_bundle", "REQUESTS_CA_BUNDLE"])
def test_a_ca_bundle_that_can_not_be_used(
    server: Server,
    connect: ConnectionSetter,
    make_hook: HookMaker,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    path: str,
    words: str,
) -> None:
    """The error names where it is set, and nothing is sent."""
    connect(f"https://{server.address}", extra={"ca_bundle": path} if field == "ca_bundle" else {})
    if field == "REQUESTS_CA_BUNDLE":
        monkeypatch.setenv(field, path)

    with pytest.raises(exceptions.TelzinoConfigurationError, match=f"{field}.*{words}") as caught:
        make_hook().get_call(CALL_ID)

    assert caught.value.conn_id == "telzino_default"
    assert server.requests == []
