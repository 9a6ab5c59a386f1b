"""HTTPS and proxies, on real servers with certificates of a private authority: both hooks, test by test."""

from __future__ import annotations

import base64
import contextlib
import json
import select
import socket
import socketserver
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.hooks.telzino import TelzinoHook
from airflow_provider_telzino.sandbox import ACCESS_TOKEN
from tests.conftest import AGENT_ID, CALL_ID, ConnectionSetter
from tests.hooks.conftest import HookUnderTest

NAME = "telzino.example"
"""A host that only the proxy of these tests knows how to reach."""
RECORD = {"id": CALL_ID, "status": "completed"}

SECRET = "+15005550100"

HookMaker = Callable[[], HookUnderTest]


@contextlib.contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[None]:
    """Serve in a thread."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Server(ThreadingHTTPServer):
    """Answers every GET with ``RECORD``; over TLS, if it gets a certificate."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, certificate: trustme.LeafCert | None = None, host: str = "127.0.0.1") -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), _Answer)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        self.context = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(self.context)

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        return f"[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"{host!s}:{port}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread."""
        self.connections += 1
        # A client that doesn't trust the certificate breaks off.
        with contextlib.suppress(OSError):
            if self.context is not None:
                request = self.context.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers.items())))
        body = json.dumps(RECORD).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Proxy(ThreadingHTTPServer):
    """Opens a tunnel to one server, whatever host it is asked for; or refuses with a status code."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, server: Server, refusal: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.server = server
        self.refusal = refusal
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server_address[1]}"


class _Tunnel(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.path, dict(self.headers.items())))
        if self.server.refusal:
            self.send_error(self.server.refusal)
            return
        with socket.create_connection(self.server.server.server_address[:2]) as onward:  # type: ignore[arg-type]
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: onward, onward: self.connection}
            while True:
                for readable in select.select(list(ends), [], [])[0]:
                    if not (data := readable.recv(65_536)):
                        return
                    ends[readable].sendall(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts by itself."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its certificate as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    """An HTTPS server, known by its address and by ``NAME``."""
    server = Server(authority.issue_cert("127.0.0.1", NAME))
    with serving(server):
        yield server


def test_the_connections_ca_bundle_is_trusted(
    server: Server, bundle: Path, connect: ConnectionSetter, make_hook: HookMaker
) -> None:
    """A server whose certificate the bundle's authority has signed is trusted, over one connection."""
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


def test_a_bundle_that_changed_is_read_anew(
    server: Server, bundle: Path, connect: ConnectionSetter, make_hook: HookMaker
) -> None:
    """Authorities are exchanged in place: who opens a connection then trusts the new ones."""
    right = bundle.read_bytes()
    trustme.CA().cert_pem.write_to_path(str(bundle))
    connect(f"https://{server.address}", extra={"ca_bundle": str(bundle)})
    with pytest.raises(exceptions.TelzinoConfigurationError, match="can't be verified"):
        make_hook().get_call(CALL_ID)

    bundle.write_bytes(right)

    assert make_hook().get_call(CALL_ID) == RECORD


class TestProxies:
    """Those of the environment, as Airflow's images and workers set them."""

    @pytest.mark.parametrize("scheme", ["http://", ""])
    @pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
    def test_a_tunnel(
        self,
        server: Server,
        bundle: Path,
        connect: ConnectionSetter,
        make_hook: HookMaker,
        monkeypatch: pytest.MonkeyPatch,
        variable: str,
        scheme: str,
    ) -> None:
        """The proxy gets its credentials, and never the token."""
        connect(f"https://{NAME}", extra={"ca_bundle": str(bundle)})
        proxy = Proxy(server)
        monkeypatch.setenv(variable, f"{scheme}user:pass%20word@{proxy.address}")

        with serving(proxy):
            hook = make_hook()
            assert hook.get_call(CALL_ID) == RECORD
            hook.close()

        [(target, headers)] = proxy.asked
        assert target == f"{NAME}:443"
        kind, credentials = headers["Proxy-Authorization"].split()
        assert (kind, base64.b64decode(credentials)) == ("Basic", b"user:pass word")
        assert "Authorization" not in headers
        assert server.requests[0][1]["Host"] == NAME

    def test_one_that_refuses(
        self,
        server: Server,
        connect: ConnectionSetter,
        make_hook: HookMaker,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Nothing can have been dialled, and the error doesn't tell the proxy's password."""
        connect(f"https://{NAME}")
        proxy = Proxy(server, refusal=407)
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@{proxy.address}")

        with serving(proxy), pytest.raises(exceptions.TelzinoUnavailableError) as caught:
            make_hook().place_call("+15005550100", retry_for=0)

        assert not caught.value.maybe_received
        assert "hunter2" not in repr(caught.value) + repr(caught.value.__cause__)
        assert server.requests == []

    @pytest.mark.parametrize(
        "proxy", ["socks5://127.0.0.1:1", "http://:8080", "http://[x", "ftp://a.example"]
    )
    def test_one_that_can_not_be_used(
        self, connect: ConnectionSetter, make_hook: HookMaker, monkeypatch: pytest.MonkeyPatch, proxy: str
    ) -> None:
        """The error names the variable."""
        connect(f"https://{NAME}")
        monkeypatch.setenv("HTTPS_PROXY", proxy)

        with pytest.raises(exceptions.TelzinoConfigurationError, match="HTTPS_PROXY"):
            make_hook().get_call(CALL_ID)


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


@pytest.mark.parametrize("answer", [f"HTTP/9 {SECRET}", f"HTTP/1.1 200 {SECRET}\r\n{SECRET}"])
def test_what_a_broken_server_says_is_in_no_error(
    connect: ConnectionSetter, make_hook: HookMaker, answer: str
) -> None:
    """HTTP libraries quote what they can't read, which may be part of a record."""

    class Broken(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(f"{answer}\r\n\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Broken)
    connect(f"http://127.0.0.1:{server.server_address[1]}")

    with serving(server), pytest.raises(exceptions.TelzinoUnavailableError) as caught:
        make_hook().get_call(CALL_ID, retry_for=0)

    assert SECRET not in "".join(traceback.format_exception(caught.value))
