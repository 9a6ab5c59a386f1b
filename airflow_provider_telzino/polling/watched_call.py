"""A call that a poller polls, and the waits for its end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from typing import Any, Protocol

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.exceptions import TelzinoNotFoundError
from airflow_provider_telzino.models import DOCUMENTED, has_ended
from airflow_provider_telzino.polling import metrics
from airflow_provider_telzino.rules.waiting import Wait


class Waiter(Protocol):
    """Who waits for a call: a task of its own, or a batch."""

    @property
    def call_id(self) -> str:
        """The call, as the API and its lists write it."""

    @property
    def poll_interval(self) -> float:
        """Seconds between two polls."""

    def observe(self, record: Mapping[str, Any]) -> None:
        """Note a record of the call, whole or from a list."""

    def end(self, problem: Exception | None) -> None:
        """End the wait, unless it has already ended."""


class CallWaiter:
    """A wait, and the future that ends it: with ``None`` when the call has ended, or with an error."""

    __slots__ = ("_context", "ended", "wait")

    def __init__(self, wait: Wait, ended: asyncio.Future[Exception | None]) -> None:
        self.wait = wait
        self.ended = ended
        self._context = contextvars.copy_context()  # Airflow finds the task of a log line by it.

    @property
    def call_id(self) -> str:
        """The call."""
        return self.wait.call_id

    @property
    def poll_interval(self) -> float:
        """Seconds between two polls."""
        return self.wait.poll_interval

    def observe(self, record: Mapping[str, Any]) -> None:
        """Pass a record of the call, whole or from a list, to the wait."""
        if self._context.run(self.wait.observe, record):
            self.end(None)
            metrics.emit_detection_lag(record)

    def end(self, problem: Exception | None) -> None:
        """End the wait, unless it has already ended."""
        if not self.ended.done():
            self.ended.set_result(problem)


class WatchedCall:
    """A call, all waits for it, and when it is polled next."""

    __slots__ = ("call_id", "due", "interval", "known_status", "missing_since", "waiters")

    def __init__(self, call_id: str, interval: float) -> None:
        self.call_id = call_id
        self.interval = interval
        """Seconds between two polls: the shortest interval among the waits."""
        self.due = 0.0
        """When to poll it next, on the loop's clock; 0 is at once."""
        self.waiters: list[Waiter] = []
        self.known_status: str | None = None
        """The live status that all waits have already observed."""
        self.missing_since: float | None = None
        """When the API first answered 404, if it has given no other answer since."""

    def observe(self, record: Mapping[str, Any]) -> None:
        """Pass a record of the call, whole or from a list, to all waits if its status is new."""
        self.missing_since = None
        status = record["status"]
        if status == self.known_status:
            return
        for waiter in self.waiters:
            waiter.observe(record)
        # For an undocumented status, each record has to show whether the call has ended.
        self.known_status = status if status in DOCUMENTED and not has_ended(record) else None

    def not_found(self, error: TelzinoNotFoundError, now: float) -> None:
        """Note a 404. A call that was just placed may not be visible yet; later, the 404 ends all waits."""
        self.missing_since = now if self.missing_since is None else self.missing_since
        if retry.is_missing_for_good(self.missing_since, now):
            self.end(error)

    def end(self, problem: Exception | None) -> None:
        """End all waits for the call."""
        for waiter in self.waiters:
            waiter.end(problem)
