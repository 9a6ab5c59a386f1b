"""Requests to Telzino's API and its answers, as values. A transport turns a request into an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_telzino import __version__

HEADERS = {
    "User-Agent": f"airflow-provider-telzino/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # Compressed answers are read, too.
}
MAX_BODY_BYTES = 10 * 1024 * 1024


class ApiRequest(NamedTuple):
    """One request, ready to be sent by any transport."""

    method: str
    path: str
    """Below the base URL; it begins with a slash. The only user input in it is checked UUIDs."""
    params: Mapping[str, str | int] | None = None
    json: Mapping[str, Any] | None = None
    call_id: str | None = None
    """The call that it is about, for error messages."""
    authorized: bool = True
    """Whether it carries the access token."""

    @property
    def body(self) -> bytes | None:
        """The JSON as it is sent, in the compact form whose size :mod:`.arguments` checks."""
        if self.json is None:
            return None
        text = json.dumps(self.json, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")  # a lone surrogate as JSON's own escape

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe the body."""
        return {} if self.json is None else {"Content-Type": "application/json"}

    @property
    def idempotent(self) -> bool:
        """Whether it may safely be sent twice. Placing a call twice rings a person twice."""
        return self.method == "GET" or not self.authorized


class ApiAnswer(NamedTuple):
    """One answer: status code, at most ``MAX_BODY_BYTES`` of decoded body, and two headers."""

    status: int
    body: bytes
    retry_after: str | None = None
    """The ``Retry-After`` header."""
    date: str | None = None
    """The ``Date`` header: when the answer was made, on the server's clock."""
