"""What an answer that is no good, or no answer at all, means to the user."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

from airflow_provider_telzino.api.messages import MAX_BODY_BYTES, ApiAnswer, ApiRequest
from airflow_provider_telzino.api.retry import parse_retry_after
from airflow_provider_telzino.api.settings import Settings
from airflow_provider_telzino.exceptions import (
    TelzinoBadRequestError,
    TelzinoConfigurationError,
    TelzinoCredentialsError,
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoPermissionError,
    TelzinoRateLimitError,
    TelzinoUnavailableError,
    TelzinoUnreadableAnswerError,
)

MAX_API_MESSAGE_CHARACTERS = 300
MAX_RAW_MESSAGE_CHARACTERS = 1_000  # what is looked at of an error message, before it is cleaned

# Patterns, which are compiled at their first use: few processes ever see a refusal.
_BEARER = r"(?i)bearer\s+\S+|[\w.~+/=-]{32,}"
_ESCAPE = r"\\u([0-9a-fA-F]{4})"
_LONG_NUMBER = r"[+(]*[0-9](?:[ ().-]{0,2}[0-9]){6,}"
_WORD = r"\w+"
_SEVERAL_SPACES = r"\s+"
_SEVERAL_HIDDEN = r"\[…\](?:\W{0,3}\[…\])+"
_HIDDEN = "[…]"
# What an error message needs to be understood, though a call's context may well hold the same words.
_HARMLESS = frozenset(
    [
        "to_number",
        "call_context",
        "metadata",
        "callback_url",
        "agent",
        "agents",
        "field",
        "fields",
        "value",
        "number",
        "numbers",
        "text",
        "url",
        "a",
        "an",
        "and",
        "are",
        "at",
        "be",
        "by",
        "can",
        "cannot",
        "characters",
        "digits",
        "does",
        "exceeds",
        "for",
        "format",
        "from",
        "has",
        "have",
        "in",
        "invalid",
        "is",
        "it",
        "length",
        "long",
        "longer",
        "maximum",
        "may",
        "missing",
        "most",
        "must",
        "no",
        "not",
        "of",
        "one",
        "only",
        "or",
        "required",
        "should",
        "than",
        "the",
        "this",
        "to",
        "too",
        "was",
        "with",
    ]
)


def no_answer(
    settings: Settings, request: ApiRequest, what: str, *, connected: bool = True, untrusted: bool = False
) -> TelzinoError:
    """Build the error for a request that got no whole answer.

    Args:
        settings: The connection.
        request: What was sent.
        what: What happened, as a sentence.
        connected: Whether a connection was made, so that the API may have received the request.
        untrusted: Whether the server's TLS certificate could not be verified, which no retry mends.
    """
    about: dict[str, Any] = {"conn_id": settings.conn_id, "call_id": request.call_id}
    if untrusted:
        return TelzinoConfigurationError(
            "The server's TLS certificate can't be verified. Behind a proxy that re-signs TLS, set the CA "
            "bundle of the connection; else check its Host.",
            **about,
        )
    hint = _maybe_placed(request) if connected else ""
    return TelzinoUnavailableError(f"{what}{hint}", maybe_received=connected, **about)


def no_token(settings: Settings) -> TelzinoError:
    """Build the error for a request that waited in vain for another one to fetch the access token."""
    return TelzinoUnavailableError(
        "No access token could be fetched in time.", maybe_received=False, conn_id=settings.conn_id
    )


def _maybe_placed(request: ApiRequest) -> str:
    if request.idempotent:
        return ""
    return " The call may have been placed all the same: look for it before you place it again."


def too_large(settings: Settings, request: ApiRequest) -> TelzinoError:
    """Build the error for a body of over ``MAX_BODY_BYTES``."""
    return unreadable(settings, request, f"The answer is larger than {MAX_BODY_BYTES // 1024**2} MB.")


def unreadable(settings: Settings, request: ApiRequest, message: str) -> TelzinoUnreadableAnswerError:
    """Build the error for an answer that isn't what the API documents."""
    return TelzinoUnreadableAnswerError(
        f"{message} Is the Host of the connection Telzino's API?{_maybe_placed(request)}",
        conn_id=settings.conn_id,
        call_id=request.call_id,
    )


