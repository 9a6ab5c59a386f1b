"""The API without I/O: what is sent, and what an answer means."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.api import answers, endpoints
from airflow_provider_telzino.api.messages import ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import Settings
from airflow_provider_telzino.api.token import MAX_TOKEN_LIFETIME, read_token, token_request
from airflow_provider_telzino.exceptions import TelzinoConfigurationError, TelzinoError
from tests.conftest import AGENT_ID, CALL_ID

SETTINGS = Settings(
    conn_id="telzino_test",
    base_url="https://api.telzino.com",
    client_id="client",
    secret="s3cret-of-the-client",
    agent_id=None,
    audience="https://api.telzino.com/",
    timeout=30,
    ca_bundle=None,
)
GET_CALL = endpoints.get_call_request(AGENT_ID, CALL_ID)
NUMBER = "+18135551234"


def place(**changes: Any) -> ApiRequest:
    """Build the request that places a call, with some arguments changed."""
    arguments = {"to_number": NUMBER, "call_context": None, "metadata": None, "callback_url": None}
    return endpoints.place_call_request(AGENT_ID, **(arguments | changes))


def answer(status: int = 200, content: object = None, **more: Any) -> ApiAnswer:
    """Build an answer with JSON in it."""
    return ApiAnswer(status, json.dumps(content).encode(), **more)


class TestRequests:
    """What is sent."""

    def test_get_call(self) -> None:
        """The path holds both ids, in the form that the API writes them."""
        request = endpoints.get_call_request(AGENT_ID.upper(), f" {CALL_ID.upper()} ")

        assert request.method == "GET"
        assert request.path == f"/v1/agents/{AGENT_ID}/outbound-calls/{CALL_ID}"
        assert request.call_id == CALL_ID
        assert request.idempotent

    def test_a_request_that_is_made_again_and_again_is_built_once(self) -> None:
        """A wait looks at the same call a thousand times."""
        assert endpoints.get_call_request(AGENT_ID, CALL_ID) is GET_CALL

    def test_a_record_is_as_good_as_its_id(self, seed_record: dict[str, Any]) -> None:
        """What placing a call pushed to XCom can be given as it is."""
        assert endpoints.get_call_request(AGENT_ID, seed_record).call_id == CALL_ID

    @pytest.mark.parametrize(
        "call_id",
        [
            "",
            None,
            5,
            {},
            {"id": None},
            "../../v1/agents",
            f"{CALL_ID}/../x",
            f"{CALL_ID}?x=1",
            f"{CALL_ID}#",
            f"{CALL_ID}%2F",
            f"{CALL_ID}\n",
            CALL_ID.replace("-", ""),
            f"{{{CALL_ID}}}",
            "0fc6daf8-7251-4553-9488-867ba0b82d8é",
        ],
    )
    def test_an_id_that_is_no_uuid_never_becomes_a_path(self, call_id: object) -> None:
        """Anything but a UUID is an error that names the field and doesn't repeat the value."""
        if call_id == f"{CALL_ID}\n":
            assert (
                endpoints.get_call_request(AGENT_ID, call_id).call_id == CALL_ID
            )  # blanks around it do no harm
            return
        with pytest.raises(TelzinoConfigurationError, match="`call_id` should be a UUID"):
            endpoints.get_call_request(AGENT_ID, call_id)

    def test_a_record_that_jinja_made_into_text_is_explained(self) -> None:
        """The commonest mistake has a message of its own, without the record in it."""
        with pytest.raises(TelzinoConfigurationError, match="pass the XCom itself") as caught:
            endpoints.get_call_request(AGENT_ID, f"{{'id': '{CALL_ID}', 'to_number': '{NUMBER}'}}")
        assert NUMBER not in str(caught.value)

    @pytest.mark.parametrize("agent_id", [None, ""])
    def test_a_missing_agent_says_where_to_set_it(self, agent_id: str | None) -> None:
        """There is no default agent: the error names both places."""
        with pytest.raises(TelzinoConfigurationError, match=r"of the task or hook, or .* in the connection"):
            endpoints.get_call_request(agent_id, CALL_ID)

    def test_list_pages(self) -> None:
        """A list begins at page 1 with the largest pages, and goes on page by page with the same filter."""
        first = endpoints.list_calls_request(AGENT_ID, "busy")
        second = endpoints.next_page(first)

        assert first.params == {"page": 1, "limit": 100, "status": "busy"}
        assert second.params == {"page": 2, "limit": 100, "status": "busy"}

    def test_an_unknown_status_filter_is_refused(self) -> None:
        """A typo in the filter is an error that lists what there is."""
        with pytest.raises(TelzinoConfigurationError, match="queued, dispatching"):
            endpoints.list_calls_request(AGENT_ID, "no-answer")

    def test_place_call_sends_only_what_was_given(self) -> None:
        """Optional fields that nobody set are not in the body."""
        request = place()

        assert request.json == {"to_number": NUMBER}
        assert not request.idempotent

    def test_place_call_sends_everything_that_was_given(self) -> None:
        """All documented fields travel under their documented names."""
        body = {
            "to_number": NUMBER,
            "call_context": "Call John.",
            "metadata": {"crm": 1},
            "callback_url": "https://a.example/b",
        }

        assert place(**{name: value for name, value in body.items() if name != "to_number"}).json == body

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("to_number", "18135559876", "E.164"),
            ("to_number", "+0123456", "E.164"),
            ("to_number", "+1 813 555 1234", "E.164"),
            ("to_number", "+1234567890123456", "E.164"),
            ("to_number", "+1813555123٤", "E.164"),
            ("to_number", "+18135551234\n", "E.164"),
            ("to_number", 18135551234, "E.164"),
            ("to_number", None, "E.164"),
            ("call_context", "x" * 4_001, "4,001 characters; the API takes at most 4,000"),
            ("call_context", 7, "text"),
            ("call_context", "half \ud800", "surrogate"),
            ("callback_url", "https://ex\n.example/a b", "https://"),
            ("metadata", ["a"], "mapping"),
            ("metadata", {1: "a"}, "text keys"),
            ("metadata", {"a": {1, 2}}, "JSON doesn't have"),
            ("metadata", {"a": float("nan")}, "JSON doesn't have"),
            ("metadata", {"a": "é" * 9_000}, "18,008 bytes"),
            ("metadata", {"a": "\ud800"}, "JSON doesn't have"),
            ("callback_url", "http://a.example", "https://"),
            ("callback_url", "https:///path", "https://"),
            ("callback_url", "https://[", "https://"),
            ("callback_url", 5, "https://"),
        ],
    )
    def test_bad_input_is_refused_by_name(self, field: str, value: object, message: str) -> None:
        """Each documented limit is checked before anything is dialled; the value stays out of the error."""
        with pytest.raises(TelzinoConfigurationError, match=f"`{field}`") as caught:
            place(**{field: value})
        assert message in str(caught.value)
        assert not isinstance(value, str) or len(value) < 6 or value not in str(caught.value)

    def test_limits_may_be_reached(self) -> None:
        """The largest allowed values pass; the context is counted in characters."""
        metadata = {"a": "x" * (16 * 1024 - len('{"a":""}'))}

        assert place(call_context="é" * 4_000, metadata=metadata).json


