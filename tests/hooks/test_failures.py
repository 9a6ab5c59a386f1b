"""Requests without an answer, with both hooks: errors name the address and what to check, and no secret."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import CALL_ID, ConnectionSetter
from tests.hooks.conftest import NAME, NUMBER, HookMaker
from tests.support.http_servers import RECORD, Proxy, RawServer, Server, serving

WITH_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
UNENDING = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n"


@contextlib.contextmanager
def dribbling_server(head: bytes) -> Iterator[str]:
    """Answer with this head, then with a byte every 50 ms, 400 times."""
    stop = threading.Event()

    class Dribble(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(65_536)
                self.request.sendall(head)
                for _ in range(400):
                    if stop.wait(0.05):
                        break
                    self.request.sendall(b" ")

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dribble)) as address:
        try:
            yield f"http://{address}"
        finally:
            stop.set()


def unused_port() -> int:
    """A port of this machine without a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_refused_connection(connect: ConnectionSetter, make_hook: HookMaker) -> None:
    """The error names host and port, and it is certain that nobody was called."""
    port = unused_port()
    connect(f"http://127.0.0.1:{port}")

    with pytest.raises(exceptions.TelzinoUnavailableError) as caught:
        make_hook().place_call(NUMBER, retry_for=0)

    assert f"The connection failed: 127.0.0.1:{port} refused it. Check Base URL (`host`)" in str(caught.value)
    assert "may have been placed" not in str(caught.value)
    assert not caught.value.maybe_received


def test_a_host_name_that_does_not_exist(connect: ConnectionSetter, make_hook: HookMaker) -> None:
    """The error names it and DNS, and it is certain that nobody was called."""
    connect("https://telzino.invalid")

    with pytest.raises(exceptions.TelzinoUnavailableError) as caught:
        make_hook().place_call(NUMBER, retry_for=0)

    assert "telzino.invalid:443 can't be resolved" in str(caught.value)
    assert "DNS" in str(caught.value)
    assert not caught.value.maybe_received


def test_a_server_that_speaks_no_tls(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: HookMaker
) -> None:
    """A port of plain http:// is named as such."""
    connect(sandbox.url.replace("http://", "https://"))

    with pytest.raises(exceptions.TelzinoUnavailableError, match=r"did not agree on TLS.*https://"):
        make_hook().get_call(CALL_ID, retry_for=0)


def test_a_server_that_never_answers(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: HookMaker
) -> None:
    """The request ends after the connection's timeout, with an error that names it."""
    connect(sandbox, extra={"timeout": 0.3})
    sandbox.faults.next("POST", "outbound-calls", hang=True)

    with pytest.raises(
        exceptions.TelzinoUnavailableError, match=r"no answer from 127\.0\.0\.1:\d+ within 0\.3 s"
    ) as caught:
        make_hook().place_call(NUMBER, retry_for=0)

    assert caught.value.maybe_received
    assert "may have been placed" in str(caught.value)


@pytest.mark.parametrize("head", [WITH_LENGTH, UNENDING, CHUNKED], ids=["length", "no length", "chunk"])
def test_a_body_that_drips_in(connect: ConnectionSetter, make_hook: HookMaker, head: bytes) -> None:
    """The timeout is for the whole body, not for each byte of it."""
    with dribbling_server(head) as url:
        connect(url, extra={"timeout": 0.5})

        with pytest.raises(exceptions.TelzinoUnavailableError, match=r"within 0\.5 s"):
            make_hook().get_call(CALL_ID, retry_for=0)


