"""A Telzino that costs next to nothing, so that contenders are measured and not the server.

It serves the reads of the documented API: a call, an agent's list, an agent, a token. Each run of a contender
gets a *world* of its own: agents with calls that end when the run says, and a book of all requests for them.
The tool that runs the contenders sends POST requests to ``/worlds``; see :mod:`benchmarks.worlds`.

``python -m benchmarks.server`` listens on a free port of loopback and prints it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from benchmarks.calls import Agent, World, ended_status

MAX_PAGE_SIZE = 100
ANSWER = (
    b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\n"
    b"Server: bench\r\nContent-Length: %d\r\n\r\n"
)
REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 503: b"Service Unavailable"}
NOT_FOUND = 404, b'{"error": "Not found"}'

Answer = tuple[int, bytes]


class Telzino:
    """All worlds, and what is answered to each request."""

    def __init__(self) -> None:
        self.worlds: dict[str, World] = {}
        self.agents: dict[str, Agent] = {}

    def answer(self, method: str, target: str, body: bytes) -> tuple[World | None, Answer]:
        """Return the answer to a request, and the world that it was for."""
        path, _, query = target.partition("?")
        kind, *rest = path.strip("/").split("/")
        if method == "POST":
            return (
                None,
                self._token() if kind == "oauth" else self._control(rest, json.loads(body or b"{}")),
            )
        if kind == "v1" and rest[:1] == ["agents"] and len(rest) > 1:
            agent = self.agents.get(rest[1])
        elif kind == "ended" and len(rest) == 2:
            agent = self.agents.get(rest[0])
        else:
            agent = None
        if agent is None:
            return None, NOT_FOUND
        now = time.time()
        told, answer = self._read(agent, kind, rest, query, now)
        agent.world.book.enter(now, told)
        return agent.world, answer

    def _read(self, agent: Agent, kind: str, rest: list[str], query: str, now: float) -> tuple[int, Answer]:
        """Answer a GET; with it goes how many calls that are waited for it told of."""
        if now < agent.world.away_until:
            return 0, (503, b'{"error": "Service unavailable"}')
        if kind == "ended":
            return self._has_ended(agent, rest[1], now)
        if len(rest) == 2:
            return 0, (200, b'{"data": {"id": "%s"}}' % agent.id.encode())
        if rest[2] != "outbound-calls":
            return 0, NOT_FOUND
        if len(rest) == 3:
            return self._list(agent, query, now)
        call = agent.by_id.get(rest[3])
        return (1, (200, call.record(now))) if call else (0, NOT_FOUND)

    @staticmethod
    def _has_ended(agent: Agent, call_id: str, now: float) -> tuple[int, Answer]:
        """For ``HttpSensor``, which can't read a record when it defers: 404 until the call has ended."""
        call = agent.by_id.get(call_id)
        ended = call is not None and call.has_ended(now)
        return 1, (200, b"{}") if ended else NOT_FOUND

    @staticmethod
    def _list(agent: Agent, query: str, now: float) -> tuple[int, Answer]:
        given = {name: values[-1] for name, values in parse_qs(query).items()}
        page, limit = int(given.get("page", 1)), int(given.get("limit", 50))
        if not (1 <= limit <= MAX_PAGE_SIZE and page >= 1):
            return 0, (400, b'{"error": "Bad page or limit"}')
        calls = agent.calls
        if "status" in given:
            calls = [call for call in calls if ended_status(call, now) == given["status"]]
        total = len(calls)
        end = max(0, total - (page - 1) * limit)
        shown = calls[max(0, end - limit) : end][::-1]
        body = b'{"data": [%s], "pagination": {"page": %d, "limit": %d, "total": %d, "totalPages": %d, ' % (
            b", ".join([call.list_item(now) for call in shown]),
            *(page, limit, total, -(-total // limit)),
        )
        body += b'"hasNext": %s, "hasPrev": %s}}' % (
            b"true" if end > limit else b"false",
            b"true" if page > 1 else b"false",
        )
        return sum(call.waited for call in shown), (200, body)

    @staticmethod
    def _token() -> Answer:
        return 200, b'{"access_token": "bench-token", "token_type": "Bearer", "expires_in": 86400}'

    def _control(self, rest: list[str], body: dict[str, Any]) -> Answer:
        """Make a world, read its book, let it be away for a while, or drop it."""
        name, what = rest[0], rest[1]
        if what == "make":
            world = self.worlds[name] = World(name, **body)
            self.agents.update({agent.id: agent for agent in world.agents})
            return 200, json.dumps(world.waited()).encode()
        world = self.worlds[name]
        if what == "read":
            return 200, json.dumps(world.book.between(**body)).encode()
        if what == "away":
            world.away_until = time.time() + body["seconds"]
        if what == "drop":
            world.stop()
            del self.worlds[name]
            for agent in world.agents:
                del self.agents[agent.id]
        return 200, b"{}"


class Connection(asyncio.Protocol):
    """One client's connection, kept alive: reads requests, writes answers."""

    def __init__(self, answer: Callable[[str, str, bytes], tuple[World | None, Answer]]) -> None:
        self.answer = answer
        self.world: World | None = None
        self.received = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write to."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Take it out of its world's book."""
        if self.world is not None:
            self.world.book.closed(time.time())

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].decode("latin-1")
            start = end + 4
            length = _content_length(head) if head.startswith("POST") else 0
            if len(self.received) < start + length:
                return
            body, self.received = self.received[start : start + length], self.received[start + length :]
            method, target, _ = head.split(" ", 2)
            world, (status, content) = self.answer(method, target, body)
            if world is not None and self.world is None:
                self.world = world
                world.book.connected(time.time())
            self.transport.write(ANSWER % (status, REASONS[status], len(content)) + content)


def _content_length(head: str) -> int:
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


async def serve() -> None:
    """Listen on a free port until the end, and print it."""
    telzino = Telzino()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(telzino.answer), "127.0.0.1", 0, backlog=4096
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