class TestAnswers:
    """What an answer means."""

    def test_a_record_is_given_as_it_is(self, seed_record: dict[str, Any]) -> None:
        """Unknown fields, unknown statuses and odd values pass untouched."""
        record = seed_record | {"status": "voicemail", "new": [1, {"a": None}], "duration": 1.5}

        assert answers.read_record(SETTINGS, GET_CALL, answer(200, record)) == record

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b'"text"',
            b"{}",
            b"<html><body>Sign in</body></html>",
            b'{"id": "x", "status": "comp',
            b'{"id": 5, "status": "completed"}',
            b'{"id": "0fc6daf8-7251-4553-9488-867ba0b82d8e"}',
            b'{"id": "0fc6daf8-7251-4553-9488-867ba0b82d8e", "status": null}',
            b'{"id": "0fc6daf8-7251-4553-9488-867ba0b82d8e", "status": ""}',
            b'{"id": "de79aee6-ae41-4003-a3f4-ba9d77b59bd8", "status": "completed"}',
            b'{"id": "0fc6daf8-7251-4553-9488-867ba0b82d8e", "status": "completed", "duration": NaN}',
            b"\xff\xfe\x00",
            b"[" * 100_000,
        ],
    )
    def test_a_body_that_is_no_record_is_unreadable(self, body: bytes) -> None:
        """Whatever comes with a 200, a record of the right call or an error that may be retried."""
        with pytest.raises(exceptions.TelzinoUnreadableAnswerError) as caught:
            answers.read_record(SETTINGS, GET_CALL, ApiAnswer(200, body))
        assert caught.value.transient
        assert caught.value.__cause__ is None
        assert "telzino_test" in str(caught.value)
        assert CALL_ID in str(caught.value)

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
    def test_each_status_code_has_its_error(
        self, status: int, error: type[TelzinoError], transient: bool
    ) -> None:
        """The class tells what to do; the text names connection and call."""
        with pytest.raises(TelzinoError) as caught:
            answers.read_record(SETTINGS, GET_CALL, answer(status, {}))
        assert type(caught.value) is error
        assert caught.value.transient is transient
        assert str(status) in str(caught.value)
        assert "connection telzino_test" in str(caught.value)
        assert f"call {CALL_ID}" in str(caught.value)

    @pytest.mark.parametrize(("status", "maybe"), [(429, False), (500, True), (503, True), (200, True)])
    def test_a_post_tells_whether_the_call_may_exist(self, status: int, maybe: bool) -> None:
        """Only a 429 is known to have dialled nobody."""
        with pytest.raises(exceptions.TelzinoTransientError) as caught:
            answers.read_record(SETTINGS, place(), answer(status, "nonsense"))
        assert caught.value.maybe_received is maybe
        assert ("may have been placed" in str(caught.value)) is maybe

    def test_retry_after_travels_with_the_error(self) -> None:
        """A 429 or 503 that says when to come back is heard."""
        for status in (429, 503):
            with pytest.raises(exceptions.TelzinoTransientError) as caught:
                answers.read_record(SETTINGS, GET_CALL, answer(status, {}, retry_after="17"))
            assert caught.value.retry_after == 17

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ({"message": "Agent has no number."}, "Agent has no number."),
            ({"error": "bad_agent"}, "bad_agent"),
            ({"error": {"code": 3, "message": "No number."}}, "No number."),
            ({"detail": [{"msg": "Field a."}, {"msg": "Field b."}]}, "Field a.; Field b."),
            ({"errors": ["One.", "Two."]}, "One.; Two."),
            ({"message": "Two\nlines\x00"}, "Two lines"),
            ({"other": "Thing"}, "it gave no reason"),
            ([], "it gave no reason"),
            ("", "it gave no reason"),
        ],
    )
    def test_a_400_has_the_apis_own_words(self, content: object, words: str) -> None:
        """The shape of error answers isn't documented: the usual ones are understood."""
        with pytest.raises(exceptions.TelzinoBadRequestError) as caught:
            answers.read_record(SETTINGS, place(), answer(400, content))
        assert words in str(caught.value)

    @pytest.mark.parametrize(
        "message",
        [
            f"'{NUMBER}' is not callable",
            "the number 1813-555-1234 is blocked",
            "call_context 'You are calling John Miller about' is refused",
            "metadata.name: Miller-Smith is not allowed",
            "metadata value Jo12 is not allowed",
            "CALL_CONTEXT 'ABOUT HIS APPOINTMENT, JOHN MILLER' IS REFUSED",
            "context You%20are%20calling%20John%20Miller is refused",
            "context calling J\\u006fhn Mi\\u006cler is refused",
            "(813) 555-1234 is blocked",
            "ssn 123456 and Bob are refused",
            "bad token Bearer s3cret-of-the-client",
        ],
    )
    def test_what_we_sent_stays_out_of_an_error(self, message: str) -> None:
        """An API that repeats the input in its message doesn't bring it into a log."""
        request = place(
            call_context="You are calling John Miller about his appointment.",
            metadata={"name": "Miller-Smith", "codes": ["Jo12", "Bob"], "ssn": 123456},
        )
        with pytest.raises(exceptions.TelzinoBadRequestError) as caught:
            answers.read_record(SETTINGS, request, answer(400, {"message": message}))
        for private in ("813", "1234", "miller", "jo12", "john", "bob", "s3cret"):
            assert private not in str(caught.value).lower()
        assert "[…]" in str(caught.value)

    def test_cleaning_a_message_costs_little(self) -> None:
        """The work is bounded whatever was sent and answered, for it may happen in the triggerer's loop."""
        request = place(call_context="call John " * 400, metadata={"a": "word " * 3_000})
        content = {"errors": ["call John word " * 5_000] * 50}
        started = time.process_time()

        with pytest.raises(exceptions.TelzinoBadRequestError):
            answers.read_record(SETTINGS, request, answer(400, content))

        assert time.process_time() - started < 2  # it takes some 10 ms; half a minute with a quadratic search

    def test_a_deeply_nested_error_is_no_trap(self) -> None:
        """An error answer may have any shape."""
        with pytest.raises(exceptions.TelzinoBadRequestError, match="no reason"):
            answers.read_record(SETTINGS, place(), ApiAnswer(400, b"[" * 900 + b"]" * 900))

    def test_a_huge_error_message_is_cut(self) -> None:
        """An error page of any size becomes one short line."""
        with pytest.raises(exceptions.TelzinoBadRequestError) as caught:
            answers.read_record(SETTINGS, place(), answer(400, {"message": "no " * 100_000}))
        assert len(str(caught.value)) < 500

    def test_a_token_and_its_lifetime(self) -> None:
        """The token is read with the seconds that it lives; without them it lives until a 401."""
        request = token_request(SETTINGS)

        assert read_token(SETTINGS, request, answer(200, {"access_token": "t", "expires_in": 60})) == (
            "t",
            60,
        )
        assert read_token(SETTINGS, request, answer(200, {"access_token": "t"})) == ("t", float("inf"))
        absurd = {"access_token": "t", "expires_in": 10**400}
        assert read_token(SETTINGS, request, answer(200, absurd)) == ("t", MAX_TOKEN_LIFETIME)

    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_refused_client_credentials(self, status: int) -> None:
        """Whatever code the token endpoint refuses with, the error names the fields, not their values."""
        with pytest.raises(exceptions.TelzinoCredentialsError, match=r"Login .* Password") as caught:
            read_token(SETTINGS, token_request(SETTINGS), answer(status, {"error": SETTINGS.secret}))
        assert SETTINGS.secret not in str(caught.value)

    def test_a_host_without_a_token_endpoint(self) -> None:
        """A 404 there means the wrong host, not an unknown agent."""
        with pytest.raises(exceptions.TelzinoNotFoundError, match="no token endpoint"):
            read_token(SETTINGS, token_request(SETTINGS), answer(404, {}))

    @pytest.mark.parametrize("token", [None, "", 5, "two words", "line\nbreak", "ümlaut"])
    def test_a_token_that_is_none(self, token: object) -> None:
        """A token that can't be a header is refused before it becomes one."""
        with pytest.raises(exceptions.TelzinoUnreadableAnswerError, match="access_token"):
            read_token(SETTINGS, token_request(SETTINGS), answer(200, {"access_token": token}))

    def test_a_401_says_what_to_do_with_each_kind_of_credentials(self) -> None:
        """A pasted token has probably expired; a fetched one hints at the audience."""
        for settings, words in [(replace(SETTINGS, client_id=None), "one day"), (SETTINGS, "audience")]:
            with pytest.raises(exceptions.TelzinoCredentialsError, match=words):
                answers.read_answer(settings, GET_CALL, answer(401))

    def test_a_page_and_the_next(self) -> None:
        """A page says whether another follows; an empty page ends the list whatever it says."""
        request = endpoints.list_calls_request(AGENT_ID, None)
        page = {"data": [{"id": "a"}], "pagination": {"hasNext": True}}

        items, following = answers.read_page(SETTINGS, request, answer(200, page))

        assert items == [{"id": "a"}]
        assert following == endpoints.next_page(request)
        for last in (page | {"pagination": {"hasNext": False}}, page | {"data": []}):
            assert answers.read_page(SETTINGS, request, answer(200, last))[1] is None

    @pytest.mark.parametrize(("pages", "is_last"), [(1, True), (2, True), (3, False), ("many", None)])
    def test_a_page_that_only_counts_the_pages(self, pages: object, is_last: bool | None) -> None:
        """Without ``hasNext`` their number tells whether another one follows."""
        request = endpoints.next_page(endpoints.list_calls_request(AGENT_ID, None))
        page = {"data": [{"id": "a"}], "pagination": {"totalPages": pages}}

        found = answers.read_list_page(SETTINGS, request, answer(200, page))

        assert (found.is_last, found.is_certain) == (is_last is not False, is_last is not None)

    @pytest.mark.parametrize(
        "content", [{}, {"data": []}, {"data": {}, "pagination": {}}, {"data": [{}], "pagination": {}}]
    )
    def test_a_page_that_is_none(self, content: object) -> None:
        """A list answer without its documented fields is unreadable."""
        with pytest.raises(exceptions.TelzinoUnreadableAnswerError):
            answers.read_page(SETTINGS, endpoints.list_calls_request(AGENT_ID, None), answer(200, content))


