"""The Telzino API without I/O: requests as values, and answers to records or errors.

Both hooks send what this module builds and hand back what came, so sync and async share every rule.
"""

from __future__ import annotations

import functools
import json
import math
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_telzino import __version__, api_errors, checks
from airflow_provider_telzino.connection import Settings
from airflow_provider_telzino.exceptions import TelzinoCredentialsError
from airflow_provider_telzino.statuses import CallStatus

USER_AGENT = f"airflow-provider-telzino/{__version__}"
MAX_PAGE_SIZE = 100
LOG_PAGE_SIZE = 20  # call logs hold all that was said, twice: a hundred may be more than a body may have
MAX_TOKEN_LIFETIME = 365 * 86_400  # seconds; it also keeps an absurd number from overflowing
MAX_STALE_PAGES = 3  # pages in a row without anything new, after which a list counts as read
TOKEN_MARGIN = 60.0  # seconds before its end at which a token counts as expired


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
    """What came back: status code, the ``Retry-After`` header, and at most ``MAX_BODY_BYTES`` of body."""

    status: int
    body: bytes
    retry_after: str | None = None


class ListPage(NamedTuple):
    """One page of a list, whose items are exactly as the API gives them."""

    items: list[dict[str, Any]]
    total: int
    """How many there are on all pages; 0 when the API doesn't say."""
    is_last: bool
    is_certain: bool
    """Whether the API says for sure that it is, or isn't, the last one."""


class TokenCache:
    """The access token that a hook fetched, until shortly before it expires.

    Not locked: its hook lets one thread or coroutine at a time ask and fetch.
    """

    def __init__(self) -> None:
        self._token: str | None = None
        self._expires_at = 0.0

    def usable(self, refused: str | None) -> str | None:
        """Return the token, unless it is about to expire or is the one that the API just refused."""
        good = self._token != refused and time.monotonic() < self._expires_at
        return self._token if good else None

    def keep(self, token: str, lifetime: float) -> None:
        """Keep a token that lives that many seconds from now."""
        self._token = token
        self._expires_at = time.monotonic() + lifetime - min(TOKEN_MARGIN, lifetime / 10)


# --- Requests ---


def token_request(settings: Settings) -> ApiRequest:
    """``POST /oauth/token``: client credentials for an access token."""
    body = {
        "client_id": settings.client_id,
        "client_secret": settings.secret,
        "audience": settings.audience,
        "grant_type": "client_credentials",
    }
    return ApiRequest("POST", "/oauth/token", json=body, authorized=False)


def get_call_request(agent_id: object, call_id: object) -> ApiRequest:
    """``GET /v1/agents/{agentId}/outbound-calls/{callId}``: the call record."""
    known = isinstance(agent_id, str) and isinstance(call_id, str)  # anything else may not be hashable
    return (_call_request if known else _call_request.__wrapped__)(agent_id, call_id)


@functools.lru_cache(maxsize=1024)
def _call_request(agent_id: object, call_id: object) -> ApiRequest:
    """Build it once for a call that is looked at again and again."""
    checked = checks.checked_call_id(call_id)
    return ApiRequest("GET", f"{_agent(agent_id)}/outbound-calls/{checked}", call_id=checked)


def list_calls_request(agent_id: object, status: str | CallStatus | None, page: int = 1) -> ApiRequest:
    """``GET /v1/agents/{agentId}/outbound-calls``: a page of an agent's calls, newest first."""
    params: dict[str, str | int] = {"page": page, "limit": MAX_PAGE_SIZE}
    if status is not None:
        params["status"] = checks.checked_status(status).value
    return ApiRequest("GET", f"{_agent(agent_id)}/outbound-calls", params=params)


def list_logs_request(agent_id: object) -> ApiRequest:
    """``GET /v1/agents/{agentId}/call-logs``: the first page of an agent's transcripts."""
    params: dict[str, str | int] = {"page": 1, "limit": LOG_PAGE_SIZE}
    return ApiRequest("GET", f"{_agent(agent_id)}/call-logs", params=params)


def list_agents_request() -> ApiRequest:
    """``GET /v1/agents``: one agent that the token can see, the cheapest read there is."""
    return ApiRequest("GET", "/v1/agents", params={"page": 1, "limit": 1})


def get_agent_request(agent_id: object) -> ApiRequest:
    """``GET /v1/agents/{agentId}``: one agent."""
    return ApiRequest("GET", _agent(agent_id))


def next_page(request: ApiRequest) -> ApiRequest:
    """Ask for the page after the one that a list request asked for."""
    params = dict(request.params or {})
    return request._replace(params={**params, "page": int(params.get("page", 1)) + 1})


def place_call_request(
    agent_id: object, to_number: object, call_context: object, metadata: object, callback_url: object
) -> ApiRequest:
    """``POST /v1/agents/{agentId}/outbound-calls``: place a call.

    Raises:
        TelzinoConfigurationError: An argument breaks one of the API's documented limits. The message has its
            name, the limit and its size, never its value, which may be personal data.
    """
    body: dict[str, Any] = {"to_number": checks.checked_number(to_number)}
    if call_context is not None:
        body["call_context"] = checks.checked_context(call_context)
    if metadata is not None:
        body["metadata"] = checks.checked_metadata(metadata)
    if callback_url is not None:
        body["callback_url"] = checks.checked_callback_url(callback_url)
    return ApiRequest("POST", f"{_agent(agent_id)}/outbound-calls", json=body)


