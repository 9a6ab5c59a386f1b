"""An HTTP server on loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvicorn

from airflow_provider_telzino.sandbox.wire import TRANSPORT

if TYPE_CHECKING:
    from airflow_provider_telzino.sandbox.wire import Application

START_TIMEOUT = 30.0
KEEP_ALIVE_SECONDS = 75
GRACE = 5.0
BACKLOG = 2048


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ValueError: The host is not loopback.
        OSError: The port is in use.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise ValueError(
            f"The sandbox listens on loopback only, such as 127.0.0.1, not on {host}, "
            "since its credentials are public."
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listener = socket.create_server((str(address), port), family=family, backlog=BACKLOG)
    # Connections inherit it. Without it, an answer in two parts waits 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class ThreadedServer:
    """Serves an ASGI application on a socket until it is stopped. Starts and stops in milliseconds."""

    def __init__(self, application: Application, listener: socket.socket) -> None:
        self._listener = listener
        config = uvicorn.Config(
            application,
            http=_protocol_with_transport(),
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level="warning",  # no messages about its start and end
            access_log=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="telzino-sandbox", daemon=True)
        self._running = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Start the thread, and return when the server is ready."""
        self._thread.start()
        if not self._running.wait(START_TIMEOUT) or self._failure is not None:
            raise RuntimeError("The sandbox's server did not start.") from self._failure

    def stop(self) -> None:
        """Close all connections, and return when the thread has ended."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._server.ended.set)
        self._thread.join(START_TIMEOUT)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # `start` raises it, in its own thread
            self._failure = error
        finally:
            self._listener.close()
            self._running.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server.on_start = self._running.set
        await self._server.serve(sockets=[self._listener])


class _Server(uvicorn.Server):
    """Uvicorn, but it stops at once: it neither checks for that every 0.1 s only, nor waits for clients."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = asyncio.Event()
        self.on_start: Any = None

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self.on_start()
        await self.ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if tasks := set(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=GRACE)  # They notice that their client has disconnected.


def _protocol_with_transport() -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol, with its transport in the ``state`` of the ASGI scope."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Protocol
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol as Protocol  # type: ignore[assignment]

    class ProtocolWithTransport(Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self.app_state = {**self.app_state, TRANSPORT: transport}
            self.access_log = False  # Uvicorn writes one whenever the root logger has a handler.
            super().connection_made(transport)

    return ProtocolWithTransport
