"""PostgreSQL and Redis for one ``with`` block: on free ports of loopback, in temporary folders.

Not by pytest-postgresql: it can't run as root, and its ``pg_ctl`` starts the server as a daemon, which no
test could crash and no family's guard would end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from devtools.airflow_instance.environment import LOOPBACK, free_port
from devtools.programs import find_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devtools.processes import Child, ProcessFamily

START_TIMEOUT = 30.0
"""Seconds until a server that was started accepts connections."""

POSTGRES_USER = "postgres" if os.geteuid() == 0 else None
"""The system user that PostgreSQL runs as: it refuses to run as root. Debian's package creates the user."""


class PostgresServer:
    """A PostgreSQL cluster that trusts everyone on loopback."""

    def __init__(self, family: ProcessFamily, folder: Path) -> None:
        self._family = family
        self._folder = folder
        self._port = free_port()
        self._pgdata = folder / "cluster"
        self.url = f"postgresql+psycopg2://airflow@{LOOPBACK}:{self._port}/postgres"
        """Its address for SQLAlchemy."""
        if POSTGRES_USER:
            shutil.chown(folder, POSTGRES_USER)
        options = ["--username=airflow", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run(
            [find_program("initdb"), f"--pgdata={self._pgdata}", *options],
            cwd=folder,
            user=POSTGRES_USER,
            check=True,
            capture_output=True,
        )

    @property
    def process(self) -> Child:
        """Its process, to be crashed."""
        return self._family.children["postgres"]

    def start(self) -> None:
        """Start it, for the first time or after a crash, and wait until it accepts connections."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self._port,
            "unix_socket_directories": self._folder,
            "fsync": "off",  # which survives the crash of a process, though not of the machine
            "max_connections": 300,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._family.start(
            "postgres",
            [find_program("postgres"), "-D", self._pgdata, *options],
            env=dict(os.environ),
            log=self._folder / "postgres.log",
            cwd=self._folder,
            user=POSTGRES_USER,
        )
        # Others may end because it was away: that is what some tests are about.
        self._family.wait_until(
            self._answers, "PostgreSQL answers", START_TIMEOUT, interval=0.05, only="postgres"
        )

    def _answers(self) -> bool:
        """Whether it accepts a client. Its port is open before that, while it recovers from a crash."""
        import psycopg2

        try:
            psycopg2.connect(self.url.replace("+psycopg2", ""), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True


@contextlib.contextmanager
def postgres_server(family: ProcessFamily) -> Iterator[PostgresServer]:
    """Run a PostgreSQL server."""
    with tempfile.TemporaryDirectory(prefix="telzino-postgres-") as folder:
        server = PostgresServer(family, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.process.kill_tree()


@contextlib.contextmanager
def redis_server(family: ProcessFamily) -> Iterator[str]:
    """Run a Redis server that keeps nothing on disk; yield its address for Celery."""
    port = free_port()
    # By default it would overwrite the environment by which its family finds it, with its title.
    options = ["--set-proc-title", "no", "--bind", LOOPBACK, "--port", str(port), "--save", ""]
    with tempfile.TemporaryDirectory(prefix="telzino-redis-") as name:
        folder = Path(name)
        command: list[str | Path] = [find_program("redis-server"), *options]
        child = family.start("redis", command, env=dict(os.environ), log=folder / "redis.log", cwd=folder)
        try:
            family.wait_until(lambda: _is_open(port), "Redis listens", START_TIMEOUT, interval=0.05)
            yield f"redis://{LOOPBACK}:{port}/0"
        finally:
            child.kill_tree()


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False