def refused(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> TelzinoError:
    """Build the error that a status code other than 2xx means."""
    about: dict[str, Any] = {"conn_id": settings.conn_id, "call_id": request.call_id}
    status = answer.status
    if status == 401:
        fix = "A pasted token lives one day: paste a new one, or enter a client ID and its secret instead."
        if settings.client_id:
            fix = "It was just fetched, so check the OAuth audience of the connection."
        return TelzinoCredentialsError(f"The API refused the access token (401). {fix}", **about)
    if status == 403:
        return TelzinoPermissionError(
            "The credentials may not do this (403). Check in Telzino that they may use the agent.", **about
        )
    if status == 404 and not request.authorized:
        return TelzinoNotFoundError(
            "There is no token endpoint (404). Is the Host of the connection Telzino's API?", **about
        )
    if status == 404:
        what, where = ("call", "`agent_id` and `call_id`") if request.call_id else ("agent", "`agent_id`")
        return TelzinoNotFoundError(
            f"The API knows no such {what} (404). Check {where}, and the Host of the connection.", **about
        )
    if status == 429:
        return TelzinoRateLimitError(
            "Too many requests (429).",
            retry_after=parse_retry_after(answer.retry_after),
            maybe_received=False,
            **about,
        )
    if status >= 500 or status == 408:
        return TelzinoUnavailableError(
            f"The API answered with an error of its own ({status}).{_maybe_placed(request)}",
            retry_after=parse_retry_after(answer.retry_after),
            **about,
        )
    if 300 <= status < 400:
        return TelzinoConfigurationError(
            f"The answer is a redirect ({status}), which is never followed, since it would take the token "
            "elsewhere. Check the Host of the connection.",
            **about,
        )
    return TelzinoBadRequestError(
        f"The API refused the request ({status}): {_api_message(settings, request, answer)}", **about
    )


def _api_message(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> str:
    """Find the API's own words in an error answer, without what we sent and without phone numbers."""
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        content = None
    message = _first_text(content)
    if message is None:
        return "it gave no reason."
    message = _readable(message[:MAX_RAW_MESSAGE_CHARACTERS])
    message = message.replace(settings.secret, _HIDDEN)
    message = re.sub(_BEARER, _HIDDEN, message)
    message = re.sub(_LONG_NUMBER, _HIDDEN, message)
    sent = set(_words(request.json)) - _HARMLESS
    message = re.sub(
        _WORD, lambda word: _HIDDEN if word.group().casefold() in sent else word.group(), message
    )
    message = re.sub(_SEVERAL_HIDDEN, _HIDDEN, re.sub(_SEVERAL_SPACES, " ", message))
    return message.strip()[:MAX_API_MESSAGE_CHARACTERS]


def _first_text(content: object, depth: int = 5) -> str | None:
    """Take the first text at one of the usual places: the shape of error answers isn't documented."""
    if isinstance(content, str):
        return content or None
    if depth == 0:
        return None
    if isinstance(content, list):
        found = [text for text in (_first_text(each, depth - 1) for each in content[:5]) if text]
        return "; ".join(found) or None
    if isinstance(content, dict):
        for key in ("message", "detail", "error_description", "error", "errors", "msg", "title"):
            if text := _first_text(content.get(key), depth - 1):
                return text
    return None


def _readable(message: str) -> str:
    """Undo what may hide a word that we sent: URL encoding and JSON's escapes."""
    return re.sub(_ESCAPE, lambda escape: chr(int(escape.group(1), 16)), unquote_plus(message))


def _words(sent: object) -> Iterator[str]:
    """Go through all words of the values that we sent, and of the keys that the user chose."""
    if isinstance(sent, Mapping):
        for key, value in sent.items():
            yield from _words(str(key))
            yield from _words(value)
    elif isinstance(sent, (list, tuple)):
        for value in sent:
            yield from _words(value)
    elif sent is not None:
        yield from (word.casefold() for word in re.findall(_WORD, str(sent)))
