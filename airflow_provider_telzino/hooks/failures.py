"""What an exception of requests, aiohttp or the system means to the user, and what to check.

Both transports report their failures through this module, so that the same failure reads the same. Messages
of exceptions stay out of ours: they may quote an answer, or the URL of a proxy with its password.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator

from airflow_provider_telzino.api import errors
from airflow_provider_telzino.api.messages import ApiRequest
from airflow_provider_telzino.api.settings import BASE_URL, TIMEOUT, Settings
from airflow_provider_telzino.exceptions import TelzinoConfigurationError, TelzinoError

PROXY_VARIABLES = "HTTPS_PROXY or ALL_PROXY"


def no_answer(
    settings: Settings,
    request: ApiRequest,
    error: Exception,
    *,
    timeout: float,
    maybe_received: bool,
    by_proxy: bool = False,
) -> TelzinoError:
    """Build the error for a request that got no whole answer.

    Args:
        settings: The connection.
        request: What was to be sent.
        error: What the HTTP library raised.
        timeout: The seconds that the request had.
        maybe_received: Whether the API may have received the request. ``False`` only if that is certain.
        by_proxy: Whether the environment's proxy failed, and not the server.
    """
    causes = list(unwrapped(error))
    untrusted = any(isinstance(each, ssl.SSLCertVerificationError) for each in causes)
    if maybe_received and not _is_timeout(causes) and not isinstance(causes[-1], OSError):
        what = f"The answer from {settings.address} ends too early or is not valid HTTP"
        return errors.unreadable(settings, request, f"{what} ({type(causes[-1]).__name__}).")
    what = _by_proxy(settings, causes[-1]) if by_proxy else _what_happened(settings, causes, timeout)
    return errors.no_answer(settings, request, what, maybe_received=maybe_received, untrusted=untrusted)


def unusable_proxy(settings: Settings) -> TelzinoConfigurationError:
    """Build the error for a proxy in the environment that can't be used."""
    return TelzinoConfigurationError(
        f"The environment's proxy ({PROXY_VARIABLES}) should be a URL with http:// or https://. "
        "NO_PROXY names hosts that need none.",
        conn_id=settings.conn_id,
    )


def system_error(error: Exception) -> OSError | None:
    """Return the system's own error inside an exception, for ``raise ... from``: its text is fixed."""
    *_, innermost = unwrapped(error)
    return innermost if isinstance(innermost, OSError) and innermost.errno is not None else None


def unwrapped(error: Exception) -> Iterator[Exception]:
    """Yield an exception, the one that it wraps, and so on.

    Libraries keep the inner one as an argument, under an attribute, or as the cause. The context doesn't
    count: it may be an earlier failure, of another request.
    """
    seen: list[Exception] = []
    found: Exception | None = error
    while found is not None and found not in seen:
        seen.append(found)
        yield found
        attributes = [getattr(found, name, None) for name in ("reason", "original_error")]
        inner = [*attributes, *found.args, found.__cause__]
        found = next((each for each in inner if isinstance(each, Exception)), None)


def _is_timeout(causes: list[Exception]) -> bool:
    return any(isinstance(each, (TimeoutError, asyncio.TimeoutError)) for each in causes)


def _what_happened(settings: Settings, causes: list[Exception], timeout: float) -> str:
    address, innermost = settings.address, causes[-1]
    if _is_timeout(causes):
        return (
            f"There was no answer from {address} within {timeout:.3g} s. Check that this machine can reach "
            f"it; if it is only slow, raise the connection's {TIMEOUT}."
        )
    if isinstance(innermost, ConnectionRefusedError):
        hint = f"{address} refused it. Check {BASE_URL}, and that the server is running."
    elif isinstance(innermost, socket.gaierror):
        hint = f"the name of {address} can't be resolved. Check {BASE_URL}, and this machine's DNS or proxy."
    elif isinstance(innermost, ssl.SSLError):
        hint = f"{address} did not agree on TLS. Check that it serves https://."
    else:
        hint = f"{address} closed it or can't be reached ({type(innermost).__name__}). "
        hint += f"Check {BASE_URL}, network and firewall."
    return f"The connection failed: {hint}"


def _by_proxy(settings: Settings, innermost: Exception) -> str:
    return (
        f"The connection failed: the environment's proxy ({PROXY_VARIABLES}) did not connect to "
        f"{settings.address} ({type(innermost).__name__}). Check the proxy and its credentials; NO_PROXY "
        "names hosts that need none."
    )
