"""Errors for refused requests: their class, what they say, and what they never say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.api import answers
from airflow_provider_telzino.api.messages import ApiAnswer, ApiRequest
from airflow_provider_telzino.exceptions import TelzinoBadRequestError, TelzinoError
from tests.conftest import CALL_ID
from tests.support.api_values import GET_CALL, LIST_CALLS, NUMBER, SETTINGS, answer, place

CONTEXT = "You are calling John Miller about his appointment."
METADATA = {"name": "Miller-Smith", "codes": ["Jo12", "Bob"], "ssn": 123456, "crm_id": "x"}
PLACE = place(call_context=CONTEXT, metadata=METADATA)
PRIVATE = ("813", "1234", "miller", "jo12", "john", "bob", "crm", "s3cret")


def refusal(content: object, request: ApiRequest = PLACE, status: int = 400) -> str:
    """Return the text of the error for an answer."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(TelzinoBadRequestError) as caught:
        answers.read_answer(SETTINGS, request, ApiAnswer(status, body))
    return str(caught.value)


@pytest.mark.parametrize(
    ("status", "error", "transient"),
    [
        (301, exceptions.TelzinoConfigurationError, False),
        (302, exceptions.TelzinoConfigurationError, False),
        (400, exceptions.TelzinoBadRequestError, False),
        (401, exceptions.TelzinoCredentialsError, False),
        (403, exceptions.TelzinoPermissionError, False),
        (404, exceptions.TelzinoNotFoundError, False),
        (408, exceptions.TelzinoUnavailableError, True),
        (409, exceptions.TelzinoBadRequestError, False),
        (422, exceptions.TelzinoBadRequestError, False),
        (429, exceptions.TelzinoRateLimitError, True),
        (500, exceptions.TelzinoUnavailableError, True),
        (503, exceptions.TelzinoUnavailableError, True),
        (599, exceptions.TelzinoUnavailableError, True),
    ],
)
def test_each_status_code_has_its_error(status: int, error: type[TelzinoError], transient: bool) -> None:
    """The class says what to do; the text names connection and call."""
    with pytest.raises(TelzinoError) as caught:
        answers.read_record(SETTINGS, GET_CALL, answer(status, {}))

    assert type(caught.value) is error
    assert caught.value.transient is transient
    assert str(status) in str(caught.value)
    assert "connection telzino_test" in str(caught.value)
    assert f"call {CALL_ID}" in str(caught.value)


@pytest.mark.parametrize(("status", "maybe"), [(429, False), (500, True), (503, True), (200, True)])
def test_the_error_of_a_post_says_if_the_call_may_exist(status: int, maybe: bool) -> None:
    """Only after a 429 it is certain that nobody was dialled."""
    with pytest.raises(exceptions.TelzinoTransientError) as caught:
        answers.read_record(SETTINGS, place(), answer(status, "nonsense"))

    assert caught.value.maybe_received is maybe
    assert ("may have been placed" in str(caught.value)) is maybe


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "17"}, 17),
        # The server's clock, which is years from ours.
        ({"retry_after": "Thu, 11 Jun 2020 12:00:30 GMT", "date": "Thu, 11 Jun 2020 12:00:00 GMT"}, 30),
    ],
)
def test_retry_after_is_part_of_the_error(status: int, headers: dict[str, str], seconds: float) -> None:
    """The retry rules read it there."""
    with pytest.raises(exceptions.TelzinoTransientError) as caught:
        answers.read_record(SETTINGS, GET_CALL, answer(status, {}, **headers))

    assert caught.value.retry_after == seconds


