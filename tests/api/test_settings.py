"""A connection is checked before anything is sent, and its errors hold no value of any field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_telzino.api.settings import Settings
from airflow_provider_telzino.exceptions import TelzinoConfigurationError

TOKEN = "eyJhbGciOi.J9.abc-DEF_123"


def settings(extra: object = None, **fields: Any) -> Settings:
    """Read the settings of a connection with these fields."""
    fields = {"conn_type": "telzino", "password": TOKEN} | fields
    if extra is not None:
        fields["extra"] = extra if isinstance(extra, str) else json.dumps(extra)
    return Settings.from_connection(Connection(conn_id="c", **fields), "c")


def test_a_token_alone_is_enough() -> None:
    """Every other field has a default."""
    assert settings() == Settings(
        conn_id="c",
        base_url="https://api.telzino.com",
        client_id=None,
        secret=TOKEN,
        agent_id=None,
        audience="https://api.telzino.com/",
        timeout=30.0,
        ca_bundle=None,
    )


def test_all_fields() -> None:
    """Each field of the form arrives, without the blanks that a paste brings along."""
    extra = {"agent_id": " a ", "audience": "https://x/", "timeout": "12.5", "ca_bundle": " /etc/ca.pem "}

    read = settings(extra, host=" https://proxy.example/telzino/ ", login=" id ", password=" secret\n")

    assert read.base_url == "https://proxy.example/telzino"
    assert (read.client_id, read.secret) == ("id", "secret")
    assert (read.agent_id, read.audience, read.timeout) == ("a", "https://x/", 12.5)
    assert read.ca_bundle == "/etc/ca.pem"


@pytest.mark.parametrize(
    ("host", "port", "base_url"),
    [
        (None, None, "https://api.telzino.com"),
        ("", 443, "https://api.telzino.com"),
        ("api.example", None, "https://api.example"),
        ("api.example", 8443, "https://api.example:8443"),
        ("api.example", "8443", "https://api.example:8443"),
        ("api.example", 0, "https://api.example"),
        ("api.example", "", "https://api.example"),
        ("https://api.example:1", 2, "https://api.example:1"),
        ("http://127.0.0.1:8765", None, "http://127.0.0.1:8765"),
        ("http://127.0.0.1", 8765, "http://127.0.0.1:8765"),
        ("http://localhost:8765/", None, "http://localhost:8765"),
        ("http://[::1]:8765", None, "http://[::1]:8765"),
        ("HTTPS://API.example/Path", None, "https://api.example/Path"),
    ],
)
def test_hosts(host: str | None, port: int | str | None, base_url: str) -> None:
    """Empty means Telzino's own; https:// is assumed; http:// only goes to this machine."""
    assert settings(host=host, port=port).base_url == base_url


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("http://api.telzino.com", "in the clear"),
        ("http://10.0.0.1", "in the clear"),
        ("http://localhost.evil.example", "in the clear"),
        ("http://127.0.0.1.evil.example", "in the clear"),
        ("http://127.0.0.1@evil.example", "credentials belong"),
        ("ftp://api.example", "URL with https://"),
        ("https://", "URL with https://"),
        ("https://user:hunter2@api.example", "credentials belong"),
        ("https://api.example?token=hunter2", "credentials belong"),
        ("https://api.example#x", "credentials belong"),
        ("https://api example", "URL with https://"),
        ("https://api.example\\@evil.example", "URL with https://"),
        ("https://[::1", "not a URL"),
        ("https://api.example:port", "not a URL"),
        ("https://straße.example", "URL with https://"),
        ("https://api..example", "URL with https://"),
    ],
)
def test_bad_hosts(host: str, words: str) -> None:
    """A host that would lead the token astray is refused, and not repeated."""
    with pytest.raises(TelzinoConfigurationError, match=words) as caught:
        settings(host=host)
    assert "Base URL (`host`)" in str(caught.value)
    assert "[connection c]" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"host": "api.example", "port": 99_999}, "Port should be a number from 1 to 65,535"),
        ({"host": "api.example", "port": -1}, "Port should be a number from 1 to 65,535"),
        ({"host": "api.example", "port": "hunter2"}, "Port should be a number from 1 to 65,535"),
        ({"host": "api.example", "port": 8443.5}, "Port should be a number from 1 to 65,535"),
        ({"host": "api.example", "port": True}, "Port should be a number from 1 to 65,535"),
        ({"host": 5}, r"Base URL \(`host`\) should be text, but is of type int"),
        ({"login": 5}, r"Client ID \(`login`\) should be text, but is of type int"),
        ({"host": "https://api.example:0", "port": 443}, r"Base URL \(`host`\) should be a URL"),
        ({"password": None}, "no credentials"),
        ({"password": "  "}, "no credentials"),
        ({"login": "id", "password": None}, r"access token \(`password`\) is empty"),
        ({"password": f"Bearer {TOKEN}"}, "without 'Bearer'"),
        ({"password": "hunter2\nhunter3"}, "does not look like an access token: it contains spaces"),
        ({"password": "pässwort"}, "does not look like an access token: it contains characters"),
    ],
)
def test_bad_fields(fields: dict[str, Any], words: str) -> None:
    """Missing, incomplete and mangled fields each say what to do, without showing their values."""
    with pytest.raises(TelzinoConfigurationError, match=words) as caught:
        settings(**fields)
    for secret in (TOKEN, "hunter2", "pässwort"):
        assert secret not in str(caught.value)


