"""Which certificate authorities (CAs) both hooks trust."""

from __future__ import annotations

import functools
import os
import ssl

from airflow_provider_telzino.api.settings import CA_BUNDLE, Settings
from airflow_provider_telzino.exceptions import TelzinoConfigurationError

ENVIRONMENT = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # those that requests knows, in its order


def ca_bundle(settings: Settings) -> str | None:
    """Find and check the CA bundle: the connection's, or else the environment's. This reads a file.

    Returns:
        The path of a file (PEM) or a folder; ``None`` when neither names one.

    Raises:
        TelzinoConfigurationError: It can't be used; the message names the field.
    """
    path = settings.ca_bundle
    if path is None and settings.base_url.startswith("https://"):
        path = next((os.environ[name] for name in ENVIRONMENT if os.environ.get(name)), None)
    if path is None:
        return None
    field = CA_BUNDLE if settings.ca_bundle else f"{' or '.join(ENVIRONMENT)} of the environment"
    try:
        ssl_context(path)
    except ssl.SSLError:
        problem = "a file without CA certificates (PEM)"
    except OSError:
        problem = "a file that can't be read on this machine"
    else:
        return path
    raise TelzinoConfigurationError(f"{field} names {problem}.", conn_id=settings.conn_id)


def ssl_context(path: str) -> ssl.SSLContext:
    """Trust the CAs of a file (PEM) or a folder.

    All sessions of a process that trust the same file share its context, which is large, until the file
    changes. Reading it takes 20 ms, too long for an event loop.

    Raises:
        ssl.SSLError: The file has no CA certificates.
        OSError: It can't be read.
    """
    return _ssl_context(path, os.stat(path).st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _ssl_context(path: str, changed: int) -> ssl.SSLContext:
    is_folder = os.path.isdir(path)
    return ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