def test_the_body_of_a_redirect_is_not_read(connect: ConnectionSetter, make_hook: HookMaker) -> None:
    """A redirect whose body drips in ends in time, too."""
    with dribbling_server(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 1000\r\n\r\n") as url:
        connect(url, extra={"timeout": 0.5})

        with pytest.raises(exceptions.TelzinoError):
            make_hook().get_call(CALL_ID, retry_for=0)


@pytest.mark.parametrize("idle", [True, False], ids=["while idle", "instead of answering"])
def test_a_kept_alive_connection_that_the_server_closes(
    connect: ConnectionSetter, make_hook: HookMaker, idle: bool
) -> None:
    """No POST is sent twice: not on a new connection either, when the old one breaks under it."""
    body = json.dumps(RECORD).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    server = RawServer(answer, keep_open=not idle)
    with serving(server):
        connect(server.url)
        hook = make_hook()
        hook.get_call(CALL_ID, retry_for=0)

        with pytest.raises(exceptions.TelzinoUnavailableError) as caught:
            hook.place_call(NUMBER)

    assert caught.value.maybe_received
    assert [each.split()[0] for each in server.requests] == [b"GET", b"POST"]
    assert idle or server.connections == 1


class TestProxies:
    """A proxy that fails before the request, and a connection through it that breaks after it."""

    def test_a_proxy_that_is_down(
        self, connect: ConnectionSetter, make_hook: HookMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The error names the variable, not its credentials, and it is certain that nobody was called."""
        connect(f"https://{NAME}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{unused_port()}")

        with pytest.raises(exceptions.TelzinoUnavailableError, match="HTTPS_PROXY") as caught:
            make_hook().place_call(NUMBER, retry_for=0)

        assert not caught.value.maybe_received
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))

    def test_a_proxy_that_refuses(
        self,
        server: Server,
        connect: ConnectionSetter,
        make_hook: HookMaker,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The same for one that doesn't accept the credentials."""
        connect(f"https://{NAME}")
        proxy = Proxy(server, refusal=407)
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@{proxy.address}")

        with serving(proxy), pytest.raises(exceptions.TelzinoUnavailableError, match="HTTPS_PROXY") as caught:
            make_hook().place_call(NUMBER, retry_for=0)

        assert f"{NAME}:443" in str(caught.value)
        assert not caught.value.maybe_received
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
        assert server.requests == []

    def test_a_post_whose_tunnel_breaks(
        self,
        server: Server,
        bundle: Path,
        connect: ConnectionSetter,
        make_hook: HookMaker,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The server has the POST, so the call may exist, though urllib3 reports a failure of the proxy."""
        connect(f"https://{NAME}", extra={"ca_bundle": str(bundle)})
        proxy = Proxy(server)
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")

        with serving(proxy):
            hook = make_hook()
            with pytest.raises(exceptions.TelzinoTransientError, match="may have been placed") as caught:
                hook.place_call(NUMBER)
            hook.close()

        assert caught.value.maybe_received
        assert len(server.requests) == 1


def test_an_earlier_failure_does_not_count_as_the_cause(
    sandbox: Sandbox, connect: ConnectionSetter, make_hook: HookMaker
) -> None:
    """A POST that is sent while a refused connection is handled may have been received all the same."""
    connect(f"http://127.0.0.1:{unused_port()}")
    sandbox.faults.next("POST", "outbound-calls", after_commit=True, reset=True)

    try:
        make_hook().get_call(CALL_ID, retry_for=0)
    except exceptions.TelzinoUnavailableError:
        connect(sandbox)
        with pytest.raises(exceptions.TelzinoTransientError) as caught:
            make_hook().place_call(NUMBER)

    assert caught.value.maybe_received
    assert len(sandbox.calls) == 1


SECRET = "+15005550100"


@pytest.mark.parametrize("answer", [f"HTTP/9 {SECRET}", f"HTTP/1.1 200 {SECRET}\r\n{SECRET}"])
def test_a_broken_answer_is_not_quoted(connect: ConnectionSetter, make_hook: HookMaker, answer: str) -> None:
    """HTTP libraries quote what they can't read, which may be part of a record."""
    server = RawServer(f"{answer}\r\n\r\n".encode())
    connect(server.url)

    with serving(server), pytest.raises(exceptions.TelzinoUnreadableAnswerError) as caught:
        make_hook().get_call(CALL_ID, retry_for=0)

    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_certificate_of_an_unknown_authority(
    authority: trustme.CA, connect: ConnectionSetter, make_hook: HookMaker, tmp_path: Any
) -> None:
    """The error names the address and the CA bundle."""
    server = Server(authority.issue_cert("127.0.0.1"))
    connect(f"https://{server.address}")

    with serving(server), pytest.raises(exceptions.TelzinoConfigurationError, match="CA bundle") as caught:
        make_hook().get_call(CALL_ID)

    assert server.address in str(caught.value)
