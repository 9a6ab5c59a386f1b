"""An Airflow connection of type ``telzino``, checked and with its defaults filled in."""

from __future__ import annotations

import ipaddress
import json
import math
import os
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_telzino.api.tls import ssl_context
from airflow_provider_telzino.exceptions import TelzinoConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

DEFAULT_BASE_URL = "https://api.telzino.com"
DEFAULT_AUDIENCE = "https://api.telzino.com/"
MAX_PORT = 65_535
DEFAULT_TIMEOUT = 30.0  # seconds for one request
MAX_TIMEOUT = (
    50.0  # seconds; Airflow cuts a connection test off at 60 s, and a deferral soon after its deadline
)

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Settings:
    """What the hooks need to know of a connection."""

    conn_id: str
    base_url: str
    """Scheme, host and perhaps a path, without a slash at the end."""
    client_id: str | None
    """OAuth client ID; ``None`` when ``secret`` is an access token."""
    secret: str = field(repr=False)
    """The client secret, or the access token itself."""
    agent_id: str | None
    audience: str
    timeout: float
    """Seconds for one request."""
    ca_bundle: str | None

    @classmethod
    def from_connection(cls, connection: Connection, conn_id: str) -> Settings:
        """Check a connection. That may read a CA bundle, which takes too long for an event loop.

        Raises:
            TelzinoConfigurationError: A field is missing or wrong; the message names the field and the fix.
        """
        check = _FieldChecks(conn_id)
        extra = check.extra_box(connection.extra)
        client_id = (connection.login or "").strip() or None
        base_url = check.base_url(connection.host, connection.port)
        return cls(
            conn_id=conn_id,
            base_url=base_url,
            client_id=client_id,
            secret=check.secret(connection.password, client_id),
            agent_id=check.text(extra, "agent_id"),
            audience=check.text(extra, "audience") or DEFAULT_AUDIENCE,
            timeout=check.timeout(extra.get("timeout")),
            ca_bundle=check.ca_bundle(check.text(extra, "ca_bundle"), base_url),
        )


class _FieldChecks:
    """One method a field. No message holds a field's value, since a secret may stand in the wrong one."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id

    def error(self, message: str) -> TelzinoConfigurationError:
        return TelzinoConfigurationError(message, conn_id=self.conn_id)

    def extra_box(self, raw: str | None) -> dict[str, Any]:
        if not raw or not raw.strip():
            return {}
        try:
            extra = json.loads(raw)
        except ValueError:
            extra = None
        if not isinstance(extra, dict):
            raise self.error('Extra is not a JSON object. It should look like {"agent_id": "..."}.')
        return extra

    def text(self, extra: dict[str, Any], name: str) -> str | None:
        value = extra.get(name)
        if value is not None and not isinstance(value, str):
            raise self.error(f"Extra `{name}` should be text, but is of type {type(value).__name__}.")
        return (value or "").strip() or None

    def base_url(self, host: str | None, port: int | None) -> str:
        host = (host or "").strip()
        if not host:
            return DEFAULT_BASE_URL
        try:
            url = urlsplit(host if "://" in host else f"https://{host}")
            name, own_port = url.hostname or "", url.port
        except ValueError:
            raise self.error("Host is not a URL; leave it empty for Telzino's own.") from None
        usable = is_host_name(name) and own_port != 0 and url.scheme in ("https", "http")
        if not usable or re.search(r"[\s\\]", host):
            raise self.error("Host should be a URL with https://; leave it empty for Telzino's own.")
        if port and not own_port and not 0 < port <= MAX_PORT:
            raise self.error(f"Port should be from 1 to {MAX_PORT:,}; leave it empty for the usual one.")
        if url.username is not None or url.password is not None or url.query or url.fragment:
            raise self.error("Host should be an address only: credentials belong into Login and Password.")
        if url.scheme == "http" and not is_loopback(name):
            raise self.error(
                "Host begins with http://, which would send the token in the clear. Use https:// "
                "(http:// is for a sandbox on this machine only)."
            )
        netloc = url.netloc if own_port or not port else f"{url.netloc.rstrip(':')}:{port}"
        return f"{url.scheme}://{netloc.lower()}{url.path.rstrip('/')}"

    def secret(self, password: str | None, client_id: str | None) -> str:
        secret = (password or "").strip()
        if client_id and not secret:
            raise self.error("Login has a client ID, but Password is empty: enter the client secret there.")
        if not secret:
            raise self.error(
                "There are no credentials: enter an OAuth client ID as Login and its secret as Password, "
                "or only an access token as Password."
            )
        if not client_id and not _VISIBLE_ASCII.fullmatch(secret):
            raise self.error(
                "Password is no access token: it has blanks, line breaks or letters that a token never has. "
                "Enter the token alone, without 'Bearer'. For a client secret, enter the client ID as Login."
            )
        return secret

    def timeout(self, value: object) -> float:
        if value is None or value == "":
            return DEFAULT_TIMEOUT
        try:
            seconds = float(value) if isinstance(value, (int, float, str)) else math.nan
        except (ValueError, OverflowError):
            seconds = math.nan
        if isinstance(value, bool) or not 0 < seconds <= MAX_TIMEOUT:
            raise self.error(f"Extra `timeout` should be seconds, over 0 and at most {MAX_TIMEOUT:g}.")
        return seconds

    def ca_bundle(self, path: str | None, base_url: str) -> str | None:
        # Reading a bundle takes 50 ms, so the environment's isn't, where there is no TLS.
        if base_url.startswith("https://"):
            # These are what users of Python's HTTP clients know.
            path = path or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or None
        if path is None:
            return None
        where = "Extra `ca_bundle`, or else REQUESTS_CA_BUNDLE of the environment, names"
        try:
            ssl_context(path)
        except ssl.SSLError:
            raise self.error(f"{where} a file without CA certificates (PEM).") from None
        except OSError:
            raise self.error(f"{where} a file that can't be read on this machine.") from None
        return path


def is_host_name(name: str) -> bool:
    """Tell whether this can be a host's name or address, in the letters that certificates have."""
    if not name or not name.isascii():  # HTTP clients disagree about other letters
        return False
    try:
        return bool(name.encode("idna"))
    except UnicodeError:  # a part is too long, or missing
        return False


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
