"""The requests of all waits on one connection: one session, one token, one backoff."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import ClassVar, NoReturn, TypeVar

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_telzino.api.backoff import SharedBackoff
from airflow_provider_telzino.exceptions import (
    TelzinoConnectionNotFoundError,
    TelzinoCredentialsError,
    TelzinoError,
    TelzinoTransientError,
    TelzinoUnavailableError,
)
from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook
from airflow_provider_telzino.polling import metrics

MAX_IN_FLIGHT = 4  # requests of one connection at the same time
RELOAD_AFTER = 60.0  # seconds after which the Airflow connection is loaded again when requests fail,
RELOAD_FROM = 3  # from so many failures in a row on: a single one has other reasons
MISSING_FOR = 60.0
"""Seconds after which a missing connection is final: Airflow 3.3 reports it in any outage of its database."""

log = logging.getLogger(__name__)
T = TypeVar("T")


class ConnectionUnusableError(Exception):
    """No request can succeed on this connection; ``reason`` is the error to report."""

    def __init__(self, reason: AirflowException) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Channel:
    """Sends the requests of all waits on one connection, in one event loop.

    A failure pauses all of them together: longer with each failure in a row, and at least as long as the API
    asks.

    Args:
        loop: The event loop that it works in.
        conn_id: The Airflow connection.
    """

    _channels: ClassVar[dict[tuple[asyncio.AbstractEventLoop, str], Channel]] = {}
    _emitted_waits: ClassVar[int] = 0

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop, conn_id: str) -> Channel:
        """Return the channel of a connection for one more user, who must :meth:`release` it."""
        if (loop, conn_id) not in cls._channels:
            cls._channels[loop, conn_id] = cls(loop, conn_id)
        channel = cls._channels[loop, conn_id]
        channel._users += 1
        return channel

    def __init__(self, loop: asyncio.AbstractEventLoop, conn_id: str) -> None:
        self.hook = TelzinoAsyncHook(conn_id)
        """Replaced by a new one to load the Airflow connection again."""
        self.waits = 0
        """How many waits use it."""
        self.backoff = SharedBackoff()
        self._key = (loop, conn_id)
        self._users = 0
        self._in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._requests: Counter[TelzinoAsyncHook] = Counter()  # in flight, by hook
        self._now = loop.time
        self._loaded_at = self._now()
        self._missing_since: float | None = None  # according to Airflow

    async def release(self) -> None:
        """Give up one use. The last one closes the session."""
        self._users -= 1
        if self._users == 0:
            del self._channels[self._key]
            self.emit_waits()
            await self.hook.close()

    @classmethod
    def emit_waits(cls) -> None:
        """Emit how many waits there are on all connections, if that has changed."""
        waits = sum(channel.waits for channel in list(cls._channels.values()))
        if waits != cls._emitted_waits:
            cls._emitted_waits = waits
            metrics.emit("gauge", metrics.WAITS, waits)

    def pause(self) -> float:
        """Seconds until the next request may be sent; 0 without a pause."""
        return self.backoff.pause(self._now())

    async def send(self, request: Callable[[TelzinoAsyncHook], Awaitable[T]]) -> T:
        """Send one request, as soon as no pause is in effect and fewer than ``MAX_IN_FLIGHT`` are in flight.

        Args:
            request: Calls a method of the hook, without retries.

        Raises:
            TelzinoTransientError: It failed, and all requests pause.
            TelzinoError: The API refused this request.
            ConnectionUnusableError: Airflow doesn't provide the connection, or its credentials are refused.
        """
        async with self._in_flight:
            await self._end_of_pause()
            hook = self.hook
            self._requests[hook] += 1
            try:
                if not hook.is_loaded:
                    await self._load(hook)
                    await self._end_of_pause()  # Another request may have failed meanwhile.
                metrics.emit("incr", metrics.REQUESTS)
                answer = await request(hook)
            except TelzinoTransientError as error:
                self._failed(error)
                raise
            except TelzinoCredentialsError as error:
                self._refused(error, hook)
            except TelzinoError:
                self._succeeded()  # The API works; it refuses this one request.
                raise
            finally:
                await self._release_hook(hook)
            self._succeeded()
            return answer

    async def _end_of_pause(self) -> None:
        while (pause := self.pause()) > 0:  # noqa: ASYNC110  # it may get longer meanwhile
            await asyncio.sleep(pause)

    async def _release_hook(self, hook: TelzinoAsyncHook) -> None:
        """End a request. The last one on a hook that was replaced meanwhile closes it."""
        self._requests[hook] -= 1
        if self._requests[hook] == 0:
            del self._requests[hook]
            if hook is not self.hook:
                await hook.close()

    async def _load(self, hook: TelzinoAsyncHook) -> None:
        try:
            await hook.load(retry_for=0)
        except TelzinoTransientError:
            raise
        except TelzinoConnectionNotFoundError as error:
            self._missing_since = self._now() if self._missing_since is None else self._missing_since
            if self._now() - self._missing_since >= MISSING_FOR:
                raise ConnectionUnusableError(error) from error
            raise TelzinoUnavailableError(error.sentence) from error
        except AirflowException as error:
            raise ConnectionUnusableError(error) from error
        self._missing_since = None

    def _reload(self) -> None:
        """Load the Airflow connection again: it may have been corrected. Those in flight keep the old one."""
        self._loaded_at = self._now()
        self.hook = TelzinoAsyncHook(self.hook.telzino_conn_id)

    def _refused(self, error: TelzinoCredentialsError, hook: TelzinoAsyncHook) -> NoReturn:
        """Try once more with the connection as it is now, unless it was just loaded."""
        if hook is self.hook:  # else another request's 401 has replaced it already
            if self._now() - self._loaded_at < RELOAD_AFTER:
                raise ConnectionUnusableError(error) from error
            self._reload()
        retriable = TelzinoUnavailableError(f"{error.sentence} Loading the Airflow connection again.")
        self._failed(retriable)
        raise retriable from error

    def _failed(self, error: TelzinoTransientError) -> None:
        metrics.emit("incr", metrics.REQUEST_ERRORS)
        now = self._now()
        if not self.backoff.fail(error, now):
            return
        log.warning("%s Pausing all requests on this connection for %.1f s.", error.sentence, self.pause())
        if self.backoff.failures >= RELOAD_FROM and now - self._loaded_at >= RELOAD_AFTER:
            self._reload()

    def _succeeded(self) -> None:
        if failures := self.backoff.succeed(self._now()):
            log.info("The API is responding again, after %s failures in a row.", failures)