def _agent(agent_id: object) -> str:
    return f"/v1/agents/{checks.checked_agent_id(agent_id)}"


# --- Answers ---


def read_answer(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> dict[str, Any]:
    """Turn an answer into its JSON object, or raise what it means.

    Raises:
        TelzinoError: The subclass that fits the status code; see ``airflow_provider_telzino.exceptions``.
    """
    if not 200 <= answer.status < 300:
        raise api_errors.refused(settings, request, answer)
    return _json_object(settings, request, answer)


def read_record(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> dict[str, Any]:
    """Read a call record, exactly as the API gives it, or the 202 answer of placing a call."""
    record = read_answer(settings, request, answer)
    if not is_record(record):
        raise api_errors.unreadable(
            settings, request, "The answer is not a call record: `id` or `status` is missing."
        )
    if request.call_id is not None and record["id"].lower() != request.call_id:
        raise api_errors.unreadable(settings, request, "The answer is the record of another call.")
    return record


def read_token(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> tuple[str, float]:
    """Read a token and the seconds that it lives: until a 401, when the answer doesn't say."""
    if answer.status in (400, 401, 403):
        raise TelzinoCredentialsError(
            f"The API refused the client credentials ({answer.status}). Check Login (client ID), Password "
            "(client secret) and the OAuth audience of the connection against the Telzino dashboard.",
            conn_id=settings.conn_id,
        )
    content = read_answer(settings, request, answer)
    token, expires_in = content.get("access_token"), content.get("expires_in")
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise api_errors.unreadable(settings, request, "The token answer has no `access_token`.")
    if isinstance(expires_in, (int, float)) and not isinstance(expires_in, bool) and expires_in > 0:
        return token, float(min(expires_in, MAX_TOKEN_LIFETIME))
    return token, math.inf


def read_page(
    settings: Settings, request: ApiRequest, answer: ApiAnswer
) -> tuple[list[dict[str, Any]], ApiRequest | None]:
    """Read one page of a list: its items, and the request for the next page if there is one."""
    page = read_list_page(settings, request, answer)
    return page.items, None if page.is_last else next_page(request)


def read_list_page(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> ListPage:
    """Read one page of a list."""
    content = read_answer(settings, request, answer)
    items, pagination = content.get("data"), content.get("pagination")
    if not isinstance(items, list) or not isinstance(pagination, dict):
        raise api_errors.unreadable(
            settings, request, "The answer is not a list: `data` or `pagination` is missing."
        )
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise api_errors.unreadable(settings, request, "The list holds an item without an `id`.")
    total, has_next = pagination.get("total"), _has_next(request, pagination)
    return ListPage(
        items,
        total=total if isinstance(total, int) else 0,
        is_last=not (has_next and items),
        # An empty page that goes on, or a list that doesn't say: its end is nowhere.
        is_certain=isinstance(has_next, bool) and (bool(items) or not has_next),
    )


def _has_next(request: ApiRequest, pagination: Mapping[str, Any]) -> object:
    """Read whether more pages follow; from their number, where that isn't said."""
    has_next, pages = pagination.get("hasNext"), pagination.get("totalPages")
    if has_next is None and isinstance(pages, int) and request.params:
        return int(request.params["page"]) < pages
    return has_next


def read_certain_page(
    settings: Settings, request: ApiRequest, answer: ApiAnswer
) -> tuple[list[dict[str, Any]], ApiRequest | None]:
    """Read one page of a list as ``read_page`` does, but refuse one that leaves open whether more follow.

    A list that ends too early looks like one that lacks a call, which would then be placed again.
    """
    page = read_list_page(settings, request, answer)
    if not page.is_certain:
        raise api_errors.unreadable(settings, request, "The list doesn't say whether it goes on.")
    return page.items, None if page.is_last else next_page(request)


class Pages:
    """Keeps count of a list's pages while they are read.

    Calls that are placed meanwhile push others to the next page, where they come again: those are left out.

    Args:
        limit: How many pages to read at most.
        known: The ids of what earlier readings have seen, which is left out, too; this one adds its own. If
            there are any, the first page without anything new is the last one.
    """

    def __init__(self, limit: int | None = None, known: set[str] | None = None) -> None:
        self._left = math.inf if limit is None else limit
        self._stale = 0
        self._most_stale = 1 if known else MAX_STALE_PAGES
        self._seen: set[str] = set() if known is None else known

    def wanted(self) -> bool:
        """Whether one more page is to be read. Each question counts as a page."""
        self._left -= 1
        return self._left >= 0 and self._stale < self._most_stale

    def new(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave out what an earlier page had."""
        new = [item for item in items if item["id"] not in self._seen]
        self._seen.update(item["id"] for item in new)
        self._stale = 0 if new else self._stale + 1
        return new


def is_record(record: object) -> bool:
    """Tell whether JSON is a call record as far as a wait needs it."""
    return (
        isinstance(record, dict)
        and isinstance(record.get("id"), str)
        and isinstance(record.get("status"), str)
        and bool(record["status"])
    )


def _json_object(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> dict[str, Any]:
    try:
        content = _JSON.decode(answer.body.decode(json.detect_encoding(answer.body), "surrogatepass"))
    except (ValueError, RecursionError):
        # Not chained: the parser's error holds the body.
        raise api_errors.unreadable(settings, request, f"The answer ({answer.status}) is not JSON.") from None
    if not isinstance(content, dict):
        raise api_errors.unreadable(settings, request, f"The answer ({answer.status}) is not a JSON object.")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
