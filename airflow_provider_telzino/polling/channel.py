"""One way to the API for all waits on a connection: one session, one token, one backoff."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import ClassVar, NoReturn, TypeVar

from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.exceptions import (
    TelzinoCredentialsError,
    TelzinoError,
    TelzinoTransientError,
    TelzinoUnavailableError,
)
from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook
from airflow_provider_telzino.polling import metrics

MAX_IN_FLIGHT = 4  # requests of one connection at the same time
MAX_PAUSE_FAILURES = 5  # in a row; from then on pauses of up to 16 s grow no more, to find the end soon
RELOAD_AFTER = 60.0  # seconds after which a connection that fails is read anew,
RELOAD_FROM = 3  # by so many failures in a row: a single one has other reasons
MISSING_FOR = 60.0
"""Seconds after which Airflow is believed that it has no such connection: 3.3 says so whatever goes wrong."""

log = logging.getLogger(__name__)
T = TypeVar("T")


class ConnectionUnusableError(Exception):
    """No request can succeed over this connection; ``reason`` is the error to tell of."""

    def __init__(self, reason: AirflowException) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Channel:
    """Sends the requests of all waits on one connection, in one event loop.

    A failure pauses all of them together: longer with each in a row, and at least as long as the API asks.

    Args:
        loop: The event loop that it works in.
        conn_id: The Airflow connection.
    """

    _channels: ClassVar[dict[tuple[asyncio.AbstractEventLoop, str], Channel]] = {}
    _waits_told: ClassVar[int] = 0

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop, conn_id: str) -> Channel:
        """Return the channel for a connection, for one more user; each has to :meth:`release` it."""
        if (loop, conn_id) not in cls._channels:
            cls._channels[loop, conn_id] = cls(loop, conn_id)
        channel = cls._channels[loop, conn_id]
        channel._users += 1
        return channel

    def __init__(self, loop: asyncio.AbstractEventLoop, conn_id: str) -> None:
        self.hook = TelzinoAsyncHook(conn_id)
        """A new one whenever the connection is read anew."""
        self._requests: Counter[TelzinoAsyncHook] = Counter()
        """How many each hook has in flight."""
        self.waits = 0
        """How many waits use it."""
        self.problem: TelzinoTransientError | None = None
        """Why the last request failed; None while all is well."""
        self.well_since = 0.0
        """When the API last answered again after a failure, on the loop's clock."""
        self._key = (loop, conn_id)
        self._users = 0
        self._in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._now = loop.time
        self._failures = 0
        self._resume_at = 0.0
        self._loaded_at = self._now()
        self._missing_since: float | None = None  # by Airflow's word

    async def release(self) -> None:
        """Have one user less; the last one closes the session."""
        self._users -= 1
        if self._users == 0:
            del self._channels[self._key]
            self.tell_waits()
            await self.hook.close()

    @classmethod
    def tell_waits(cls) -> None:
        """Tell Airflow's metrics how many waits there are on all connections, if that has changed."""
        waits = sum(channel.waits for channel in list(cls._channels.values()))
        if waits != cls._waits_told:
            cls._waits_told = waits
            metrics.tell("gauge", metrics.WAITS, waits)

    async def ask(self, request: Callable[[TelzinoAsyncHook], Awaitable[T]]) -> T:
        """Send one request, as soon as no pause is on and few others are in flight.

        Args:
            request: Calls a method of the hook, without retries.

        Raises:
            TelzinoTransientError: It failed, and everything pauses.
            TelzinoError: The API refused this request.
            ConnectionUnusableError: Airflow can't give the connection, or the API refused its credentials.
        """
        async with self._in_flight:
            while (pause := self._resume_at - self._now()) > 0:  # noqa: ASYNC110  # it may grow meanwhile
                await asyncio.sleep(pause)
            hook = self.hook
            self._requests[hook] += 1
            try:
                if not hook.is_loaded:
                    await self._load(hook)
                asked = self._now()
                metrics.tell("incr", metrics.REQUESTS)
                answer = await request(hook)
            except TelzinoTransientError as error:
                self._failed(error)
                raise
            except TelzinoCredentialsError as error:
                self._refused(error, asked)
            except TelzinoError:
                self._succeeded()  # It is the answer to this request, and no trouble of the API.
                raise
            finally:
                await self._done_with(hook)
            self._succeeded()
            return answer

    async def _done_with(self, hook: TelzinoAsyncHook) -> None:
        """End a request. If the connection was read anew meanwhile, the last one closes the old hook."""
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
        except AirflowNotFoundException as error:
            self._missing_since = self._now() if self._missing_since is None else self._missing_since
            if self._now() - self._missing_since >= MISSING_FOR:
                raise ConnectionUnusableError(error) from error
            raise TelzinoUnavailableError(f"Airflow: {error}") from error
        except AirflowException as error:
            raise ConnectionUnusableError(error) from error
        self._missing_since = None

    def _forget_connection(self) -> None:
        """Have the connection read anew: someone may have mended it. Other requests keep the old one."""
        self._loaded_at = self._now()
        self.hook = TelzinoAsyncHook(self.hook.telzino_conn_id)

    def _refused(self, error: TelzinoCredentialsError, asked: float) -> NoReturn:
        """Try once more with the connection as it is now, unless it was just read."""
        age = asked - self._loaded_at  # negative: another request has had it read anew meanwhile
        if age >= 0:
            self._forget_connection()
        if 0 <= age < RELOAD_AFTER:
            raise ConnectionUnusableError(error) from error
        again = TelzinoUnavailableError(f"{error} The connection is read anew.")
        self._failed(again)
        raise again from error

    def _failed(self, error: TelzinoTransientError) -> None:
        metrics.tell("incr", metrics.REQUEST_ERRORS)
        self.problem = error
        floor = error.retry_after or 0.0
        if self._now() < self._resume_at:  # others in flight fail for the same reason
            self._resume_at = max(self._resume_at, self._now() + floor)
            return
        self._failures += 1
        failures = min(self._failures, MAX_PAUSE_FAILURES)
        pause = retry.backoff(failures, floor=floor, time_left=retry.MAX_RETRY_AFTER)
        self._resume_at = self._now() + pause
        log.warning("%s All waits on this connection pause for %.1f s.", error, pause)
        if self._failures >= RELOAD_FROM and self._now() - self._loaded_at >= RELOAD_AFTER:
            self._forget_connection()

    def _succeeded(self) -> None:
        if self.problem is not None:
            log.info("The API answers again, after %s failures in a row.", self._failures)
            self.well_since = self._now()
        self.problem, self._failures = None, 0
