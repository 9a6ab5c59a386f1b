"""What goes wrong on purpose: rates and limits for all requests, and single faults for the next ones."""

from __future__ import annotations

import math
import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Fault:
    """What happens to one request; see ``Faults.next``."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw_body: bytes | None = None
    content_type: str = "application/json"
    after_commit: bool = False
    cut_off: bool = False
    reset: bool = False
    hang: bool = False
    delay: float = 0.0

    @property
    def replaces_answer(self) -> bool:
        """Whether the client gets something else than the API's own answer."""
        return self.status is not None or self.raw_body is not None or self.reset or self.hang

    @property
    def reaches_api(self) -> bool:
        """Whether the API sees the request, so that a call is placed."""
        return self.after_commit or not self.replaces_answer


class TokenBucket:
    """A limit of requests per second that lets short bursts through."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._size = max(1.0, rate)
        self._tokens = self._size
        self._last: float | None = None

    def take(self, now: float) -> float:
        """Take a request at this time; return the seconds to wait if the limit forbids it, else 0."""
        if self._last is not None:
            self._tokens = min(self._size, self._tokens + (now - self._last) * self.rate)
        self._last = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self.rate


@dataclass
class _Awaited:
    """A fault that waits for its requests."""

    method: str
    path: re.Pattern[str]
    times: int
    fault: Fault


class Faults:
    """Faults to inject. All may be changed while the sandbox runs, from any thread.

    Rates are shares of all API requests, from 0 to 1. Latency, delays and the limit are real seconds,
    whatever the sandbox's speed is: they are a matter between client and server.

    :param latency: least and most seconds that an answer takes
    :param error_rate: how many requests are answered with 500; with POST, half of these after the call was
        placed
    :param rate_limit_rate: how many requests are answered with 429
    :param rate_limit: requests per second; what is beyond is answered with 429
    :param retry_after: the ``Retry-After`` header of those 429 answers; any text, or ``"auto"`` for the
        seconds until the limit lets the next request through (1 where no limit is set); ``None``: no header
    :param seed: decides which requests the rates hit
    """

    def __init__(
        self,
        *,
        latency: tuple[float, float] = (0.0, 0.0),
        error_rate: float = 0.0,
        rate_limit_rate: float = 0.0,
        rate_limit: float | None = None,
        retry_after: str | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= latency[0] <= latency[1] < math.inf:
            raise ValueError(f"latency is the least and the most seconds, not {latency}")
        for name, rate in (("error_rate", error_rate), ("rate_limit_rate", rate_limit_rate)):
            if not 0 <= rate <= 1:
                raise ValueError(f"{name} is between 0 and 1, not {rate}")
        self.latency = latency
        self.error_rate = error_rate
        self.rate_limit_rate = rate_limit_rate
        self.retry_after = retry_after
        self._randomness = random.Random(seed)  # noqa: S311 - it is to be repeatable, not secret
        self._awaited: list[_Awaited] = []
        self._lock = threading.Lock()
        self._bucket: TokenBucket | None = None
        self.rate_limit = rate_limit

    @property
    def rate_limit(self) -> float | None:
        """Requests per second that are let through; ``None`` for no limit."""
        return self._bucket.rate if self._bucket is not None else None

    @rate_limit.setter
    def rate_limit(self, rate: float | None) -> None:
        if rate is not None and rate <= 0:
            raise ValueError(f"rate_limit is a number of requests per second over 0, not {rate}")
        self._bucket = TokenBucket(rate) if rate is not None else None

    def next(
        self,
        method: str = "",
        path: str = "",
        *,
        times: int = 1,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: str | None = None,
        location: str | None = None,
        raw_body: bytes | None = None,
        content_type: str = "application/json",
        after_commit: bool = False,
        cut_off: bool = False,
        reset: bool = False,
        hang: bool = False,
        delay: float = 0.0,
    ) -> None:
        """Let something go wrong with the next matching requests. Faults are used up in the order given.

        :param method: such as ``"GET"``; empty for every method
        :param path: a regular expression that is searched for in the path, such as ``"outbound-calls$"``
        :param times: how many requests it happens to
        :param status: answer with this status code
        :param headers: and these headers
        :param retry_after: the ``Retry-After`` header
        :param location: the ``Location`` header; the status is then 302 unless another one is given
        :param raw_body: answer with this body, with status 200 unless another one is given
        :param content_type: of the answer with ``status`` or ``raw_body``
        :param after_commit: let the API handle the request first, then drop its answer; without it, a POST
            that goes wrong places no call
        :param cut_off: announce the whole answer, send half of it, and close the connection
        :param reset: reset the connection instead of answering
        :param hang: never answer, until the client or the sandbox gives up
        :param delay: answer so many real seconds late
        """
        every_header = dict(headers or {})
        if retry_after is not None:
            every_header["Retry-After"] = retry_after
        if location is not None:
            every_header["Location"] = location
            status = status or 302
        if every_header and status is None and raw_body is None:
            raise ValueError("Headers belong to an answer: give `status` or `raw_body` too.")
        fault = Fault(status, every_header, raw_body, content_type, after_commit, cut_off, reset, hang, delay)
        if fault == Fault(content_type=content_type, after_commit=after_commit):
            raise ValueError(
                "Give what goes wrong: `status`, `raw_body`, `cut_off`, `reset`, `hang` or `delay`."
            )
        with self._lock:
            self._awaited.append(_Awaited(method.upper(), re.compile(path), times, fault))

    def clear(self) -> None:
        """Forget the single faults that have not happened yet."""
        with self._lock:
            self._awaited.clear()

    @property
    def waiting(self) -> int:
        """How many requests the single faults still wait for."""
        return sum(awaited.times for awaited in self._awaited)

    def for_request(self, method: str, path: str, now: float) -> Fault:
        """Decide what happens to a request that came in at this time (seconds, of any clock)."""
        with self._lock:
            fault = self._single(method, path) or self._limited(now) or self._by_rate(method) or Fault()
            late = self._randomness.uniform(*self.latency) if self.latency[1] else 0.0
            return replace(fault, delay=fault.delay + late)

    def _single(self, method: str, path: str) -> Fault | None:
        for awaited in self._awaited:
            if awaited.method in ("", method) and awaited.path.search(path):
                awaited.times -= 1
                if awaited.times <= 0:
                    self._awaited.remove(awaited)
                return awaited.fault
        return None

    def _limited(self, now: float) -> Fault | None:
        wait = self._bucket.take(now) if self._bucket is not None else 0.0
        return self._too_many_requests(wait) if wait else None

    def _by_rate(self, method: str) -> Fault | None:
        if self.rate_limit_rate and self._randomness.random() < self.rate_limit_rate:
            return self._too_many_requests(1.0)
        if self.error_rate and self._randomness.random() < self.error_rate:
            return Fault(500, after_commit=method == "POST" and self._randomness.random() < 0.5)
        return None

    def _too_many_requests(self, wait: float) -> Fault:
        seconds = str(math.ceil(wait)) if self.retry_after == "auto" else self.retry_after
        return Fault(429, {"Retry-After": seconds} if seconds is not None else {})


def default_body(status: int) -> Mapping[str, str]:
    """Return the body of an injected answer that was given none."""
    return {"error": f"injected_{status}", "message": "The sandbox was told to answer so."}


__all__: Sequence[str] = ("Fault", "Faults", "TokenBucket", "default_body")
