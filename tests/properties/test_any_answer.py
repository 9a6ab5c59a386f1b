"""Any answer: it becomes a record or page as promised, or an error of ours that keeps every secret."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_telzino.api import answers, arguments, endpoints, retry
from airflow_provider_telzino.api.messages import ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import Settings
from airflow_provider_telzino.api.token import read_token, token_request
from airflow_provider_telzino.exceptions import TelzinoError
from airflow_provider_telzino.models import Call
from tests.conftest import AGENT_ID, CALL_ID

pytestmark = pytest.mark.slow

SECRET = "kx7qz-client-secret-kx7qz"
CONTEXT = "Zebedee Quillfeather owes Xanthippe a trombone"
NUMBER = "+18135550177"
SETTINGS = Settings(
    "telzino_default", "https://api.telzino.com", "client", SECRET, None, "audience", 30, None
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "id",
        "status",
        "data",
        "pagination",
        "hasNext",
        "total",
        "access_token",
        "expires_in",
        "ended_at",
        "message",
    ]
)
VALUES = JSON | st.sampled_from([CALL_ID, CALL_ID.upper(), "completed", True, 10**400, -1, "", [], {}])
OBJECTS = st.dictionaries(FIELDS, VALUES | st.lists(st.dictionaries(FIELDS, VALUES), max_size=3))
WORDS = st.sampled_from([*CONTEXT.lower().split(), "invalid", "number", "not", "allowed"])
CODES = st.tuples(st.lists(WORDS, min_size=1, max_size=4), st.sampled_from("_-. ")).map(
    lambda code: code[1].join(code[0])
)
PRIVATE = st.dictionaries(
    st.sampled_from(["message", "error", "detail", "call_context", "to_number", "errors", "code", "type"]),
    st.sampled_from(
        [SECRET, CONTEXT, NUMBER, f"{NUMBER} is no number", f"not {CONTEXT}!", f"Bearer {SECRET}"]
    )
    | CODES
    | st.lists(st.sampled_from([CONTEXT, NUMBER]) | CODES, max_size=3),
)
ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from("\\\x00u\ud83d\ude00\udfffd8"))
STORABLE_JSON = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


def as_json(content: Any) -> bytes:
    """Write JSON as a careless server may: NaN and lone surrogates included."""
    return json.dumps(content).encode("utf-8", "surrogatepass")


BODIES = (
    st.binary()
    | (OBJECTS | PRIVATE | JSON).map(as_json)
    | OBJECTS.map(as_json).map(lambda body: body[: len(body) // 2])
    | st.integers(1, 3).map(lambda power: b"[" * 10**power + b"]" * 10**power)
)
STATUSES = st.sampled_from([200, 201, 202, 204, 301, 400, 401, 403, 404, 409, 418, 429, 500, 503, 599])
HEADERS = st.none() | st.text() | st.integers().map(str)
ANSWERS = st.builds(ApiAnswer, STATUSES, BODIES, HEADERS)
REQUESTS = st.sampled_from(
    [
        endpoints.get_call_request(AGENT_ID, CALL_ID),
        endpoints.list_calls_request(AGENT_ID, None),
        endpoints.place_call_request(AGENT_ID, NUMBER, CONTEXT, {"crm": CONTEXT}, None),
        token_request(SETTINGS),
    ]
)


REQUEST = endpoints.get_call_request(AGENT_ID, CALL_ID)


def outcome(step: Callable[..., Any], *arguments: Any) -> tuple[Any, Exception | None]:
    """Return what a step returns, or the error that it may raise."""
    expected: type[Exception] = ValueError if step == Call.from_record else TelzinoError
    try:
        return step(*arguments), None
    except expected as error:
        return None, error


def is_finite(number: object) -> bool:
    """Whether it is a number of seconds that one can wait."""
    return isinstance(number, float) and math.isfinite(number) and number >= 0


@given(ANSWERS, REQUESTS)
@example(
    ApiAnswer(200, b'{"id": "%s", "status": "completed"}' % CALL_ID.encode()),
    endpoints.get_call_request(AGENT_ID, CALL_ID),
)
def test_an_answer_is_what_it_promises_or_an_error_of_ours(answer: ApiAnswer, request: ApiRequest) -> None:
    """Each reader returns what the next step relies on, or an error that shows nothing that was sent."""
    sent = ("Zebedee", "Quillfeather", "trombone") if "call_context" in (request.json or {}) else ()
    for read in (
        answers.read_record,
        answers.read_page,
        answers.read_list_page,
        read_token,
        answers.read_answer,
    ):
        result, error = outcome(read, SETTINGS, request, answer)
        if error is not None:
            text = f"{error} {error!r}"
            assert not any(private.lower() in text.lower() for private in (SECRET, NUMBER, *sent))
            assert len(text) < 1_500
            assert text.encode()
            retry_after = getattr(error, "retry_after", None)
            assert retry_after is None or is_finite(retry_after)
            continue
        assert 200 <= answer.status < 300
        if read is answers.read_record:
            assert isinstance(result["id"], str)
            assert isinstance(result["status"], str)
            assert result["status"]
            if request.call_id:
                assert result["id"].lower() == request.call_id
        elif read is read_token:
            assert result[0].isascii()
            assert result[0].isprintable()
            assert result[1] > 0
        elif read is answers.read_answer:
            assert isinstance(result, dict)
        else:
            assert all(isinstance(item["id"], str) for item in result[0])


def storable(content: Any) -> Any:
    """Replace what Airflow can't store, the obvious way."""
    if isinstance(content, str):
        return "".join("\ufffd" if each == "\0" or "\ud800" <= each <= "\udfff" else each for each in content)
    if isinstance(content, int) and not -(2**63) <= content < 2**64:
        return str(content)
    if isinstance(content, dict):
        return {storable(name): storable(value) for name, value in content.items()}
    return [storable(each) for each in content] if isinstance(content, list) else content


