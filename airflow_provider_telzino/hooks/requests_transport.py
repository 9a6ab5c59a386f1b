"""HTTP on a worker: the ``requests`` session of ``TelzinoHook``, and how a request travels over it.

Importing requests takes a process 25 to 75 ms, so this module is imported only when something is sent.
"""

from __future__ import annotations

import functools
import http.client
import time
from collections.abc import Callable, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL, ProxyError
from urllib3 import exceptions as urllib3_exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_provider_telzino.api import errors
from airflow_provider_telzino.api.messages import HEADERS, MAX_BODY_BYTES, ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import Settings, is_loopback
from airflow_provider_telzino.hooks import failures
from airflow_provider_telzino.hooks.dial_guard import refuse_in_tests
from airflow_provider_telzino.hooks.tls import ca_bundle

IDLE_CONNECTIONS = 50  # that a session keeps open, for threads that share a hook
PIECE = 16 * 1024  # bytes of a body that are read at a time: little enough for whatever they decompress to


class RequestsTransport:
    """Sends the API's requests over one session, which threads may share.

    Args:
        settings: The connection.
        get_token: Returns the access token, for requests that the user sends over the session.
    """

    def __init__(self, settings: Settings, get_token: Callable[[], str]) -> None:
        self.settings = settings
        self.session = TelzinoSession(settings, get_token)

    def send(self, request: ApiRequest, token: str | None, timeout: float) -> ApiAnswer:
        """Send a request once and read its answer, whatever its status code.

        Args:
            request: What to send.
            token: The access token; ``None`` for a request without one.
            timeout: Seconds to connect, to wait for data, and for the whole request while its body arrives.

        Raises:
            TelzinoError: There was no whole answer.
        """
        deadline = time.monotonic() + timeout
        try:
            with self.session.request(
                request.method,
                f"{self.settings.base_url}{request.path}",
                params=request.params,
                data=request.body,
                headers=request.headers | ({"Authorization": f"Bearer {token}"} if token else {}),
                auth=_as_it_is,
                timeout=timeout,
                stream=True,
                allow_redirects=False,
            ) as response:
                self._check_length(request, response)
                body = self._body(request, response, deadline)
                retry_after, date = (_first(response, name) for name in ("Retry-After", "Date"))
                return ApiAnswer(response.status_code, body, retry_after, date)
        except (InvalidURL, InvalidSchema):  # the proxy's: that of the connection was checked
            raise failures.unusable_proxy(self.settings) from None
        except (OSError, urllib3_exceptions.HTTPError) as error:  # requests' exceptions are OSErrors
            maybe_received = not _was_never_sent(error)
            raise failures.no_answer(
                self.settings,
                request,
                error,
                timeout=timeout,
                maybe_received=maybe_received,
                by_proxy=isinstance(error, ProxyError) and not maybe_received,
            ) from failures.system_error(error)

    def _check_length(self, request: ApiRequest, response: requests.Response) -> None:
        """Refuse an answer whose end is ambiguous, as aiohttp does."""
        lengths = _all(response, "Content-Length")
        if lengths and (lengths[0].strip().isdigit(), len(lengths)) != (True, 1):
            raise errors.unreadable(
                self.settings, request, "The answer has more than one length, or a wrong one."
            )
        if lengths and _all(response, "Transfer-Encoding"):
            raise errors.unreadable(self.settings, request, "The answer has both a length and chunks.")

    def _body(self, request: ApiRequest, response: requests.Response, deadline: float) -> bytes:
        body, late = bytearray(), False
        for piece in _pieces(response):
            if late:  # And more follows: an answer that is complete is used, even if it was late.
                raise TimeoutError
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise errors.too_large(self.settings, request)
            late = time.monotonic() > deadline
        return bytes(body)


class TelzinoSession(requests.Session):
    """An authenticated session: it sends the access token to the connection's host and nowhere else.

    It follows no redirect, keeps no cookie, ignores ``.netrc``, trusts the connection's CA bundle before the
    environment's, uses no proxy for this machine, and sends nothing twice.

    Args:
        settings: The connection.
        get_token: Returns the access token.
    """

    def __init__(self, settings: Settings, get_token: Callable[[], str]) -> None:
        super().__init__()
        self._settings = settings
        self._get_token = get_token
        self.headers.update(HEADERS)
        self.auth = self._authorize  # Since it is set, requests does not read .netrc.
        self.verify = ca_bundle(settings) or True
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(pool_maxsize=IDLE_CONNECTIONS, max_retries=0))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a prepared request, with the connection's timeout if it names none."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._settings.timeout
        if is_loopback(urlsplit(request.url or "").hostname or ""):
            kwargs["proxies"] = {}
        return super().send(request, **kwargs)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Let the connection's CA bundle win: requests alone prefers the environment's."""
        verify = self.verify if verify in (None, True) else verify
        return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect: it would take the token elsewhere."""
        return

    def _authorize(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        if _origin(prepared.url or "") == _origin(self._settings.base_url):
            prepared.headers["Authorization"] = f"Bearer {self._get_token()}"
        return prepared


class _Response(http.client.HTTPResponse):
    """An answer after all informational ones (1xx), of which http.client itself skips only 100."""

    def begin(self) -> None:
        super().begin()
        while 101 < self.status < 200:
            self.headers = None  # type: ignore[assignment]  # makes `begin` read on
            super().begin()


class _HTTPConnection(HTTPConnection):
    response_class = _Response


class _HTTPSConnection(HTTPSConnection):
    response_class = _Response


class _Adapter(HTTPAdapter):
    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> Any:
        refuse_in_tests(request.method, urlsplit(request.url or "").hostname)
        pool: Any = super().get_connection_with_tls_context(request, *args, **kwargs)
        pool.ConnectionCls = _HTTPSConnection if pool.scheme == "https" else _HTTPConnection
        return pool


def _as_it_is(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep the session from authorizing a request that has a token already, or that fetches one."""
    return prepared


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """Yield the decoded body as it arrives.

    requests alone waits until a piece is full, however long a server takes to send its bytes.
    """
    raw: Any = response.raw
    if hasattr(raw, "read1") and hasattr(raw, "stream"):  # urllib3's; another adapter's may be anything
        raw.stream = lambda amt, decode_content: iter(functools.partial(raw.read1, amt, decode_content), b"")
    return response.iter_content(PIECE)


def _all(response: requests.Response, name: str) -> list[str]:
    """Return all values of a header: requests joins them by commas."""
    headers: Any = getattr(response.raw, "headers", None)
    return headers.getlist(name) if hasattr(headers, "getlist") else []


def _first(response: requests.Response, name: str) -> str | None:
    return next(iter(_all(response, name)), None) or response.headers.get(name)


def _was_never_sent(error: Exception) -> bool:
    """Whether the server can't have received the request: no connection to it was made.

    urllib3's ``ProxyError`` alone is no proof: it also raises that when a connection that a proxy had
    opened breaks after the request was sent.
    """
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    reason = getattr(reason, "original_error", reason)  # what a ProxyError wraps
    if isinstance(reason, (urllib3_exceptions.NewConnectionError, urllib3_exceptions.ConnectTimeoutError)):
        return True
    return type(reason) is OSError and str(reason).startswith("Tunnel connection failed")  # http.client's