class TestWhatARefusalShows:
    """The allow-list: documented fields and a plain error code."""

    @pytest.mark.parametrize(
        ("content", "shown"),
        [
            (
                {"error": {"code": "invalid_number", "message": "to_number"}},
                "`to_number` (code invalid_number).",
            ),
            ({"message": "callback_url must be public; metadata is fine"}, "`metadata` and `callback_url`."),
            ({"errors": {"toNumber": ["is not E.164"]}}, "it mentions `to_number`."),
            ({"detail": [{"loc": ["call_context"], "type": "too_long"}]}, "`call_context` (code too_long)."),
            ({"message": "1 error:\nto_number\n  is wrong"}, "it mentions `to_number`."),
            ({"error": "agent-disabled"}, "(400); its error code is agent-disabled."),
            ({"error": {"code": 3, "type": "number_not_callable"}}, "its error code is number_not_callable."),
            ({"errors": [{"code": "too_many_digits"}, {"code": "no_plus"}]}, "code is too_many_digits."),
            ("agent_not_found", "its error code is agent_not_found."),
            (b"<html>to_number is wrong</html>", "it mentions `to_number`."),
        ],
    )
    def test_fields_and_code(self, content: object, shown: str) -> None:
        """The shape of error answers isn't documented: the usual ones are understood."""
        assert shown in refusal(content)

    def test_the_filter_of_a_list(self) -> None:
        """A request's parameters are documented fields, too."""
        content = {"message": "limit must be at most 50; status is unknown"}

        assert "it mentions `limit`." in refusal(content, LIST_CALLS)
        assert "`limit`" not in refusal(content, GET_CALL)

    @pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'""', b"\xff", b"[" * 900 + b"]" * 900])
    def test_nothing_to_show(self, body: bytes) -> None:
        """The status code and what to do are always there."""
        assert "refused the request (400). Check the arguments." in refusal(body)


class TestWhatARefusalNeverShows:
    """Whatever the API repeats of what it was sent."""

    @pytest.mark.parametrize(
        "message",
        [
            f"'{NUMBER}' is not callable",
            "the number 1813-555-1234 is blocked",
            "call_context 'You are calling John Miller about' is refused",
            "CALL_CONTEXT 'ABOUT HIS APPOINTMENT, JOHN MILLER' IS REFUSED",
            "context You%20are%20calling%20John%20Miller is refused",
            "context calling J\\u006fhn Mi\\u006cler is refused",
            "metadata.name: Miller-Smith is not allowed",
            "bad token Bearer s3cret-of-the-client",
            "John",
            "x" * 990 + " John Miller",
        ],
    )
    @pytest.mark.parametrize("place_of_it", ["message", "detail", "error", "code", "errors"])
    def test_words_that_we_sent(self, message: str, place_of_it: str) -> None:
        """They may be personal data, or a secret."""
        text = refusal({place_of_it: message}).lower()

        assert not [private for private in PRIVATE if private in text]

    def test_half_a_word_of_a_long_message(self) -> None:
        """Wherever a message is cut."""
        for padding in range(980, 1001):
            assert "mil" not in refusal({"message": "x" * padding + " Miller"}).lower()

    @pytest.mark.parametrize(
        "code",
        [
            "john_miller",
            "miller_john",
            "miller_smith",
            "unknown_miller",
            "johnmiller-not-allowed",
            "invalid_bob",
            "crm_id",
            "invalid_crm_id",
            "bob",
            "jo12_invalid",
            "s3cret-of-the-client",
            "n18135551234_invalid",
            "Invalid_John",
            "zebedee_quillfeather",  # which we didn't send, but which may be the person's name
            "invalid_" + "x" * 40,
            "invalid number",
            "invalid_number\n",
            "invalid_\ud800",
        ],
    )
    def test_a_code_that_may_be_something_else(self, code: str) -> None:
        """A code is shown only if it can be nothing that we sent."""
        text = refusal({"error": {"code": code}})

        assert "code" not in text

    def test_a_code_that_may_be_the_secret(self) -> None:
        """A client secret may look like a code."""
        settings = replace(SETTINGS, secret="wrong-pass")

        with pytest.raises(TelzinoBadRequestError) as caught:
            answers.read_answer(settings, PLACE, answer(400, {"error": "wrong-pass"}))

        assert "wrong-pass" not in str(caught.value)

    @pytest.mark.parametrize("text", ["😀", "\ud83d", "{'a': '\\ud83d'}", "\x00"])
    def test_every_log_can_write_it(self, text: str) -> None:
        """JSON with an emoji or a lone surrogate used to end the task's process before it could log that."""
        refused = refusal({"message": f"to_number {text}", "code": f"invalid_{text}"})

        assert "`to_number`" in refused
        assert refused.encode()

    def test_a_huge_answer(self) -> None:
        """An error page of any size becomes one short line, in little time: only its beginning is read."""
        text = refusal({"errors": ["call John word " * 5_000] * 50, "field": "to_number"})

        assert len(text) < 500
        assert "to_number" not in text


def test_an_error_is_not_chained_to_what_was_sent() -> None:
    """A log prints the whole chain."""
    with pytest.raises(TelzinoError) as caught:
        answers.read_record(SETTINGS, PLACE, ApiAnswer(200, b'{"John Miller'))

    error: Any = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__
