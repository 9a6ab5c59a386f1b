"""HTTP servers and proxies on loopback, for what the sandbox can't do: TLS, tunnels, and raw bytes."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme

from tests.conftest import CALL_ID

RECORD = {"id": CALL_ID, "status": "completed"}


@contextlib.contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[str]:
    """Serve in a thread; give the address."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Server(ThreadingHTTPServer):
    """Answers every GET with ``RECORD``, and no POST; over TLS, if it gets a certificate."""

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

    def do_POST(self) -> None:
        """Take the request and break the connection off."""
        self.server.requests.append((self.path, dict(self.headers.items())))
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class Proxy(ThreadingHTTPServer):
    """Opens a tunnel to one server, whatever host a client names; or refuses with a status code."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, server: Server, refusal: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.server = server
        self.refusal = refusal
        self.tunnels: list[tuple[str, dict[str, str]]] = []

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server_address[1]}"


class _Tunnel(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        self.server.tunnels.append((self.path, dict(self.headers.items())))
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


class RawServer(socketserver.ThreadingTCPServer):
    """Answers each request on a connection with the next of these bytes, then closes the connection.

    Args:
        answers: The bytes. Without any left, the connection is closed without an answer.
        keep_open: Whether to leave the connection open after an answer.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, *answers: bytes, keep_open: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _RawAnswer)
        self.answers = list(answers)
        self.keep_open = keep_open
        self.requests: list[bytes] = []
        self.connections = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _RawAnswer(socketserver.BaseRequestHandler):
    server: RawServer

    def handle(self) -> None:
        self.server.connections += 1
        with contextlib.suppress(OSError):
            while request := self._next_request():
                self.server.requests.append(request)
                if not self.server.answers:
                    return
                self.request.sendall(self.server.answers.pop(0))
                if not self.server.keep_open:
                    self.request.shutdown(socket.SHUT_WR)

    def _next_request(self) -> bytes:
        """Read a whole request: clients may send head and body in two pieces."""
        request = b""
        while piece := self.request.recv(65_536):
            request += piece
            head, end, body = request.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            if end and len(body) >= (int(length[1]) if length else 0):
                break
        return request
