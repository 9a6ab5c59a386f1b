"""What is sent to Telzino's API and what comes back, as values: a transport turns one into the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_telzino import __version__

USER_AGENT = f"airflow-provider-telzino/{__version__}"
MAX_BODY_BYTES = 10 * 1024 * 1024


class ApiRequest(NamedTuple):
    """One request, ready to be sent by whatever transport."""

    method: str
    path: str
    """Below the base URL; begins with a slash and holds no text that a user chose, but for checked UUIDs."""
    params: Mapping[str, str | int] | None = None
    json: Mapping[str, Any] | None = None
    call_id: str | None = None
    """The call that it is about, for error messages."""
    authorized: bool = True
    """Whether it carries the access token."""

    @property
    def body(self) -> bytes | None:
        """The JSON as it is sent: as compact as ``checks`` measures it."""
        if self.json is None:
            return None
        text = json.dumps(self.json, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")  # half a character, which is JSON's own escape then

    @property
    def headers(self) -> dict[str, str]:
        """What describes the body."""
        return {} if self.json is None else {"Content-Type": "application/json"}

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice does no harm. Placing a call twice rings a person twice."""
        return self.method == "GET" or not self.authorized


class ApiAnswer(NamedTuple):
    """What came back: status code, at most ``MAX_BODY_BYTES`` of decoded body, and two headers."""

    status: int
    body: bytes
    retry_after: str | None = None
    """The ``Retry-After`` header."""
    date: str | None = None
    """The ``Date`` header: when the answer was made, on the server's clock."""
