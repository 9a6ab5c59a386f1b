"""HTTP in the triggerer: how a request travels over an ``aiohttp.ClientSession``.

Importing aiohttp takes a quarter of a second, so a thread imports this module when something is first sent.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, prepend_scheme_if_needed, select_proxy

from airflow_provider_telzino.api import errors
from airflow_provider_telzino.api.messages import HEADERS, MAX_BODY_BYTES, ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import Settings, is_host_name, is_loopback
from airflow_provider_telzino.hooks import failures
from airflow_provider_telzino.hooks.dial_guard import refuse_in_tests
from airflow_provider_telzino.hooks.tls import ca_bundle, ssl_context

KEEPALIVE = 75.0  # seconds that an idle connection is kept: a wait may poll once a minute
MAX_HEADER_BYTES = 64 * 1024  # of one header: the limit of http.client, which requests uses


class AiohttpTransport:
    """Sends the API's requests over one keep-alive session, in the loop that made it.

    Args:
        settings: The connection.
        context: TLS settings; ``True`` where no TLS is used.
        proxy: The URL of the proxy to use.
    """

    def __init__(self, settings: Settings, context: ssl.SSLContext | bool, proxy: str | None) -> None:
        self.settings = settings
        # Not `trust_env`: aiohttp would also read ~/.netrc, at every request.
        self.proxy = proxy
        self.session = aiohttp.ClientSession(
            headers=HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=_Connector(ssl=context, keepalive_timeout=KEEPALIVE),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )

    @classmethod
    async def open(cls, settings: Settings) -> AiohttpTransport:
        """Make a transport in the running loop, while a thread reads the CA certificates."""
        return cls(settings, await asyncio.to_thread(_context, settings), _proxy(settings))

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()

    async def send(self, request: ApiRequest, token: str | None, timeout: float) -> ApiAnswer:
        """Send a request once and read its answer, whatever its status code.

        Args:
            request: What to send.
            token: The access token; ``None`` for a request without one.
            timeout: Seconds for all of it.

        Raises:
            TelzinoError: There was no whole answer.
        """
        try:
            async with self.session.request(
                request.method,
                f"{self.settings.base_url}{request.path}",
                params=request.params,
                data=request.body,
                headers=request.headers | ({"Authorization": f"Bearer {token}"} if token else {}),
                timeout=_client_timeout(timeout),
                proxy=self.proxy,
                allow_redirects=False,
            ) as response:
                body = await self._body(request, response)
                headers = response.headers
                return ApiAnswer(response.status, body, headers.get("Retry-After"), headers.get("Date"))
        except (asyncio.TimeoutError, aiohttp.ClientError, OSError) as error:
            proxy_errors = (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError)
            never_sent = (aiohttp.ClientHttpProxyError, aiohttp.ClientConnectorError)
            raise failures.no_answer(
                self.settings,
                request,
                # A connection that ended has no error of the system inside, as it has in requests.
                ConnectionResetError() if isinstance(error, aiohttp.ServerDisconnectedError) else error,
                timeout=timeout,
                maybe_received=not isinstance(error, never_sent),
                by_proxy=isinstance(error, proxy_errors),
            ) from failures.system_error(error)

    async def _body(self, request: ApiRequest, response: aiohttp.ClientResponse) -> bytes:
        pieces, size = [], 0
        while piece := await response.content.readany():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raise errors.too_large(self.settings, request)
        return b"".join(pieces)


class _Connector(aiohttp.TCPConnector):
    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any) -> Any:
        refuse_in_tests(req.method, req.url.host)
        return await super().connect(req, *args, **kwargs)


def _context(settings: Settings) -> ssl.SSLContext | bool:
    """Trust what requests trusts on a worker. This reads a file."""
    if settings.base_url.startswith("http://"):
        return True
    return ssl_context(ca_bundle(settings) or DEFAULT_CA_BUNDLE_PATH)


def _proxy(settings: Settings) -> str | None:
    """Return the URL of the proxy that requests uses on a worker."""
    if is_loopback(urlsplit(settings.base_url).hostname or ""):
        return None
    proxy = select_proxy(settings.base_url, get_environ_proxies(settings.base_url))
    if not proxy:
        return None
    try:
        proxy = prepend_scheme_if_needed(proxy, "http")  # type: ignore[no-untyped-call]
        parts = urlsplit(proxy)
        usable = parts.scheme in ("http", "https") and is_host_name(parts.hostname or "") and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise failures.unusable_proxy(settings)
    return proxy


@functools.lru_cache(maxsize=8)
def _client_timeout(total: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total)
