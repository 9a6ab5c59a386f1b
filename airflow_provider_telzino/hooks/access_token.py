"""A hook's access token, shared by its threads or coroutines: the first to need a new one fetches it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator

from airflow_provider_telzino.api import errors
from airflow_provider_telzino.api.messages import ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import Settings
from airflow_provider_telzino.api.token import TokenCache, read_token, token_request
from airflow_provider_telzino.exceptions import TelzinoTransientError
from airflow_provider_telzino.version_compat import mask_secret

Send = Callable[[ApiRequest, None, float], ApiAnswer]
AsyncSend = Callable[[ApiRequest, None, float], Awaitable[ApiAnswer]]


class AccessToken:
    """The token, for threads."""

    def __init__(self) -> None:
        self._cache = TokenCache()
        self._lock = threading.Lock()

    def get(self, settings: Settings, send: Send, timeout: float, refused: str | None = None) -> str:
        """Return the token, fetched if need be.

        Args:
            settings: The connection.
            send: Sends the request for a new token.
            timeout: Seconds for that request, and for the wait while another thread sends it.
            refused: The token that the API just refused, if it did.
        """
        if not settings.client_id:
            return settings.secret
        if not self._lock.acquire(timeout=timeout):
            raise errors.no_token(settings)
        try:
            token = self._cache.usable(refused)
            if token is None:
                request = token_request(settings)
                with _nothing_else_was_sent():
                    token, lifetime = read_token(settings, request, send(request, None, timeout))
                mask_secret(token)
                self._cache.keep(token, lifetime)
            return token
        finally:
            self._lock.release()


class AsyncAccessToken:
    """The token, for coroutines."""

    def __init__(self) -> None:
        self._cache = TokenCache()
        self._lock = asyncio.Lock()

    async def get(
        self, settings: Settings, send: AsyncSend, timeout: float, refused: str | None = None
    ) -> str:
        """Return the token, fetched if need be; see :meth:`AccessToken.get`."""
        if not settings.client_id:
            return settings.secret
        if token := self._cache.usable(refused):
            return token
        try:
            await asyncio.wait_for(self._lock.acquire(), timeout)
        except asyncio.TimeoutError:
            raise errors.no_token(settings) from None
        try:
            token = self._cache.usable(refused)
            if token is None:
                request = token_request(settings)
                with _nothing_else_was_sent():
                    token, lifetime = read_token(settings, request, await send(request, None, timeout))
                await _mask_in_thread(token)
                self._cache.keep(token, lifetime)
            return token
        finally:
            self._lock.release()


@contextlib.contextmanager
def _nothing_else_was_sent() -> Iterator[None]:
    """Mark the request that needs the token as never sent: that is safe to try again, even if it dials."""
    try:
        yield
    except TelzinoTransientError as error:
        error.maybe_received = False
        raise


async def _mask_in_thread(token: str) -> None:
    """Mask a token from an event loop, which must not block while Airflow's supervisor is informed."""
    from asgiref.sync import sync_to_async

    await sync_to_async(mask_secret)(token)
