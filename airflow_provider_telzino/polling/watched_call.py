"""A call that a poller looks after, and those that wait for its end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from typing import Any

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.exceptions import TelzinoNotFoundError
from airflow_provider_telzino.models import TERMINAL_STATUSES, CallStatus
from airflow_provider_telzino.polling import metrics
from airflow_provider_telzino.polling.page_plan import ListedCall
from airflow_provider_telzino.rules.waiting import Wait

STATUSES = frozenset(status.value for status in CallStatus)
LIVE_STATUSES = STATUSES.difference(status.value for status in TERMINAL_STATUSES)


class Waiter:
    """A wait, and the future that tells it the end: ``None``, or the error that ends it."""

    __slots__ = ("_context", "ended", "wait")

    def __init__(self, wait: Wait, ended: asyncio.Future[Exception | None]) -> None:
        self.wait = wait
        self.ended = ended
        self._context = contextvars.copy_context()  # By it Airflow finds the task whose log a line goes to.

    def saw(self, record: Mapping[str, Any]) -> None:
        """Take in a record of the call, whole or from a list."""
        if self._context.run(self.wait.observe, record):
            self.end(None)
            metrics.call_ended(record)

    def end(self, problem: Exception | None) -> None:
        """End the wait, unless it has ended."""
        if not self.ended.done():
            self.ended.set_result(problem)


class WatchedCall(ListedCall):
    """A call, and all that wait for it."""

    __slots__ = ("interval", "known_status", "missing_since", "waiters")

    def __init__(self, call_id: str, interval: float) -> None:
        super().__init__(call_id)
        self.interval = interval
        self.waiters: list[Waiter] = []
        self.known_status: str | None = None
        """A status in which no call has ended, and that all waits have heard of."""
        self.missing_since: float | None = None
        """When the API first said that there is no such call, and nothing else since."""

    def saw(self, record: Mapping[str, Any]) -> None:
        """Take in a record of the call, whole or from a list."""
        self.missing_since = None
        if record["status"] == self.known_status:
            return
        for waiter in self.waiters:
            waiter.saw(record)
        self.known_status = record["status"] if record["status"] in LIVE_STATUSES else None

    def not_found(self, error: TelzinoNotFoundError, now: float) -> None:
        """Take in that the API knows no such call: that may pass."""
        self.missing_since = now if self.missing_since is None else self.missing_since
        if retry.is_missing_for_good(self.missing_since, now):
            self.end(error)

    def end(self, problem: Exception | None) -> None:
        """End all waits for it."""
        for waiter in self.waiters:
            waiter.end(problem)


def is_telling(item: Mapping[str, Any]) -> bool:
    """Tell whether an item of a list says if its call has ended. Of an unknown status, ``ended_at`` does."""
    status = item.get("status")
    return isinstance(status, str) and (status in STATUSES or (bool(status) and "ended_at" in item))
