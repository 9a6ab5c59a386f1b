"""Gathers all that an Airflow writes, to search it for what must not be there."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy
from cryptography.fernet import Fernet

PASSING_TABLES = {
    "trigger": "select * from trigger",
    "task_instance": "select next_method, next_kwargs from task_instance where next_kwargs is not null",
}
"""What Airflow removes when a wait is over: it has to be watched meanwhile."""

WATCH_INTERVAL = 0.2
ENCRYPTED = re.compile(r"gAAAAA[\w=-]+")
"""What Airflow encrypted. It encrypts a trigger's arguments, but whoever has its key reads them."""


class Watcher:
    """Reads Airflow's database beside it.

    Args:
        url: The database's address.
        fernet_key: Airflow's key.
    """

    def __init__(self, url: str, fernet_key: str) -> None:
        self._engine = sqlalchemy.create_engine(url)
        self._fernet = Fernet(fernet_key)
        self.seen: dict[str, set[str]] = {table: set() for table in PASSING_TABLES}
        """The rows that were there while it watched, by table."""

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what is there for a while only."""
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(WATCH_INTERVAL):
                for table, query in PASSING_TABLES.items():
                    # SQLite is locked now and then.
                    with contextlib.suppress(sqlalchemy.exc.OperationalError):
                        self.seen[table].update(map(self._decrypted, self._rows(query)))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def tables(self) -> dict[str, str]:
        """Return the content of every table, as text."""
        names = sqlalchemy.inspect(self._engine).get_table_names()
        quote = self._engine.dialect.identifier_preparer.quote
        return {name: "\n".join(self._rows(f"select * from {quote(name)}")) for name in names}  # noqa: S608

    def _decrypted(self, row: str) -> str:
        return ENCRYPTED.sub(lambda found: self._fernet.decrypt(found.group()).decode(), row)

    def _rows(self, query: str) -> list[str]:
        with self._engine.connect() as connection:
            return [repr(tuple(row)) for row in connection.execute(sqlalchemy.text(query))]


def written_files(folder: Path) -> dict[str, str]:
    """Return the content of every file in a folder, as text, but for the database's own."""
    return {
        str(path.relative_to(folder)): path.read_text(errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("airflow.db")
    }
