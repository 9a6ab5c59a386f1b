"""Answers: which ones are records and lists, and text in them that Airflow can't store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.api import answers, endpoints
from airflow_provider_telzino.api.messages import ApiAnswer
from tests.conftest import AGENT_ID, CALL_ID
from tests.support.api_values import GET_CALL, LIST_CALLS, SETTINGS, answer

RECORD = {"id": CALL_ID, "status": "completed"}


class TestRecords:
    """The record of a call."""

    def test_a_record_is_given_as_it_is(self, seed_record: dict[str, Any]) -> None:
        """Unknown fields, unknown statuses and unusual values pass unchanged."""
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
            b'{"id": "0fc6daf8-7251-4553-9488-867ba0b82d8e\\u0000", "status": "completed"}',
            b'{"id": "0fc6daf8-7251-4553-9488-867ba0b82d8e", "status": "completed", "duration": NaN}',
            b'{"id": "0fc6daf8-7251-4553-9488-867ba0b82d8e", "status": "\\ud8zz"}',
            b'{"id": "0fc6daf8-7251-4553-9488-867ba0b82d8e", "status": "caf\xe9"}',
            b"\xff\xfe\x00",
            b"[" * 100_000,
        ],
    )
    def test_a_body_that_is_not_the_record_is_unreadable(self, body: bytes) -> None:
        """A 200 brings a record of the right call, or an error that may be retried."""
        with pytest.raises(exceptions.TelzinoUnreadableAnswerError) as caught:
            answers.read_record(SETTINGS, GET_CALL, ApiAnswer(200, body))

        assert caught.value.transient
        assert caught.value.__cause__ is None
        assert "telzino_test" in str(caught.value)
        assert CALL_ID in str(caught.value)


class TestTextThatAirflowCannotStore:
    """Lone surrogates and NUL become U+FFFD when an answer is read."""

    @pytest.mark.parametrize(
        ("json_text", "stored"),
        [
            (rb"\ud83d", "�"),
            (rb"\uDC00", "�"),
            (rb"a\ud83db", "a�b"),
            (rb"\ude00\ud83d", "��"),  # the halves of a pair, in the wrong order
            (rb"\ud83d\ud83d\ude00", "�😀"),
            (rb"\u0000", "�"),
            (rb"a\u0000\u0000", "a��"),
            (rb"\\\ud83d", "\\�"),
            (rb"\\ud83d\ude00", "\\ud83d�"),  # an escaped backslash, and a lone surrogate after it
            (rb"\\\\u0000", "\\\\u0000"),
            (b"\xed\xa0\xbd", "�"),  # as careless UTF-8
            (b"\xed\xa0\xbd and \\u0000", "� and �"),
        ],
    )
    def test_it_is_replaced_in_keys_and_values(self, json_text: bytes, stored: str) -> None:
        """However deep it is nested, and whatever escapes it."""
        body = b'{"id": "%s", "status": "completed", "%s": [{"a": "%s"}]}' % (
            CALL_ID.encode(),
            *[json_text] * 2,
        )

        record = answers.read_record(SETTINGS, GET_CALL, ApiAnswer(200, body))

        assert record == RECORD | {stored: [{"a": stored}]}
        assert json.dumps(record, ensure_ascii=False).encode()

    @pytest.mark.parametrize(
        ("json_text", "text"),
        [
            (rb"\ud83d\ude00 \uD83D\uDE00", "😀 😀"),
            ("😀".encode(), "😀"),
            (rb"\\ud83d \\u0000", "\\ud83d \\u0000"),
            (rb"\\\\ud83d", "\\\\ud83d"),
            (rb"\u00e9\n\"\t\/\ud7ff\ue000\ufffd", 'é\n"\t/\ud7ff\ue000�'),
            (rb"\u0001\u0010", "\x01\x10"),
        ],
    )
    def test_other_text_is_kept(self, json_text: bytes, text: str) -> None:
        """An emoji as a pair of escapes, and a backslash that only looks like the start of one."""
        body = b'{"id": "%s", "status": "completed", "summary_text": "%s"}' % (CALL_ID.encode(), json_text)

        assert answers.read_record(SETTINGS, GET_CALL, ApiAnswer(200, body))["summary_text"] == text

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
    def test_in_every_encoding_of_json(self, encoding: str) -> None:
        """RFC 8259 wants UTF-8, and some servers send a byte order mark or another encoding."""
        text = json.dumps(RECORD | {"summary_text": "emoji 😀", "error": "\ud83d"})
        unescaped = text.replace("\\ud83d\\ude00", "😀")

        record = answers.read_record(SETTINGS, GET_CALL, ApiAnswer(200, unescaped.encode(encoding)))

        assert record == RECORD | {"summary_text": "emoji 😀", "error": "�"}

    def test_in_a_list(self) -> None:
        """Calls and call logs are read the same way; an id is just text there."""
        log = {"id": "\ud800", "transcript_json": [{"text": "a\x00"}], "session_data": {"\x00": "\udfff"}}
        content = {"data": [log], "pagination": {"hasNext": False}}

        items, _ = answers.read_page(SETTINGS, LIST_CALLS, answer(200, content))

        assert items == [{"id": "�", "transcript_json": [{"text": "a�"}], "session_data": {"�": "�"}}]

    def test_in_a_status(self) -> None:
        """It is in every log line about the call."""
        record = answers.read_record(SETTINGS, GET_CALL, answer(200, RECORD | {"status": "on\ud800hold"}))

        assert record["status"] == "on�hold"


class TestNumbersThatAirflowCannotStore:
    """Numbers that Airflow's messages or PostgreSQL refuse become text when an answer is read."""

    @pytest.mark.parametrize(
        "number",
        ["1e999", "-1e999", "18446744073709551616", "-9223372036854775809", "9" * 5_000],
        ids=["infinite", "minus infinite", "over 64 bits", "under 64 bits", "5,000 digits"],
    )
    def test_a_number_too_large_to_store_becomes_text(self, number: str) -> None:
        """The rest of the record is not lost because of it."""
        body = json.dumps(RECORD | {"request_metadata": {"n": [0]}}).replace("[0]", f"[{number}]")

        record = answers.read_record(SETTINGS, GET_CALL, ApiAnswer(200, body.encode()))

        assert record == RECORD | {"request_metadata": {"n": [number]}}

    @pytest.mark.parametrize("number", [0, -7, 2**64 - 1, -(2**63), 0.5, -1.5e308, 1e-999])
    def test_other_numbers_are_kept(self, number: float) -> None:
        """The largest and the smallest ones that can be stored, and ordinary ones."""
        record = answers.read_record(SETTINGS, GET_CALL, answer(200, RECORD | {"duration": number}))

        assert record["duration"] == number
        assert type(record["duration"]) is type(number)


