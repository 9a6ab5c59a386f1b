"""How a request travels: with httpcore on a worker, with aiohttp in an event loop.

A transport knows no rules of the API. It sends one ``ApiRequest`` within a time limit, follows no redirect,
reads a bounded body, and says in ``no_answer``'s terms what went wrong.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore

from airflow_provider_telzino.api import errors
from airflow_provider_telzino.api.messages import MAX_BODY_BYTES, USER_AGENT, ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import Settings, is_host_name, is_loopback
from airflow_provider_telzino.api.tls import ssl_context
from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.hooks.deadline import DeadlineBackend

if TYPE_CHECKING:
    import aiohttp
    import requests

_KEEPALIVE = 75.0  # seconds that an idle connection is kept: a wait may look once a minute
_IDLE_CONNECTIONS = 50  # that a transport keeps, for hooks that many threads share

_BEFORE_SENDING = (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.ProxyError)


class HttpcoreTransport:
    """A pool of keep-alive connections, which threads may share.

    It is httpcore's, since Airflow's own client has that already imported in a task's process: importing
    requests would take 80 ms of CPU, as much as all else that this package does in a worker run.

    Args:
        settings: The connection.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        url = urlsplit(settings.base_url)
        host = (url.hostname or "").rstrip(".")  # No certificate has the dot at the end.
        self.url = functools.partial(httpcore.URL, scheme=url.scheme, host=host, port=url.port)
        self.headers = {
            "Host": url.netloc,
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self.base_path = quote(url.path, safe="/%:@!$&'()*+,;=~")
        self.pool = httpcore.ConnectionPool(
            ssl_context=None if url.scheme == "http" else ssl_context(settings.ca_bundle),
            proxy=_httpcore_proxy(settings),
            max_connections=None,
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_KEEPALIVE,
            network_backend=DeadlineBackend(),
        )

    def close(self) -> None:
        """Close all connections."""
        self.pool.close()

    def send(self, request: ApiRequest, token: str | None, timeout: float) -> ApiAnswer:
        """Send a request and read its answer, whatever its status code.

        Raises:
            TelzinoError: There was no whole answer within ``timeout`` seconds.
        """
        target = f"{self.base_path}{request.path}" + (
            f"?{urlencode(request.params)}" if request.params else ""
        )
        deadline = time.monotonic() + timeout
        try:
            with self.pool.stream(
                request.method,
                self.url(target=target),
                headers=[*(self.headers | _headers(request, token)).items()],
                content=request.body,
                extensions={"timeout": dict.fromkeys(("connect", "read", "write"), deadline)},
            ) as response:
                body = bytearray()
                for chunk in response.iter_stream():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise errors.too_large(self.settings, request)
                return ApiAnswer(response.status, bytes(body), _retry_after(response.headers))
        except httpcore.TimeoutException as error:
            raise errors.no_answer(
                self.settings, request, _timed_out(timeout), connected=not isinstance(error, _BEFORE_SENDING)
            ) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
            causes = list(_causes(error))
            raise errors.no_answer(
                self.settings,
                request,
                _broken(causes),
                connected=not isinstance(error, _BEFORE_SENDING),
                untrusted=_is_untrusted(causes),
            ) from _harmless(error, causes)


def requests_session(settings: Settings, get_token: Callable[[], str]) -> requests.Session:
    """Make a session for what a user sends.

    Args:
        settings: The connection.
        get_token: Returns the access token. It goes to the connection's host and nowhere else.
    """
    import requests  # 80 ms of CPU, for those who want it
    from requests.adapters import HTTPAdapter

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> None:
            """Follow no redirect: it would take the token elsewhere."""
            return

    def authorize(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        if urlsplit(prepared.url or "")[:2] == urlsplit(settings.base_url)[:2]:
            prepared.headers["Authorization"] = f"Bearer {get_token()}"
        return prepared

    session = Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_IDLE_CONNECTIONS))
    session.headers["User-Agent"] = USER_AGENT
    session.verify = settings.ca_bundle or True
    session.auth = authorize
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = not _is_local(settings)
    return session


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
            headers={"User-Agent": USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(ssl=context, keepalive_timeout=_KEEPALIVE),
        )

    @classmethod
    async def open(cls, settings: Settings) -> AiohttpTransport:
        """Make a transport in the running loop. Threads import and read CA certificates: that takes long."""
        await asyncio.to_thread(importlib.import_module, "aiohttp")
        if settings.base_url.startswith("http://"):
            return cls(settings, True)
        return cls(settings, await asyncio.to_thread(ssl_context, settings.ca_bundle))

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()

    async def send(self, request: ApiRequest, token: str | None, timeout: float) -> ApiAnswer:
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
                    if size > MAX_BODY_BYTES:
                        raise errors.too_large(self.settings, request)
                return ApiAnswer(response.status, b"".join(chunks), response.headers.get("Retry-After"))
        except asyncio.TimeoutError as error:
            raise errors.no_answer(self.settings, request, _timed_out(timeout)) from error
        except (aiohttp.ClientError, OSError) as error:
            causes = list(_causes(error))
            raise errors.no_answer(
                self.settings,
                request,
                _broken(causes),
                connected=not isinstance(error, (aiohttp.ClientHttpProxyError, aiohttp.ClientConnectorError)),
                untrusted=_is_untrusted(causes),
            ) from _harmless(error, causes)


@functools.lru_cache(maxsize=8)
def _client_timeout(total: float) -> aiohttp.ClientTimeout:
    import aiohttp

    return aiohttp.ClientTimeout(total=total)


def _headers(request: ApiRequest, token: str | None) -> dict[str, str]:
    return request.headers | ({"Authorization": f"Bearer {token}"} if token else {})


def _is_local(settings: Settings) -> bool:
    """Tell a sandbox on this machine: it is behind no proxy, and its plain http:// must not leave here."""
    return is_loopback(urlsplit(settings.base_url).hostname or "")


def _proxy(settings: Settings) -> str | None:
    """Return the URL of the environment's proxy."""
    url = urlsplit(settings.base_url)
    if _is_local(settings) or proxy_bypass(url.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in ("http", "https") and is_host_name(parts.hostname or "") and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TelzinoConfigurationError(
            "The environment's proxy (HTTPS_PROXY or ALL_PROXY) should be a URL with http:// or https://. "
            "NO_PROXY names hosts that need none.",
            conn_id=settings.conn_id,
        )
    return proxy


def _httpcore_proxy(settings: Settings) -> httpcore.Proxy | None:
    proxy = _proxy(settings)
    if proxy is None:
        return None
    url = urlsplit(proxy)
    user, password = (unquote(each or "").encode() for each in (url.username, url.password))
    return httpcore.Proxy(
        httpcore.URL(scheme=url.scheme, host=url.hostname or "", port=url.port, target="/"),
        auth=(user, password) if user else None,
        ssl_context=ssl_context(settings.ca_bundle) if url.scheme == "https" else None,
    )


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    return next((value.decode("latin-1") for name, value in headers if name.lower() == b"retry-after"), None)


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


def _harmless(error: BaseException, causes: list[BaseException]) -> BaseException | None:
    """Return an error to chain. The system's are; others may quote what came, or a proxy's URL."""
    return error if isinstance(causes[-1], OSError) else None


def _is_untrusted(causes: list[BaseException]) -> bool:
    return any(isinstance(each, ssl.SSLCertVerificationError) for each in causes)
