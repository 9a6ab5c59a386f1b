"""Private PostgreSQL and Redis servers."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
import redis

from devtools import system_packages
from devtools.processes import ProcessFamily
from devtools.servers import PostgresServer, RedisServer
from devtools.system_packages import MissingProgramError, find_program
from tests.support.programs import needs

pytestmark = pytest.mark.slow


@pytest.fixture
def family() -> Iterator[ProcessFamily]:
    """Processes that end with the test."""
    family = ProcessFamily()
    yield family
    family.stop()


@needs("postgres", "initdb")
def test_postgres_survives_a_crash(family: ProcessFamily) -> None:
    """What was committed is there again after a kill -9, and nothing is left at the end."""
    with PostgresServer(family) as server:
        url = server.url.replace("+psycopg2", "")
        with psycopg2.connect(url) as before, before.cursor() as cursor:
            cursor.execute("create table kept as select 7 as answer")
        before.close()

        server.process.kill_tree()
        gone = server.accepts_connections()
        server.start()
        with psycopg2.connect(url) as after, after.cursor() as cursor:
            cursor.execute("select answer from kept")
            answer = cursor.fetchone()
        after.close()

    assert gone is False
    assert answer == (7,)
    assert not server.folder.exists()
    assert not server.process.running


@needs("redis-server")
def test_redis(family: ProcessFamily) -> None:
    """It takes and gives a value, and nothing is left at the end."""
    with RedisServer(family) as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        value = client.get("key")
        members = [process.pid for process in family.members()]
        pid = server.process.pid

    assert value == b"value"
    assert pid in members
    assert not server.folder.exists()
    assert not server.process.running


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which Debian package brings the program."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(system_packages, "POSTGRES_FOLDERS", "/nowhere/*")

    with pytest.raises(MissingProgramError, match="apt-get install redis-server"):
        find_program("redis-server")

    assert system_packages.missing_packages() == ["chromium", "postgresql", "redis-server"]