class TestLists:
    """Pages of a list."""

    def test_a_page_and_the_next(self) -> None:
        """A page says if another follows; an empty page ends the list whatever it says."""
        page = {"data": [{"id": "a"}], "pagination": {"hasNext": True}}

        items, following = answers.read_page(SETTINGS, LIST_CALLS, answer(200, page))

        assert items == [{"id": "a"}]
        assert following == endpoints.next_page(LIST_CALLS)
        for last in (page | {"pagination": {"hasNext": False}}, page | {"data": []}):
            assert answers.read_page(SETTINGS, LIST_CALLS, answer(200, last))[1] is None

    @pytest.mark.parametrize(("pages", "is_last"), [(1, True), (2, True), (3, False), ("many", None)])
    def test_a_page_that_only_counts_the_pages(self, pages: object, is_last: bool | None) -> None:
        """Without ``hasNext`` their number says if another one follows."""
        request = endpoints.next_page(endpoints.list_calls_request(AGENT_ID, None))
        page = {"data": [{"id": "a"}], "pagination": {"totalPages": pages}}

        found = answers.read_list_page(SETTINGS, request, answer(200, page))

        assert (found.is_last, found.is_certain) == (is_last is not False, is_last is not None)

    @pytest.mark.parametrize(("items", "is_last"), [([{"id": "a"}], False), ([], True)])
    def test_a_page_that_is_the_last_according_to_one_of_its_fields_only(
        self, items: list[Any], is_last: bool
    ) -> None:
        """The next one is read: it may have a call that would be placed again. An empty page is the end."""
        request = endpoints.list_calls_request(AGENT_ID, None)
        page = {"data": items, "pagination": {"hasNext": False, "totalPages": 2}}

        found = answers.read_list_page(SETTINGS, request, answer(200, page))

        assert (found.is_last, found.is_certain) == (is_last, True)

    @pytest.mark.parametrize(
        "content", [{}, {"data": []}, {"data": {}, "pagination": {}}, {"data": [{}], "pagination": {}}]
    )
    def test_an_answer_that_is_not_a_page_is_unreadable(self, content: object) -> None:
        """It lacks documented fields."""
        with pytest.raises(exceptions.TelzinoUnreadableAnswerError):
            answers.read_page(SETTINGS, LIST_CALLS, answer(200, content))

    def test_items_that_appear_again_are_left_out(self) -> None:
        """New calls push items to the next page; and a limit of pages ends the reading."""
        pages = answers.Pages(limit=2)

        wanted = [pages.wanted(), pages.wanted(), pages.wanted()]

        assert wanted == [True, True, False]
        assert pages.new([{"id": "a"}, {"id": "b"}]) == [{"id": "a"}, {"id": "b"}]
        assert pages.new([{"id": "b"}, {"id": "c"}]) == [{"id": "c"}]

    def test_a_further_reading_ends_at_a_page_without_new_items(self) -> None:
        """It leaves out the items of the earlier one, and a new item that pushed others on doesn't end it."""
        known: set[str] = set()
        first = answers.Pages(known=known)
        first.new([{"id": "a"}, {"id": "b"}])
        first.new([{"id": "c"}])

        second = answers.Pages(known=known)

        assert second.new([{"id": "new"}, {"id": "a"}]) == [{"id": "new"}]
        assert second.wanted()
        assert second.new([{"id": "b"}, {"id": "c"}]) == []
        assert not second.wanted()
