"""PostgreSQL and Redis for one test: private servers on free ports of loopback, gone at its end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from devtools.airflow_instance.environment import LOOPBACK, free_port
from devtools.system_packages import find_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

    from devtools.processes import Child, ProcessFamily

START_TIMEOUT = 30.0
"""Seconds until a server that was started accepts connections."""

POSTGRES_USER = "postgres"
"""The system user that Debian's package makes: PostgreSQL refuses to run as root."""


class Server:
    """A server process of a family, with a temporary folder of its own, for one ``with`` block."""

    name: str
    user: str | None = None  # the system user that it runs as; without one, ours

    def __init__(self, family: ProcessFamily) -> None:
        self.family = family
        self.port = free_port()
        self.folder = Path()

    def __enter__(self) -> Self:
        """Start it, and wait until it accepts connections."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"telzino-{self.name}-"))
        try:
            if self.user:
                shutil.chown(self.folder, self.user)
            self.prepare()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, and remove its folder."""
        self.stop()

    @property
    def process(self) -> Child:
        """Its process, to kill, freeze or terminate it."""
        return self.family.children[self.name]

    def prepare(self) -> None:
        """Fill the folder before the first start."""

    def command(self) -> Sequence[str | Path]:
        """Return what starts it."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, or start it again after a crash, and wait until it accepts connections."""
        # Beside the folder, which the server may own.
        log = self.folder.with_suffix(".log")
        child = self.family.start(
            self.name, self.command(), env=dict(os.environ), log=log, cwd=self.folder, user=self.user
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not self.accepts_connections():
            if not child.running or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def accepts_connections(self) -> bool:
        """Whether its port is open."""
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End the process, if it runs, and remove its folder and log."""
        if self.name in self.family.children and self.process.running:
            self.process.kill_tree()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.with_suffix(".log").unlink(missing_ok=True)


class PostgresServer(Server):
    """A PostgreSQL cluster that trusts everyone on loopback."""

    name = "postgres"
    user = POSTGRES_USER if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        """Its address for SQLAlchemy."""
        return f"postgresql+psycopg2://airflow@{LOOPBACK}:{self.port}/postgres"

    def prepare(self) -> None:
        """Make the cluster."""
        options = ["--username=airflow", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run(
            [find_program("initdb"), f"--pgdata={self.folder / 'cluster'}", *options],
            cwd=self.folder,
            user=self.user,
            check=True,
            capture_output=True,
        )

    def command(self) -> Sequence[str | Path]:
        """Return what starts it; it survives the crash of a process without fsync."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 300,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [find_program("postgres"), "-D", self.folder / "cluster", *options]

    def accepts_connections(self) -> bool:
        """Whether it answers a query: the port is open before that, while it recovers from a crash."""
        import psycopg2

        try:
            psycopg2.connect(self.url.replace("+psycopg2", ""), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True


class RedisServer(Server):
    """A Redis that keeps nothing on disk."""

    name = "redis"

    @property
    def url(self) -> str:
        """Its address for Celery."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
        """Return what starts it."""
        # It would write its title over the environment by which its family finds it.
        options = ["--set-proc-title", "no", "--bind", LOOPBACK, "--port", str(self.port), "--save", ""]
        return [find_program("redis-server"), *options]
