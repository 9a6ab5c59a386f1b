"""Tokens: fetched for client credentials, or pasted."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, Sandbox

CREDENTIALS = {
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
    "audience": "https://api.telzino.com/",
    "grant_type": "client_credentials",
}


def fetched(api: requests.Session) -> str:
    """Return a new token."""
    return str(api.post("/oauth/token", json=CREDENTIALS).json()["access_token"])


def status_with(api: requests.Session, token: str) -> int:
    """Return the status of a request with this token."""
    return api.get("/v1/agents", headers={"Authorization": f"Bearer {token}"}).status_code


def test_fetch_a_token(api: requests.Session) -> None:
    """Client credentials yield a valid token, a different one each time."""
    answer = api.post("/oauth/token", json=CREDENTIALS)

    assert answer.status_code == 200
    token = answer.json()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 86_400)
    assert status_with(api, token["access_token"]) == 200
    assert fetched(api) != token["access_token"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"client_secret": "wrong"}, 401),
        ({"client_id": "wrong"}, 401),
        ({"client_secret": "sandbox-sécret"}, 401),
        ({"grant_type": "password"}, 400),
        ({"grant_type": None}, 400),
        ({"client_id": 5}, 400),
    ],
)
def test_bad_credentials(api: requests.Session, change: dict[str, Any], status: int) -> None:
    """Wrong credentials are a 401, a bad request is a 400."""
    answer = api.post("/oauth/token", json={**CREDENTIALS, **change})

    assert answer.status_code == status
    assert set(answer.json()) == {"error", "message"}


@pytest.mark.parametrize("missing", [*CREDENTIALS])
def test_missing_fields(api: requests.Session, missing: str) -> None:
    """Every documented field is required."""
    body = {name: value for name, value in CREDENTIALS.items() if name != missing}

    assert api.post("/oauth/token", json=body).status_code == 400


def test_credentials_go_as_json(api: requests.Session) -> None:
    """A form is a 400: the documentation requires JSON."""
    assert api.post("/oauth/token", data=CREDENTIALS).status_code == 400


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Basic {ACCESS_TOKEN}", ACCESS_TOKEN, f"Bearer {ACCESS_TOKEN}x"]
)
def test_bad_tokens(api: requests.Session, header: str) -> None:
    """Without a valid token, every request is a 401."""
    answer = api.get("/v1/agents", headers={"Authorization": header})

    assert answer.status_code == 401
    assert answer.json()["error"] == "unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_expires(sandbox: Sandbox, api: requests.Session) -> None:
    """A fetched token lives one day on the sandbox's clock; the one for pasting doesn't expire."""
    token = fetched(api)

    sandbox.clock.advance(86_399)
    before = status_with(api, token)
    sandbox.clock.advance(1)

    assert (before, status_with(api, token), status_with(api, ACCESS_TOKEN)) == (200, 401, 200)


def test_revoke_tokens(sandbox: Sandbox, api: requests.Session) -> None:
    """All tokens can be revoked; a new one works. The sandbox still lists the old ones."""
    token = fetched(api)

    sandbox.revoke_tokens()

    assert sandbox.tokens == [ACCESS_TOKEN, token]

    assert (status_with(api, token), status_with(api, ACCESS_TOKEN), status_with(api, fetched(api))) == (
        401,
        401,
        200,
    )


def test_own_credentials() -> None:
    """Credentials and lifetime can be chosen."""
    with Sandbox(client_id="a", client_secret="b", access_token="c", token_lifetime=60) as sandbox:
        body = {**CREDENTIALS, "client_id": "a", "client_secret": "b"}

        token = requests.post(f"{sandbox.url}/oauth/token", json=body, timeout=10).json()
        pasted = requests.get(f"{sandbox.url}/v1/agents", headers={"Authorization": "Bearer c"}, timeout=10)

        assert token["expires_in"] == 60
        assert pasted.status_code == 200
