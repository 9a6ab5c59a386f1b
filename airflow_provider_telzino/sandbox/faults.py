"""Fault injection: rates and limits for all requests, and single faults for the next ones."""

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
    """A fault of one request; see :meth:`Faults.next`."""

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
        """Whether the client gets something other than the API's own answer."""
        return self.status is not None or self.raw_body is not None or self.reset or self.hang

    @property
    def reaches_api(self) -> bool:
        """Whether the API handles the request, so that a call is placed."""
        return self.after_commit or not self.replaces_answer


class TokenBucket:
    """A limit of requests per second that allows short bursts."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._size = max(1.0, rate)
        self._tokens = self._size
        self._last: float | None = None

    def take(self, now: float) -> float:
        """Count a request at this time; return the seconds to wait if the limit is exceeded, else 0."""
        if self._last is not None:
            self._tokens = min(self._size, self._tokens + (now - self._last) * self.rate)
        self._last = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self.rate


@dataclass
class _Pending:
    """A fault of the next matching requests."""

    method: str
    path: re.Pattern[str]
    times: int
    fault: Fault


class Faults:
    """Faults to inject. All can be changed while the sandbox runs, from any thread.

    Rates are shares of all API requests, from 0 to 1. Latency, delays and the limit are in real seconds,
    whatever the sandbox's speed is.

    Args:
        latency: The minimum and maximum number of seconds that an answer takes.
        error_rate: The share of requests that are answered with 500; for half of the POSTs among them, the
            call is placed nevertheless.
        rate_limit_rate: The share of requests that are answered with 429.
        rate_limit: Requests per second; any more are answered with 429.
        retry_after: The ``Retry-After`` header of these 429 answers: any text, ``"auto"`` for the seconds
            until the limit allows the next request (1 if there is no limit), or ``None`` for no header.
        seed: Determines which requests the rates affect.
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
            raise ValueError(f"`latency` should be a minimum and a maximum of seconds, not {latency}.")
        for name, rate in (("error_rate", error_rate), ("rate_limit_rate", rate_limit_rate)):
            if not 0 <= rate <= 1:
                raise ValueError(f"`{name}` should be between 0 and 1, not {rate}.")
        self.latency = latency
        self.error_rate = error_rate
        self.rate_limit_rate = rate_limit_rate
        self.retry_after = retry_after
        self._randomness = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._pending: list[_Pending] = []
        self._lock = threading.Lock()
        self._bucket: TokenBucket | None = None
        self.rate_limit = rate_limit

    @property
    def rate_limit(self) -> float | None:
        """Requests per second that are allowed; ``None`` for no limit."""
        return self._bucket.rate if self._bucket is not None else None

    @rate_limit.setter
    def rate_limit(self, rate: float | None) -> None:
        if rate is not None and rate <= 0:
            raise ValueError(f"`rate_limit` should be over 0 requests per second, not {rate}.")
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
        """Inject a fault into the next matching requests. Faults are used in the order of these calls.

        Args:
            method: Such as ``"GET"``; empty for every method.
            path: A regular expression to search for in the path, such as ``"outbound-calls$"``.
            times: How many requests it affects.
            status: Answer with this status code.
            headers: And with these headers.
            retry_after: The ``Retry-After`` header.
            location: The ``Location`` header; the default of ``status`` is 302 then.
            raw_body: Answer with this body; the default of ``status`` is 200 then.
            content_type: Of the answer with ``status`` or ``raw_body``.
            after_commit: Let the API handle the request first, and then drop its answer. Otherwise, a POST
                with a fault places no call.
            cut_off: Announce the whole answer, send half of it, and close the connection.
            reset: Reset the connection instead of answering.
            hang: Don't answer until the client or the sandbox gives up.
            delay: Answer so many real seconds late.
        """
        every_header = dict(headers or {})
        if retry_after is not None:
            every_header["Retry-After"] = retry_after
        if location is not None:
            every_header["Location"] = location
            status = status or 302
        if every_header and status is None and raw_body is None:
            raise ValueError("Headers need an answer: give `status` or `raw_body`, too.")
        fault = Fault(status, every_header, raw_body, content_type, after_commit, cut_off, reset, hang, delay)
        if fault == Fault(content_type=content_type, after_commit=after_commit):
            raise ValueError("Give the fault: `status`, `raw_body`, `cut_off`, `reset`, `hang` or `delay`.")
        with self._lock:
            self._pending.append(_Pending(method.upper(), re.compile(path), times, fault))

    def clear(self) -> None:
        """Remove the single faults that have not been used yet."""
        with self._lock:
            self._pending.clear()

    @property
    def waiting(self) -> int:
        """How many requests the single faults will still affect."""
        return sum(pending.times for pending in self._pending)

    def for_request(self, method: str, path: str, now: float) -> Fault:
        """Decide about a request that is received at this time (seconds, on any clock)."""
        with self._lock:
            fault = self._single(method, path) or self._limited(now) or self._by_rate(method) or Fault()
            late = self._randomness.uniform(*self.latency) if self.latency[1] else 0.0
            return replace(fault, delay=fault.delay + late)

    def _single(self, method: str, path: str) -> Fault | None:
        for pending in self._pending:
            if pending.method in ("", method) and pending.path.search(path):
                pending.times -= 1
                if pending.times <= 0:
                    self._pending.remove(pending)
                return pending.fault
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
    """Return the body of an injected answer that has no ``raw_body``."""
    return {"error": f"injected_{status}", "message": "The sandbox was configured to answer this."}


__all__: Sequence[str] = ("Fault", "Faults", "TokenBucket", "default_body")
