"""A time limit for a whole request over requests, whose own timeout begins anew with each byte that comes.

A server that sends a byte now and then could hold a worker for hours. So a timer shuts the socket when the
time is over, whatever the connection is doing then.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

POOL_SIZE = 50  # idle connections that a session keeps, for hooks that many threads share

_current = threading.local()


class TimeLimit:
    """Ends what requests does in this thread, between ``with`` and its end, when the time is over.

    Args:
        timeout: Seconds.
    """

    def __init__(self, timeout: float) -> None:
        self.is_over = False
        self._lock = threading.Lock()
        self._socket: Any = None
        self._timer = threading.Timer(timeout, self._end)
        self._timer.daemon = True

    def __enter__(self) -> TimeLimit:
        _current.limit = self
        self._timer.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None  # it goes back to the pool, where others use it
        _current.limit = None

    def watch(self, connected: Any) -> None:
        """Take note of the socket that a request travels over."""
        with self._lock:
            self._socket = connected
        if self.is_over:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            if isinstance(self._socket, socket.socket):
                with contextlib.suppress(OSError):
                    # Not the TLS socket's own shutdown, which would change it under its reader.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Watched:
    """What both kinds of connections do: tell this thread's time limit of their socket."""

    sock: Any

    def getresponse(self) -> Any:
        limit = getattr(_current, "limit", None)
        if limit is not None:
            limit.watch(self.sock)
        return super().getresponse()  # type: ignore[misc]  # the connection's, which this is mixed into


class _WatchedConnection(_Watched, HTTPConnection):
    pass


class _WatchedSecureConnection(_Watched, HTTPSConnection):
    pass


class _WatchedPool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _WatchedSecurePool(HTTPSConnectionPool):
    ConnectionCls = _WatchedSecureConnection


class _WatchingAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS = {"http": _WatchedPool, "https": _WatchedSecurePool}


class _UnredirectedSession(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """See no redirect anywhere: even unfollowed, requests reads its body whole and parses its address."""
        return


def session_with_time_limit() -> requests.Session:
    """Make a session that heeds :class:`TimeLimit` and never follows a redirect."""
    session = _UnredirectedSession()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _WatchingAdapter(pool_maxsize=POOL_SIZE))
    return session