def test_a_body_is_json_whatever_it_holds() -> None:
    """Half a character has no UTF-8; JSON has an escape for it."""
    request = GET_CALL._replace(json={"to": "ü\ud800"})

    assert request.body == b'{"to":"\xc3\xbc\\ud800"}'
    assert GET_CALL.body is None


def test_pages_leave_out_what_came_before() -> None:
    """An item that a shift pushes to the next page comes once; a limit of pages ends the reading."""
    pages = answers.Pages(limit=2)

    wanted = [pages.wanted(), pages.wanted(), pages.wanted()]

    assert wanted == [True, True, False]
    assert pages.new([{"id": "a"}, {"id": "b"}]) == [{"id": "a"}, {"id": "b"}]
    assert pages.new([{"id": "b"}, {"id": "c"}]) == [{"id": "c"}]


def test_a_further_reading_ends_where_nothing_is_new() -> None:
    """It leaves out what the earlier one had, and a new item that pushed others on doesn't end it."""
    known: set[str] = set()
    first = answers.Pages(known=known)
    first.new([{"id": "a"}, {"id": "b"}])
    first.new([{"id": "c"}])

    second = answers.Pages(known=known)

    assert second.new([{"id": "new"}, {"id": "a"}]) == [{"id": "new"}]
    assert second.wanted()
    assert second.new([{"id": "b"}, {"id": "c"}]) == []
    assert not second.wanted()


def test_secrets_are_not_in_the_repr_of_settings() -> None:
    """A debugger or a failing assertion doesn't show the secret."""
    assert SETTINGS.secret not in repr(SETTINGS)
