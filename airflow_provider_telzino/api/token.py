"""The access token: how it is requested, read, and cached until shortly before it expires."""

from __future__ import annotations

import math
import re
import time

from airflow_provider_telzino.api import errors
from airflow_provider_telzino.api.answers import read_answer
from airflow_provider_telzino.api.messages import ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import AUDIENCE, CLIENT_ID, Settings
from airflow_provider_telzino.exceptions import TelzinoCredentialsError

TOKEN_MARGIN = 60.0  # seconds before its expiry at which a token counts as expired


def token_request(settings: Settings) -> ApiRequest:
    """``POST /oauth/token``: client credentials for an access token."""
    body = {
        "client_id": settings.client_id,
        "client_secret": settings.secret,
        "audience": settings.audience,
        "grant_type": "client_credentials",
    }
    return ApiRequest("POST", "/oauth/token", json=body, authorized=False)


def read_token(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> tuple[str, float]:
    """Read a token and its lifetime in seconds: infinite, so until a 401, if the answer doesn't say."""
    if answer.status in (400, 401, 403):
        raise TelzinoCredentialsError(
            f"The API refused the client credentials ({answer.status}). Check the connection's {CLIENT_ID}, "
            f"client secret (`password`) and {AUDIENCE} against the Telzino dashboard.",
            conn_id=settings.conn_id,
        )
    content = read_answer(settings, request, answer)
    token, expires_in = content.get("access_token"), content.get("expires_in")
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise errors.unreadable(settings, request, "The token answer has no `access_token`.")
    if isinstance(expires_in, (int, float)) and not isinstance(expires_in, bool) and expires_in > 0:
        return token, float(expires_in)
    return token, math.inf


class TokenCache:
    """The access token that a hook fetched, until shortly before it expires.

    It has no lock: its hook lets one thread or coroutine at a time use it.
    """

    def __init__(self) -> None:
        self._token: str | None = None
        self._expires_at = 0.0

    def usable(self, refused: str | None) -> str | None:
        """Return the token, unless it is about to expire or is the one that the API has just refused."""
        good = self._token != refused and time.monotonic() < self._expires_at
        return self._token if good else None

    def keep(self, token: str, lifetime: float) -> None:
        """Keep a token that expires in ``lifetime`` seconds."""
        self._token = token
        self._expires_at = time.monotonic() + lifetime - min(TOKEN_MARGIN, lifetime / 10)
