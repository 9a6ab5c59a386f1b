"""A gateway in front of the sandbox, killed in its place: the sandbox has its calls in memory.

``python -m tests.support.integration.crashes.gateway PORT HOST:PORT`` forwards every connection; without a
target it answers every request with 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from aiohttp import web

from devtools.airflow_instance.environment import LOOPBACK, free_port, inherited_environment
from devtools.processes import ROOT, ProcessFamily

CHUNK = 65_536  # bytes


class Gateway:
    """The gateway process in front of a sandbox."""

    def __init__(self, name: str, family: ProcessFamily, sandbox_url: str, log: Path) -> None:
        self.name = name
        self._family = family
        self._target = sandbox_url.removeprefix("http://")
        self._log = log
        self._port = free_port()
        self.url = f"http://{LOOPBACK}:{self._port}"

    def forward(self) -> None:
        """Forward all connections to the sandbox."""
        self._start(self._target)

    def be_unavailable(self) -> None:
        """Answer 503 to everything."""
        self._start()

    def refuse(self) -> None:
        """End: connections are refused."""
        self._family.children[self.name].kill()

    def _start(self, *target: str) -> None:
        if self.name in self._family.children:
            self.refuse()
        command = [sys.executable, "-m", __name__, str(self._port), *target]
        self._family.start(self.name, command, env=inherited_environment(), log=self._log, cwd=ROOT)


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Forward what is received until the end of the stream, then close the other one."""
    with contextlib.suppress(OSError):
        while chunk := await source.read(CHUNK):
            target.write(chunk)
            await target.drain()
    target.close()


async def forward(port: int, target: str) -> None:
    """Forward every connection to the target."""
    host, _, target_port = target.rpartition(":")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection(host, int(target_port))
        await asyncio.gather(copy(reader, target_writer), copy(target_reader, writer))

    server = await asyncio.start_server(connected, LOOPBACK, port)
    async with server:
        await server.serve_forever()


async def unavailable(request: web.Request) -> web.Response:
    """Answer as a load balancer without a healthy backend does."""
    return web.Response(status=503, text="no backend")


def main() -> None:
    """Serve until killed."""
    port, *target = sys.argv[1:]
    if target:
        asyncio.run(forward(int(port), *target))
    else:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", unavailable)
        web.run_app(app, host=LOOPBACK, port=int(port), print=None)


if __name__ == "__main__":
    main()
