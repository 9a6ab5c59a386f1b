"""Answers of Telzino's API: read as records and lists, or raised as errors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from airflow_provider_telzino.api import errors
from airflow_provider_telzino.api.endpoints import next_page
from airflow_provider_telzino.api.messages import ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import Settings
from airflow_provider_telzino.models import is_record

MAX_INTEGER_CHARACTERS = 20  # of a 64-bit integer
MAX_STALE_PAGES = 3  # pages in a row without a new item, after which a list counts as read


class ListPage(NamedTuple):
    """One page of a list, with its items as the API gives them."""

    items: list[dict[str, Any]]
    total: int
    """How many items there are on all pages; 0 if the API doesn't say."""
    is_last: bool
    is_certain: bool
    """Whether the API says unambiguously if it is the last one."""


def read_answer(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> dict[str, Any]:
    """Turn an answer into its JSON object, or raise what it means.

    Returns:
        What the API gave, except for what Airflow can't store: U+FFFD takes the place of lone surrogates and
        NUL, and numbers that are too large become text.

    Raises:
        TelzinoError: The subclass that fits the status code; see ``airflow_provider_telzino.exceptions``.
    """
    if not 200 <= answer.status < 300:
        raise errors.refused(settings, request, answer)
    return _json_object(settings, request, answer)


def read_record(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> dict[str, Any]:
    """Read a call record, or the 202 answer of placing a call."""
    record = read_answer(settings, request, answer)
    if not is_record(record):
        raise errors.unreadable(
            settings, request, "The answer is not a call record: `id` or `status` is missing."
        )
    if request.call_id is not None and record["id"].lower() != request.call_id:
        raise errors.unreadable(settings, request, "The answer is the record of another call.")
    return record


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
        raise errors.unreadable(
            settings, request, "The answer is not a list: `data` or `pagination` is missing."
        )
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise errors.unreadable(settings, request, "The list contains an item without an `id`.")
    total, has_next = pagination.get("total"), _has_next(request, pagination, items)
    return ListPage(
        items,
        total=total if isinstance(total, int) else 0,
        is_last=not (has_next and items),
        # Not so for an empty page that says that more follow, and for a list that says neither.
        is_certain=isinstance(has_next, bool) and (bool(items) or not has_next),
    )


def _has_next(request: ApiRequest, pagination: Mapping[str, Any], items: Sequence[object]) -> object:
    """Read whether more pages follow, or derive it from their number.

    If the two differ, another page is read: one too many costs a request, one too few may hide a call.
    """
    has_next, pages = pagination.get("hasNext"), pagination.get("totalPages")
    may_differ = has_next is None or (has_next is False and items)
    if may_differ and isinstance(pages, int) and request.params:
        return int(request.params["page"]) < pages
    return has_next


def read_certain_page(
    settings: Settings, request: ApiRequest, answer: ApiAnswer
) -> tuple[list[dict[str, Any]], ApiRequest | None]:
    """Read one page of a list as ``read_page`` does, but refuse a page that leaves open whether more follow.

    A call that is missing because the list ended too early would be placed again.
    """
    page = read_list_page(settings, request, answer)
    if not page.is_certain:
        raise errors.unreadable(settings, request, "The list doesn't say whether more pages follow.")
    return page.items, None if page.is_last else next_page(request)


class Pages:
    """Counts the pages of a list while they are read, and leaves out items that were read before.

    Calls that are placed meanwhile push others to the next page, where they appear again.

    Args:
        limit: How many pages to read at most.
        known: The ids of items that earlier readings have seen. They are left out, too, and this reading adds
            its own. If there are any, the first page without a new item is the last one to be read.
    """

    def __init__(self, limit: int | None = None, known: set[str] | None = None) -> None:
        self._left = math.inf if limit is None else limit
        self._stale = 0
        self._most_stale = 1 if known else MAX_STALE_PAGES
        self._seen: set[str] = set() if known is None else known

    def wanted(self) -> bool:
        """Whether one more page should be read. Each call of this method counts as a page."""
        self._left -= 1
        return self._left >= 0 and self._stale < self._most_stale

    def new(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave out the items that an earlier page had."""
        new = [item for item in items if item["id"] not in self._seen]
        self._seen.update(item["id"] for item in new)
        self._stale = 0 if new else self._stale + 1
        return new


def _json_object(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> dict[str, Any]:
    try:
        content = _JSON.decode(_storable(answer.body))
    except (ValueError, RecursionError):
        # Not chained: the parser's error contains the body.
        raise errors.unreadable(settings, request, f"The answer ({answer.status}) is not JSON.") from None
    if not isinstance(content, dict):
        raise errors.unreadable(settings, request, f"The answer ({answer.status}) is not a JSON object.")
    return content


def _storable(body: bytes) -> str:
    """Decode a body, with U+FFFD in place of what Airflow can't store: lone surrogates and NUL.

    Nearly every body has none. The JSON text is corrected, keys and values at once: to search the parsed
    records would cost more, and they may be nested too deep for it.
    """
    encoding = json.detect_encoding(body)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        text = _SURROGATE.sub("\ufffd", body.decode(encoding, "surrogatepass"))
    if _SUSPECT.search(text):
        text = _ESCAPE.sub(lambda escape: "\\ufffd" if escape.group("unstorable") else escape.group(), text)
    return text


_SURROGATE = re.compile("[\ud800-\udfff]")
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")  # a quick check, which pairs pass, too
_ESCAPE = re.compile(
    r"""\\(?:
        \\  # an escaped backslash, after which a u begins no escape
        | u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}  # a pair: one character, such as an emoji
        | (?P<unstorable> u0000 | u[dD][89a-fA-F][0-9a-fA-F]{2})
    )""",
    re.VERBOSE,
)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _storable_float(number: str) -> float | str:
    """Read a number; keep it as text if it is infinite for Python: PostgreSQL's JSON knows no infinity."""
    value = float(number)
    return value if math.isfinite(value) else number


def _storable_int(number: str) -> int | str:
    """Read an integer; keep it as text if it has over 64 bits: Airflow's messages carry no larger ones."""
    if len(number) > MAX_INTEGER_CHARACTERS:
        return number
    value = int(number)
    return value if -(2**63) <= value < 2**64 else number


_JSON = json.JSONDecoder(
    parse_float=_storable_float, parse_int=_storable_int, parse_constant=_refuse_constant
)