@given(
    st.dictionaries(ANY_TEXT, STORABLE_JSON, max_size=4), st.booleans(), st.sampled_from(["utf-8", "utf-16"])
)
@example({"a": "\\\ud83d", "b\0": ["😀\ud83d"]}, True, "utf-8")
def test_whatever_is_read_can_be_stored(content: dict[str, Any], escaped: bool, encoding: str) -> None:
    """Only lone surrogates, NUL and integers of over 64 bits are changed, in keys and values."""
    text = json.dumps(content, ensure_ascii=escaped)
    body = text.encode(encoding, "surrogatepass")

    read = answers.read_answer(SETTINGS, REQUEST, ApiAnswer(200, body))

    assert read == storable(json.loads(body.decode(encoding, "surrogatepass")))
    assert json.dumps(read, ensure_ascii=False).encode()


@given(st.text() | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(str), HEADERS)
def test_retry_after_is_a_wait_or_nothing(header: str, date: str | None) -> None:
    """A finite number of seconds, or nothing; never an error."""
    wait = retry.parse_retry_after(header, date)

    assert wait is None or (is_finite(wait) and wait <= retry.MAX_RETRY_AFTER)


@given(st.integers(0, int(retry.MAX_RETRY_AFTER)), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_retry_after_says_how_long(seconds: int, moment: datetime) -> None:
    """The same wait, in seconds and as an HTTP date; a date in the past means no wait."""
    now = moment.replace(microsecond=0, tzinfo=timezone.utc)
    date = format_datetime(now + timedelta(seconds=seconds), usegmt=True)

    assert retry.parse_retry_after(str(seconds)) == seconds
    assert retry.parse_retry_after(date, now=now) == seconds
    assert retry.parse_retry_after(date, now=now + timedelta(seconds=seconds + 1)) == 0


@given(
    st.integers(1, 10**6),
    st.floats(0, retry.MAX_RETRY_AFTER),
    st.floats(-100, 1e9, allow_nan=False),
)
def test_a_backoff_keeps_its_bounds(failures: int, floor: float, time_left: float) -> None:
    """Never longer than the time that is left, and otherwise at least as long as the API requires."""
    wait = retry.backoff(failures, floor=floor, time_left=time_left)

    assert 0 <= wait <= max(time_left, 0)
    assert wait >= min(floor, max(time_left, 0))
    assert wait <= max(floor, retry.BACKOFF_CAP)


@given(st.dictionaries(st.text(), JSON), st.dictionaries(FIELDS, VALUES), st.text())
def test_a_record_keeps_what_is_unknown(more: dict[str, Any], fields: dict[str, Any], status: str) -> None:
    """A record becomes a ``Call`` that has everything, or a ``ValueError`` that names a field."""
    record = {**more, **fields, "id": CALL_ID, "status": status}

    call, error = outcome(Call.from_record, record)

    if error is not None:
        assert "`" in str(error)
        return
    assert str(call.status) == status
    assert call.extra == {name: record[name] for name in set(record) - set(Call.__dataclass_fields__)}


@given(st.text("+0123456789 ()-٣", max_size=18) | st.from_regex(r"\+[1-9][0-9]{1,14}", fullmatch=True))
def test_phone_numbers(text: str) -> None:
    """E.164 and nothing else: a plus, then up to fifteen digits of which the first isn't 0."""
    digits = text[1:]
    right = (
        text[:1] == "+"
        and 2 <= len(digits) <= 15
        and all(digit in "0123456789" for digit in digits)
        and digits[0] != "0"
    )

    accepted, error = outcome(arguments.checked_number, text)

    assert (accepted == text) == right
    assert (error is None) == right


@given(st.text(max_size=40) | st.integers(3_990, 4_010).map(lambda size: "é" * size))
def test_contexts(text: str) -> None:
    """At most 4,000 characters, however many bytes they take, and no lone surrogate."""
    right = len(text) <= 4_000 and text == text.encode("utf-8", "ignore").decode()

    accepted, error = outcome(arguments.checked_context, text)

    assert (error is None) == right
    assert accepted in (text, None)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.integers(16_300, 16_400))
def test_metadata(content: dict[str, Any], padding: int) -> None:
    """JSON of up to 16 KB is accepted as it is; everything else is refused."""
    for metadata in (content, {"padding": "x" * padding}):
        try:
            size = len(
                json.dumps(metadata, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
            )
        except ValueError:  # NaN, or a lone surrogate
            size = 10**9

        accepted, error = outcome(arguments.checked_metadata, metadata)

        assert (error is None) == (size <= 16 * 1024)
        assert accepted in (metadata, None)
