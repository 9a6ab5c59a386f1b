"""The layer between socket and API: records every request, and injects the faults of ``Faults``."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from airflow_provider_telzino.sandbox.faults import Fault, Faults, default_body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

API_PATHS = ("/oauth/", "/v1/")
MAX_BODY_BYTES = 1024 * 1024
TRANSPORT = "sandbox_transport"
"""The name of the connection in the ``state`` of the ASGI scope, where the server puts it."""


@dataclass
class ReceivedRequest:
    """A request to the API, as it was received, and the status of its answer."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    client: tuple[str, int] | None = None
    """The client's address and port, which requests over one connection have in common."""
    status: int | None = None
    """The status code of the answer; ``None`` until there is one, or if it was never sent."""

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Answer:
    """An answer that has not been sent yet."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


class Wire:
    """An ASGI application around the API.

    Args:
        api: The API.
        faults: The faults to inject.
        keep: Whether to record requests in ``requests``.
    """

    def __init__(self, api: Application, faults: Faults, *, keep: bool) -> None:
        self.requests: list[ReceivedRequest] = []
        self._api = api
        self._faults = faults
        self._keep = keep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith(API_PATHS):
            await self._api(scope, receive, send)
            return
        body = await _whole_body(receive)
        if body is None:
            return  # The client has disconnected.
        request = _received(scope, body)
        if self._keep:
            self.requests.append(request)
        fault = self._faults.for_request(request.method, request.path, time.monotonic())
        if fault == Fault():
            await self._api(scope, _replayed(body, receive), _recording(request, send))
            return
        await self._inject(fault, request, scope, receive, send)

    async def _inject(
        self, fault: Fault, request: ReceivedRequest, scope: Scope, receive: Receive, send: Send
    ) -> None:
        answer = Answer()
        if fault.reaches_api:
            await self._api(scope, _replayed(request.body, receive), _captured_in(answer))
        if fault.delay and not await _stays_connected(fault.delay, receive):
            return
        if fault.reset:
            _reset(scope["state"][TRANSPORT])
        if fault.reset or fault.hang:
            await _until_disconnected(receive)
            return
        if fault.replaces_answer:
            answer = _injected_answer(fault)
        request.status = answer.status
        if fault.cut_off:
            _send_half(scope["state"][TRANSPORT], answer)
            await _until_disconnected(receive)
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})


def _received(scope: Scope, body: bytes) -> ReceivedRequest:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    client = scope.get("client")
    return ReceivedRequest(
        scope["method"], scope["path"], query, headers, body, tuple(client) if client else None
    )


async def _whole_body(receive: Receive) -> bytes | None:
    """Read the body of a request, up to a size that every valid request is below."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        if len(body) <= MAX_BODY_BYTES:
            body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Let the API read a body that has already been read."""
    unread = [body]

    async def replay() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return replay


def _recording(request: ReceivedRequest, send: Send) -> Send:
    async def record(message: Message) -> None:
        if message["type"] == "http.response.start":
            request.status = message["status"]
        await send(message)

    return record


def _captured_in(answer: Answer) -> Send:
    async def capture(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        else:
            answer.body += message.get("body", b"")

    return capture


def _injected_answer(fault: Fault) -> Answer:
    status = fault.status or 200
    body = fault.raw_body
    if body is None:
        body = json.dumps(default_body(status)).encode()
    headers = {"Content-Type": fault.content_type, "Content-Length": str(len(body)), **fault.headers}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return Answer(status, encoded, body)


def _send_half(transport: asyncio.Transport, answer: Answer) -> None:
    """Send all headers, with the Content-Length of the whole body, and half of the body; then close."""
    lines = [f"HTTP/1.1 {answer.status} Sandbox".encode()]
    lines += [name + b": " + value for name, value in answer.headers]
    transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + answer.body[: len(answer.body) // 2])
    transport.close()


def _reset(transport: asyncio.Transport) -> None:
    """Close the connection with a TCP reset, so that the client sees a failure, not an end."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _stays_connected(seconds: float, receive: Receive) -> bool:
    """Wait so long, and return whether the client is still connected."""
    try:
        await asyncio.wait_for(_until_disconnected(receive), seconds)
    except asyncio.TimeoutError:
        return True
    return False


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