def test_a_client_secret_may_hold_anything() -> None:
    """A client secret travels as JSON, so no character in it is wrong."""
    assert settings(login="id", password="söme sécret").secret == "söme sécret"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("{", "not a JSON object"),
        ("[]", "not a JSON object"),
        ({"agent_id": 5}, r"`agent_id`\) should be text"),
        ({"timeout": "soon"}, r"`timeout`\) should be in seconds"),
        ({"timeout": 0}, r"`timeout`\) should be in seconds"),
        ({"timeout": -1}, r"`timeout`\) should be in seconds"),
        ({"timeout": 51}, r"`timeout`\) should be in seconds"),
        ('{"timeout": NaN}', r"`timeout`\) should be in seconds"),
        ({"timeout": True}, r"`timeout`\) should be in seconds"),
        ({"timeout": []}, r"`timeout`\) should be in seconds"),
        ({"timeout": 10**400}, r"`timeout`\) should be in seconds"),
        ({"ca_bundle": ["a.pem"]}, r"`ca_bundle`\) should be text"),
        ({"call_url": "https://x/"}, r"`call_url`\) should be a URL with {call_id} in it"),
        ({"call_url": "javascript:alert('{call_id}')"}, r"`call_url`\) should be a URL"),
        ({"call_url": "https://x/ {call_id}"}, r"`call_url`\) should be a URL"),
    ],
)
def test_bad_extras(extra: object, words: str) -> None:
    """Each extra field is checked by name."""
    with pytest.raises(TelzinoConfigurationError, match=words):
        settings(extra)


@pytest.mark.parametrize("extra", ["", "  ", {"timeout": ""}, {"timeout": None, "agent_id": None}])
def test_empty_extras_mean_the_defaults(extra: object) -> None:
    """A form that was saved with empty fields is a form without them."""
    assert settings(extra) == settings()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, "api.telzino.com:443"),
        ("https://api.example:8443/path", "api.example:8443"),
        ("http://localhost", "localhost:80"),
        ("http://[::1]:8765", "[::1]:8765"),
        ("https://[2001:db8::1]", "[2001:db8::1]:443"),
    ],
)
def test_the_address_for_error_messages(host: str | None, address: str) -> None:
    """It always has a port, and never a path."""
    assert settings(host=host).address == address
