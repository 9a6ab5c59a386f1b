"""Answers of Telzino's API: read as records and lists, or raised as errors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_telzino.api import errors
from airflow_provider_telzino.api.endpoints import next_page
from airflow_provider_telzino.api.messages import ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import Settings
from airflow_provider_telzino.models import is_record

MAX_STALE_PAGES = 3  # pages in a row without anything new, after which a list counts as read


class ListPage(NamedTuple):
    """One page of a list, whose items are exactly as the API gives them."""

    items: list[dict[str, Any]]
    total: int
    """How many there are on all pages; 0 when the API doesn't say."""
    is_last: bool
    is_certain: bool
    """Whether the API says for sure that it is, or isn't, the last one."""


def read_answer(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> dict[str, Any]:
    """Turn an answer into its JSON object, or raise what it means.

    Raises:
        TelzinoError: The subclass that fits the status code; see ``airflow_provider_telzino.exceptions``.
    """
    if not 200 <= answer.status < 300:
        raise errors.refused(settings, request, answer)
    return _json_object(settings, request, answer)


def read_record(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> dict[str, Any]:
    """Read a call record, exactly as the API gives it, or the 202 answer of placing a call."""
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
            raise errors.unreadable(settings, request, "The list holds an item without an `id`.")
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
        raise errors.unreadable(settings, request, "The list doesn't say whether it goes on.")
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


def _json_object(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> dict[str, Any]:
    try:
        content = _JSON.decode(answer.body.decode(json.detect_encoding(answer.body), "surrogatepass"))
    except (ValueError, RecursionError):
        # Not chained: the parser's error holds the body.
        raise errors.unreadable(settings, request, f"The answer ({answer.status}) is not JSON.") from None
    if not isinstance(content, dict):
        raise errors.unreadable(settings, request, f"The answer ({answer.status}) is not a JSON object.")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
