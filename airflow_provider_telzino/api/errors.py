"""Errors for requests that the API refused or didn't answer properly: what happened, and what to do."""

from __future__ import annotations

from typing import Any

from airflow_provider_telzino.api.messages import MAX_BODY_BYTES, ApiAnswer, ApiRequest
from airflow_provider_telzino.api.reasons import reason
from airflow_provider_telzino.api.retry import parse_retry_after
from airflow_provider_telzino.api.settings import AUDIENCE, BASE_URL, CA_BUNDLE, Settings
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


def no_answer(
    settings: Settings,
    request: ApiRequest,
    what: str,
    *,
    maybe_received: bool = True,
    untrusted: bool = False,
) -> TelzinoError:
    """Build the error for a request that got no whole answer.

    Args:
        settings: The connection.
        request: What was sent.
        what: What happened and what to check, as sentences.
        maybe_received: Whether the API may have received the request. ``False`` only if that is certain.
        untrusted: Whether the server's TLS certificate could not be verified: no retry can help then.
    """
    about: dict[str, Any] = {"conn_id": settings.conn_id, "call_id": request.call_id}
    if untrusted:
        return TelzinoConfigurationError(
            f"The TLS certificate of {settings.address} can't be verified. Behind a proxy that re-signs TLS, "
            f"set the connection's {CA_BUNDLE}; otherwise check its {BASE_URL}.",
            **about,
        )
    hint = _maybe_placed(request) if maybe_received else ""
    return TelzinoUnavailableError(f"{what}{hint}", maybe_received=maybe_received, **about)


def no_token(settings: Settings) -> TelzinoError:
    """Build the error for a request that waited too long while another one fetched the access token."""
    return TelzinoUnavailableError(
        f"No access token could be fetched from {settings.address} in time.",
        maybe_received=False,
        conn_id=settings.conn_id,
    )


def _maybe_placed(request: ApiRequest) -> str:
    if request.idempotent:
        return ""
    return " The call may have been placed all the same: search for it before you place it again."


def too_large(settings: Settings, request: ApiRequest) -> TelzinoError:
    """Build the error for a body of over ``MAX_BODY_BYTES``."""
    return unreadable(settings, request, f"The answer is larger than {MAX_BODY_BYTES // 1024**2} MB.")


def unreadable(settings: Settings, request: ApiRequest, message: str) -> TelzinoUnreadableAnswerError:
    """Build the error for an answer that isn't what the API documents."""
    return TelzinoUnreadableAnswerError(
        f"{message} Check that the connection's {BASE_URL} is Telzino's.{_maybe_placed(request)}",
        conn_id=settings.conn_id,
        call_id=request.call_id,
    )


def refused(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> TelzinoError:
    """Build the error for an answer whose status code is not 2xx."""
    about: dict[str, Any] = {"conn_id": settings.conn_id, "call_id": request.call_id}
    status = answer.status
    if status == 401:
        fix = (
            "A pasted token expires after a day: enter a new one (`password`), or a client ID (`login`) and "
            "its secret (`password`)."
        )
        if settings.client_id:
            fix = f"It was only just fetched, so check the connection's {AUDIENCE}."
        return TelzinoCredentialsError(f"The API refused the access token (401). {fix}", **about)
    if status == 403:
        return TelzinoPermissionError(
            "The credentials do not permit this (403). Check in Telzino that they may use the agent.", **about
        )
    if status == 404 and not request.authorized:
        return TelzinoNotFoundError(
            f"There is no token endpoint (404). Check that the connection's {BASE_URL} is Telzino's.", **about
        )
    if status == 404:
        what, where = ("call", "`agent_id` and `call_id`") if request.call_id else ("agent", "`agent_id`")
        return TelzinoNotFoundError(
            f"The API has no such {what} (404). Check {where}, and the connection's {BASE_URL}.", **about
        )
    if status == 429:
        return TelzinoRateLimitError(
            "Too many requests (429).",
            retry_after=parse_retry_after(answer.retry_after, answer.date),
            maybe_received=False,
            **about,
        )
    if status >= 500 or status == 408:
        return TelzinoUnavailableError(
            f"The API answered with a server error ({status}).{_maybe_placed(request)}",
            retry_after=parse_retry_after(answer.retry_after, answer.date),
            **about,
        )
    if 300 <= status < 400:
        return TelzinoConfigurationError(
            f"The answer is a redirect ({status}), which is never followed, since it would take the token "
            f"elsewhere. Check the connection's {BASE_URL}.",
            **about,
        )
    return TelzinoBadRequestError(
        f"The API refused the request ({status}){reason(settings, request, answer)}. Check the arguments. "
        "The API's own message is not shown, since it may contain personal data.",
        **about,
    )
