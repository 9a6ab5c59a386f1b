"""An Airflow connection of type ``telzino``, checked and with its defaults filled in."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_telzino.exceptions import TelzinoConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

DEFAULT_BASE_URL = "https://api.telzino.com"
DEFAULT_AUDIENCE = "https://api.telzino.com/"
MAX_PORT = 65_535
DEFAULT_TIMEOUT = 30.0  # seconds for one request
MAX_TIMEOUT = 50.0
"""Seconds; Airflow cuts a connection test off at 60 s, and a deferral soon after its deadline."""

CALL_ID = "{call_id}"  # the placeholder in `call_url`

# Errors name a field by its label in the connection form, and by its key in a connection's JSON.
BASE_URL = "Base URL (`host`)"
CLIENT_ID = "Client ID (`login`)"
CREDENTIAL = "Client secret or access token (`password`)"
AUDIENCE = "OAuth audience (extra `audience`)"
TIMEOUT = "Request timeout (extra `timeout`)"
CA_BUNDLE = "CA bundle (extra `ca_bundle`)"
CALL_URL = "Call URL (extra `call_url`)"

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Settings:
    """What the hooks need to know about a connection."""

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
    """The path of a CA bundle, which the hooks check when they open a session."""
    call_url: str | None = None
    """Where a person can look at a call, with ``{call_id}`` in place of its id."""

    @property
    def address(self) -> str:
        """Host and port of the API, for error messages."""
        url = urlsplit(self.base_url)
        usual_port = "443" if url.scheme == "https" else "80"
        return url.netloc if url.port else f"{url.netloc.rstrip(':')}:{usual_port}"

    @classmethod
    def from_connection(cls, connection: Connection, conn_id: str) -> Settings:
        """Check a connection.

        Raises:
            TelzinoConfigurationError: A field is missing or wrong; the message names the field and the fix.
        """
        check = _FieldChecks(conn_id)
        extra = check.json_object(connection.extra)
        client_id = check.text(CLIENT_ID, connection.login)
        return cls(
            conn_id=conn_id,
            base_url=check.base_url(check.text(BASE_URL, connection.host), check.port(connection.port)),
            client_id=client_id,
            secret=check.secret(check.text(CREDENTIAL, connection.password), client_id),
            agent_id=check.text("Agent ID (extra `agent_id`)", extra.get("agent_id")),
            audience=check.text(AUDIENCE, extra.get("audience")) or DEFAULT_AUDIENCE,
            timeout=check.timeout(extra.get("timeout")),
            ca_bundle=check.text(CA_BUNDLE, extra.get("ca_bundle")),
            call_url=check.call_url(check.text(CALL_URL, extra.get("call_url"))),
        )


class _FieldChecks:
    """One method for each kind of field. No message holds a value: a secret may be in the wrong field."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id

    def error(self, message: str) -> TelzinoConfigurationError:
        return TelzinoConfigurationError(message, conn_id=self.conn_id)

    def text(self, field: str, value: object) -> str | None:
        if value is not None and not isinstance(value, str):
            raise self.error(f"{field} should be text, but is of type {type(value).__name__}.")
        return (value or "").strip() or None

    def json_object(self, value: object) -> dict[str, Any]:
        text = self.text("Extra", value)
        if text is None:
            return {}
        try:
            extra = json.loads(text)
        except ValueError:
            extra = None
        if not isinstance(extra, dict):
            raise self.error('Extra is not a JSON object. It should look like {"agent_id": "..."}.')
        return extra

    def port(self, value: object) -> int | None:
        """Check a port. Some secrets backends give text, and Airflow's web interface gives 0 for none."""
        if value is None or value in ("", 0):
            return None
        try:
            port = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else -1
        except ValueError:
            port = -1
        if not 0 < port <= MAX_PORT:
            raise self.error(
                f"Port should be a number from 1 to {MAX_PORT:,}; leave it empty for the usual one."
            )
        return port

    def base_url(self, host: str | None, port: int | None) -> str:
        if host is None:
            return DEFAULT_BASE_URL
        try:
            url = urlsplit(host if "://" in host else f"https://{host}")
            name, own_port = url.hostname or "", url.port
        except ValueError:
            raise self.error(f"{BASE_URL} is not a URL; leave it empty for Telzino's own.") from None
        usable = is_host_name(name) and own_port != 0 and url.scheme in ("https", "http")
        if not usable or re.search(r"[\s\\]", host):
            raise self.error(f"{BASE_URL} should be a URL with https://; leave it empty for Telzino's own.")
        if url.username is not None or url.password is not None or url.query or url.fragment:
            raise self.error(
                f"{BASE_URL} should be an address only: credentials belong in {CLIENT_ID} and {CREDENTIAL}."
            )
        if url.scheme == "http" and not is_loopback(name):
            raise self.error(
                f"{BASE_URL} begins with http://, which would send the token in the clear. Use https:// "
                "(http:// is only for a sandbox on this machine)."
            )
        netloc = url.netloc if own_port or not port else f"{url.netloc.rstrip(':')}:{port}"
        return f"{url.scheme}://{netloc.lower()}{url.path.rstrip('/')}"

    def secret(self, secret: str | None, client_id: str | None) -> str:
        if client_id and secret is None:
            raise self.error(f"{CLIENT_ID} is set, but {CREDENTIAL} is empty: enter the client secret.")
        if secret is None:
            raise self.error(
                "There are no credentials. Enter an OAuth client ID (`login`) and its client secret "
                "(`password`), or only an access token (`password`)."
            )
        if not client_id and not _VISIBLE_ASCII.fullmatch(secret):
            problem = "spaces or line breaks" if re.search(r"\s", secret) else "characters that no token has"
            raise self.error(
                f"{CREDENTIAL} does not look like an access token: it contains {problem}. Enter the token "
                f"alone, without 'Bearer'. If it is a client secret, also enter its {CLIENT_ID}."
            )
        return secret

    def call_url(self, template: str | None) -> str | None:
        if template is None:
            return None
        is_web_address = template.startswith(("https://", "http://")) and not re.search(r"\s", template)
        if not is_web_address or CALL_ID not in template:
            raise self.error(
                f"{CALL_URL} should be a URL with {CALL_ID} in it, such as "
                f"https://calls.example.com/{CALL_ID}."
            )
        return template

    def timeout(self, value: object) -> float:
        if value is None or value == "":
            return DEFAULT_TIMEOUT
        try:
            seconds = float(value) if isinstance(value, (int, float, str)) else math.nan
        except (ValueError, OverflowError):
            seconds = math.nan
        if isinstance(value, bool) or not 0 < seconds <= MAX_TIMEOUT:
            raise self.error(f"{TIMEOUT} should be in seconds: more than 0, and at most {MAX_TIMEOUT:g}.")
        return seconds


def is_host_name(name: str) -> bool:
    """Whether this can be a host's name or address, in the letters that certificates use."""
    if not name or not name.isascii():  # HTTP clients disagree about other letters
        return False
    try:
        return bool(name.encode("idna"))
    except UnicodeError:  # a part is too long, or missing
        return False


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
