"""The access token: what its answer means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.api import answers
from airflow_provider_telzino.api.token import read_token, token_request
from tests.support.api_values import GET_CALL, SETTINGS, answer

REQUEST = token_request(SETTINGS)


@pytest.mark.parametrize(
    ("content", "token"),
    [
        ({"access_token": "t", "expires_in": 60}, ("t", 60)),
        ({"access_token": "t"}, ("t", float("inf"))),
        ({"access_token": "t", "expires_in": True}, ("t", float("inf"))),
        ({"access_token": "t", "expires_in": 10**400}, ("t", float("inf"))),
    ],
)
def test_a_token_has_a_lifetime(content: object, token: tuple[str, float]) -> None:
    """Without one in the answer, the token is used until a 401."""
    assert read_token(SETTINGS, REQUEST, answer(200, content)) == token


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refused_client_credentials(status: int) -> None:
    """With whatever code the token endpoint refuses them, the error names the fields, not their values."""
    with pytest.raises(exceptions.TelzinoCredentialsError, match=r"`login`.*`password`") as caught:
        read_token(SETTINGS, REQUEST, answer(status, {"error": SETTINGS.secret}))

    assert SETTINGS.secret not in str(caught.value)


def test_a_host_without_a_token_endpoint() -> None:
    """A 404 there means the wrong host, not an unknown agent."""
    with pytest.raises(exceptions.TelzinoNotFoundError, match="no token endpoint"):
        read_token(SETTINGS, REQUEST, answer(404, {}))


@pytest.mark.parametrize("token", [None, "", 5, "two words", "line\nbreak", "ümlaut", "\ud800"])
def test_a_token_that_cannot_be_a_header_is_refused(token: object) -> None:
    """Before it becomes one."""
    with pytest.raises(exceptions.TelzinoUnreadableAnswerError, match="access_token"):
        read_token(SETTINGS, REQUEST, answer(200, {"access_token": token}))


def test_a_401_says_what_to_do_with_each_kind_of_credentials() -> None:
    """A pasted token has probably expired; a fetched one may have the wrong audience."""
    for settings, words in [
        (replace(SETTINGS, client_id=None), "expires after a day"),
        (SETTINGS, "audience"),
    ]:
        with pytest.raises(exceptions.TelzinoCredentialsError, match=words):
            answers.read_answer(settings, GET_CALL, answer(401))


def test_secrets_are_not_in_the_repr_of_settings() -> None:
    """A debugger or a failing assertion doesn't show the secret."""
    assert SETTINGS.secret not in repr(SETTINGS)
