"""The records of many calls, on a worker: a few requests at a time, which pause together."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.api.backoff import SharedBackoff
from airflow_provider_telzino.api.call_lists import CallOfAgent
from airflow_provider_telzino.exceptions import (
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoTransientError,
)
from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_IN_FLIGHT = 4  # requests at the same time

T = TypeVar("T")


def fetch_records(
    hook: TelzinoHook,
    calls: Sequence[CallOfAgent],
    *,
    log: Any,
    keep: Callable[[Record], T],
    retry_for: float = retry.RETRY_FOR,
    not_found_is_final: bool = False,
) -> list[T | None]:
    """Get the records of many calls: ``GET /v1/agents/{agentId}/outbound-calls/{callId}`` for each.

    A 429 or an outage pauses all requests together, at least for ``Retry-After``.

    Args:
        hook: Sends the requests.
        calls: The calls.
        log: The logger for pauses.
        keep: Returns what to keep of a record, so that thousands of them needn't be in memory. It runs in
            a thread.
        retry_for: Seconds in a row for which requests may fail, before the error is raised.
        not_found_is_final: Whether a 404 is believed at once. Else it has to last for some seconds, since
            the API doesn't promise that a call can be read as soon as it is placed.

    Returns:
        In the order of the calls what is kept of their records; ``None`` for one that the API doesn't know.

    Raises:
        TelzinoTransientError: The API was not available for ``retry_for``, or asks to wait for longer.
        TelzinoError: The API refused.
    """
    if not calls:
        return []
    kept: list[T | None] = [None] * len(calls)
    missing_since: dict[int, float] = {}

    def fetch(index: int) -> bool:
        """Fetch one record. Returns whether to try again later, since the call isn't there yet."""
        try:
            record = requests.get(calls[index])
        except TelzinoNotFoundError:
            now = time.monotonic()
            since = missing_since.setdefault(index, now)
            return not (not_found_is_final or retry.is_missing_for_good(since, now))
        kept[index] = keep(record)
        return False

    wanted = list(range(len(calls)))
    with _Requests(hook, log, retry_for) as requests:
        for attempt in itertools.count(1):
            again = requests.map(fetch, wanted)
            wanted = [index for index, is_wanted in zip(wanted, again, strict=True) if is_wanted]
            if not wanted:
                break
            pause = retry.backoff(attempt, floor=retry.BACKOFF_BASE, time_left=retry.NOT_FOUND_FOR)
            log.info("%s calls are not found yet. Trying again in %.1f s.", f"{len(wanted):,}", pause)
            time.sleep(pause)
    return kept


class _StoppedError(Exception):
    """Another thread had an error that ends all of them."""


class _Requests:
    """Sends requests from several threads, and lets a failure pause them all.

    A context manager: its end stops the threads.
    """

    def __init__(self, hook: TelzinoHook, log: Any, retry_for: float) -> None:
        hook.get_conn()  # Airflow is asked for the connection in the task's own thread.
        self._hook = hook
        self._log = log
        self._retry_for = retry_for
        self._backoff = SharedBackoff()
        self._failing_since: float | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._error: TelzinoError | None = None  # why it was stopped
        self._pool = ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="telzino-records")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[int], bool], numbers: Sequence[int]) -> list[bool]:
        """Do the work for all numbers, a few at a time. The first error ends it all."""
        try:
            return list(self._pool.map(work, numbers))
        except _StoppedError:
            raise self._error or AssertionError("unreachable: only an error stops it") from None

    def get(self, call: CallOfAgent) -> Record:
        """Get a call's record, as soon as no pause is in effect. A failure is retried."""
        while True:
            self._wait_for_end_of_pause()
            try:
                record = self._hook.get_call(call.call_id, call.agent_id, retry_for=0)
            except TelzinoTransientError as error:
                self._failed(error)
            except TelzinoNotFoundError:
                self._succeeded()  # The API works; it doesn't know this one call.
                raise
            except TelzinoError as error:
                self._stop(error)
            else:
                self._succeeded()
                return record

    def _wait_for_end_of_pause(self) -> None:
        while (pause := self._pause()) > 0 and not self._stopped.wait(pause):
            pass  # It may have become longer meanwhile.
        if self._stopped.is_set():
            raise _StoppedError

    def _stop(self, error: TelzinoError) -> NoReturn:
        """Stop the other threads, too: without this they would first wait for the end of a pause."""
        self._error = error
        self._stopped.set()
        raise error

    def _pause(self) -> float:
        with self._lock:
            return self._backoff.pause(time.monotonic())

    def _failed(self, error: TelzinoTransientError) -> None:
        """Begin a pause, unless that would be longer than failures are tolerated: then raise the error."""
        with self._lock:
            now = time.monotonic()
            begins = self._backoff.fail(error, now)
            pause = self._backoff.pause(now)
            self._failing_since = now if self._failing_since is None else self._failing_since
            if now + pause >= self._failing_since + self._retry_for:
                self._stop(error)
        if begins:
            self._log.warning("%s Pausing all requests for %.1f s.", error.sentence, pause)

    def _succeeded(self) -> None:
        with self._lock:
            failures = self._backoff.succeed(time.monotonic())
            self._failing_since = None
        if failures:
            self._log.info("The API is responding again, after %s failures in a row.", failures)
