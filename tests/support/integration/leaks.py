"""Collects all that an Airflow writes, to search it for what must not be there."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy
from cryptography.fernet import Fernet

PASSING_TABLES = {
    "trigger": "select * from trigger",
    "task_instance": "select task_id, next_method, next_kwargs from task_instance "
    "where next_kwargs is not null",
}
"""What Airflow deletes when a wait has ended: it has to be read before."""

WATCH_INTERVAL = 0.5
"""Seconds. A wait, and with it the row of its trigger, lasts at least five."""
ENCRYPTED = re.compile(r"gAAAAA[\w=-]+")
"""What Airflow encrypted. It encrypts the arguments of a trigger, but who has the key can read them."""


class Watcher:
    """Reads the database of a running Airflow.

    Args:
        url: The database's address.
        fernet_key: Airflow's key.
    """

    def __init__(self, url: str, fernet_key: str) -> None:
        self._engine = sqlalchemy.create_engine(url)
        self._fernet = Fernet(fernet_key)
        self._seen: dict[str, set[str]] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Read repeatedly what exists only for a while, until the end of the block."""
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(WATCH_INTERVAL):
                for table, query in PASSING_TABLES.items():
                    # SQLite is sometimes locked.
                    with contextlib.suppress(sqlalchemy.exc.OperationalError):
                        self._read(table, query)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def read_all_tables(self) -> None:
        """Read every row and column that exists now."""
        quote = self._engine.dialect.identifier_preparer.quote
        for table in sqlalchemy.inspect(self._engine).get_table_names():
            self._read(table, f"select * from {quote(table)}")  # noqa: S608

    def seen(self) -> dict[str, str]:
        """Return all rows that were ever read, as text, by table, and by task id where the rows have one."""
        return {place: "\n".join(sorted(rows)) for place, rows in self._seen.items()}

    def close(self) -> None:
        """Close the connections to the database."""
        self._engine.dispose()

    def _read(self, table: str, query: str) -> None:
        with self._engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(sqlalchemy.text(query)).mappings()]
        for row in rows:
            place = f"{table} of {row['task_id']}" if row.get("task_id") else table
            text = repr({column: _readable(value) for column, value in row.items()})
            if table != "connection":  # There, encryption is the protection.
                text = ENCRYPTED.sub(lambda found: self._fernet.decrypt(found.group()).decode(), text)
            self._seen.setdefault(place, set()).add(text)


def _readable(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def written_files(folder: Path) -> dict[str, str]:
    """Return the content of every file in a folder, as text, except that of the database."""
    return {
        str(path.relative_to(folder)): path.read_text(errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("airflow.db")
    }


def places_with(words: Iterable[str], written: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the places that have any of the words, and which."""
    found = {place: {word for word in words if word in text} for place, text in written.items()}
    return {place: words_there for place, words_there in found.items() if words_there}
