"""TLS settings: large and slow to make, so all sessions of a process that trust the same CAs share them."""

from __future__ import annotations

import functools
import os
import ssl


def ssl_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Trust the CAs of a file (PEM), of a folder, or of the system.

    It is read anew only when it has changed: 50 ms, too long for an event loop.

    Raises:
        ssl.SSLError: The file has no CA certificates.
        OSError: It can't be read.
    """
    return _ssl_context(ca_bundle, ca_bundle and os.stat(ca_bundle).st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _ssl_context(path: str | None, changed: object) -> ssl.SSLContext:
    is_folder = path is not None and os.path.isdir(path)
    return ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
