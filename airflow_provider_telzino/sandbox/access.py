"""Authentication: OAuth client credentials, and the access tokens that were issued."""

from __future__ import annotations

import hmac
import secrets
import threading
from datetime import datetime, timedelta

from airflow_provider_telzino.sandbox.clock import Clock

CLIENT_ID = "sandbox"
CLIENT_SECRET = "sandbox-secret"  # noqa: S105 - public, and valid only in a sandbox
ACCESS_TOKEN = "sandbox-token"  # noqa: S105 - same


class Access:
    """Issues tokens and checks them, on the sandbox's clock.

    Args:
        clock: The sandbox's clock.
        client_id: The OAuth client ID.
        client_secret: Its secret.
        access_token: A token for pasting: it is valid from the start and doesn't expire.
        token_lifetime: Seconds after which a token that was issued for client credentials expires.
    """

    def __init__(
        self, clock: Clock, client_id: str, client_secret: str, access_token: str, token_lifetime: float
    ) -> None:
        self.token_lifetime = token_lifetime
        self._clock = clock
        self._credentials = (client_id.encode(), client_secret.encode())
        self.issued = [access_token]
        """Every token that was ever valid, oldest first."""
        self._expiry: dict[str, datetime | None] = {access_token: None}
        self._lock = threading.Lock()

    def new_token(self, client_id: str, client_secret: str) -> str | None:
        """Return a new token; ``None`` if the credentials are wrong."""
        given = (client_id.encode("utf-8", "replace"), client_secret.encode("utf-8", "replace"))
        right = [hmac.compare_digest(*pair) for pair in zip(given, self._credentials, strict=True)]
        if not all(right):
            return None
        token = "eyJ" + secrets.token_urlsafe(32)
        with self._lock:
            self.issued.append(token)
            self._expiry[token] = self._clock.now() + timedelta(seconds=self.token_lifetime)
        return token

    def allows(self, token: str) -> bool:
        """Whether the token is known and has not expired."""
        with self._lock:
            if token not in self._expiry:
                return False
            expiry = self._expiry[token]
            return expiry is None or self._clock.now() < expiry

    def revoke_all(self) -> None:
        """Make all tokens invalid, including the one for pasting."""
        with self._lock:
            self._expiry.clear()
