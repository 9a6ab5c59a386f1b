"""How a request travels: with requests on a worker, with aiohttp in an event loop.

A transport knows no rules of the API. It sends one ``ApiRequest`` within a time limit, follows no redirect,
reads a bounded body, and says in ``no_answer``'s terms what went wrong. Neither library is imported before
the first request: tasks that send nothing don't pay for them.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import ssl
from collections.abc import Callable, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_telzino import api, api_errors
from airflow_provider_telzino.connection import Settings, is_loopback

if TYPE_CHECKING:
    import aiohttp
    import requests

_CHUNK_BYTES = 64 * 1024
_KEEPALIVE = 75.0  # seconds that an idle connection is kept: a wait may look once a minute


class RequestsTransport:
    """One keep-alive ``requests.Session``.

    Args:
        settings: The connection.
        get_token: Returns the access token, for requests that a user sends over the session.
    """

    def __init__(self, settings: Settings, get_token: Callable[[], str]) -> None:
        from airflow_provider_telzino.hooks.time_limit import session_with_time_limit

        self.settings = settings
        self.get_token = get_token
        self.session = session_with_time_limit()
        self.session.headers["User-Agent"] = api.USER_AGENT
        self.session.verify = settings.ca_bundle or True
        self.session.auth = self._authorize
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.session.trust_env = not _is_local(settings)

    def close(self) -> None:
        """Close all connections."""
        self.session.close()

    def send(self, request: api.ApiRequest, token: str | None, timeout: float) -> api.ApiAnswer:
        """Send a request and read its answer, whatever its status code.

        Raises:
            TelzinoError: There was no whole answer within ``timeout`` seconds.
        """
        import requests

        from airflow_provider_telzino.hooks.time_limit import TimeLimit

        limit = TimeLimit(timeout)
        try:
            with (
                limit,
                self.session.request(
                    request.method,
                    f"{self.settings.base_url}{request.path}",
                    params=request.params,
                    data=request.body,
                    headers=_headers(request, token),
                    auth=lambda prepared: (
                        prepared
                    ),  # else requests puts credentials from ~/.netrc in its place
                    timeout=timeout,
                    verify=self.settings.ca_bundle,  # None is the session's, so the environment's
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                body = bytearray()
                for chunk in response.iter_content(_CHUNK_BYTES):
                    body += chunk
                    if len(body) > api_errors.MAX_BODY_BYTES:
                        raise api_errors.too_large(self.settings, request)
                if limit.is_over:  # the body was cut off, and may look whole
                    raise requests.exceptions.ReadTimeout
                return api.ApiAnswer(response.status_code, bytes(body), response.headers.get("Retry-After"))
        except requests.exceptions.RequestException as error:
            causes = list(_causes(error))
            timed_out = limit.is_over or isinstance(error, requests.exceptions.Timeout)
            raise api_errors.no_answer(
                self.settings,
                request,
                _timed_out(timeout) if timed_out else _broken(causes),
                connected=not any(map(_is_failure_to_connect, causes)),
                untrusted=_is_untrusted(causes),
            ) from error

    def _authorize(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        # The token goes to the connection's host and nowhere else.
        if urlsplit(prepared.url or "")[:2] == urlsplit(self.settings.base_url)[:2]:
            prepared.headers["Authorization"] = f"Bearer {self.get_token()}"
        return prepared


class AiohttpTransport:
    """One keep-alive ``aiohttp.ClientSession``, in the loop that made it.

    Args:
        settings: The connection.
        context: TLS settings; ``True`` where no TLS is used.
    """

    def __init__(self, settings: Settings, context: ssl.SSLContext | bool) -> None:
        import aiohttp

        self.settings = settings
        # Not `trust_env`: aiohttp would also read ~/.netrc, at every request.
        self.proxy = _proxy(settings)
        self.session = aiohttp.ClientSession(
            headers={"User-Agent": api.USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(ssl=context, keepalive_timeout=_KEEPALIVE),
        )

    @classmethod
    async def open(cls, settings: Settings) -> AiohttpTransport:
        """Make a transport in the running loop. Threads import and read CA certificates: that takes long."""
        await asyncio.to_thread(importlib.import_module, "aiohttp")
        if settings.base_url.startswith("http://"):
            return cls(settings, True)
        return cls(settings, await asyncio.to_thread(_ssl_context, settings.ca_bundle))

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()

    async def send(self, request: api.ApiRequest, token: str | None, timeout: float) -> api.ApiAnswer:
        """Send a request and read its answer, whatever its status code.

        Raises:
            TelzinoError: There was no whole answer within ``timeout`` seconds.
        """
        import aiohttp

        try:
            async with self.session.request(
                request.method,
                f"{self.settings.base_url}{request.path}",
                params=request.params,
                data=request.body,
                headers=_headers(request, token),
                timeout=_client_timeout(timeout),
                proxy=self.proxy,
                allow_redirects=False,
            ) as response:
                chunks, size = [], 0
                while chunk := await response.content.readany():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > api_errors.MAX_BODY_BYTES:
                        raise api_errors.too_large(self.settings, request)
                return api.ApiAnswer(response.status, b"".join(chunks), response.headers.get("Retry-After"))
        except asyncio.TimeoutError as error:
            raise api_errors.no_answer(self.settings, request, _timed_out(timeout)) from error
        except (aiohttp.ClientError, OSError) as error:
            causes = list(_causes(error))
            names_proxy = isinstance(error, aiohttp.ClientHttpProxyError)  # with its password
            raise api_errors.no_answer(
                self.settings,
                request,
                _broken(causes),
                connected=not (names_proxy or isinstance(error, aiohttp.ClientConnectorError)),
                untrusted=_is_untrusted(causes),
            ) from (None if names_proxy else error)


@functools.lru_cache(maxsize=8)
def _client_timeout(total: float) -> aiohttp.ClientTimeout:
    import aiohttp

    return aiohttp.ClientTimeout(total=total)


@functools.lru_cache(maxsize=8)
def _ssl_context(path: str | None) -> ssl.SSLContext:
    """Make TLS settings. They are large and slow to make, so all sessions with one CA bundle share them."""
    is_folder = path is not None and os.path.isdir(path)
    return ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)


def _headers(request: api.ApiRequest, token: str | None) -> dict[str, str]:
    return request.headers | ({"Authorization": f"Bearer {token}"} if token else {})


def _is_local(settings: Settings) -> bool:
    """Tell a sandbox on this machine: it is behind no proxy, and its plain http:// must not leave here."""
    return is_loopback(urlsplit(settings.base_url).hostname or "")


def _proxy(settings: Settings) -> str | None:
    url = urlsplit(settings.base_url)
    if _is_local(settings) or proxy_bypass(url.hostname or ""):
        return None
    return getproxies().get(url.scheme)


def _timed_out(timeout: float) -> str:
    return f"There was no answer within {timeout:.3g} s."


def _broken(causes: list[BaseException]) -> str:
    """Name the innermost cause: outer ones only wrap it. Messages stay out, they may hold URLs of proxies."""
    return f"The connection failed ({type(causes[-1]).__name__})."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Unwrap an error: libraries keep the inner one as an argument, as ``reason`` or as the cause."""
    seen: list[BaseException] = []
    found: object = error
    while isinstance(found, BaseException) and found not in seen:
        seen.append(found)
        yield found
        inner = [getattr(found, "reason", None), *found.args, found.__cause__, found.__context__]
        found = next((each for each in inner if isinstance(each, BaseException)), None)


def _is_failure_to_connect(error: BaseException) -> bool:
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    return isinstance(error, (ConnectTimeoutError, NewConnectionError))


def _is_untrusted(causes: list[BaseException]) -> bool:
    return any(isinstance(each, ssl.SSLCertVerificationError) for each in causes)
