"""``TelzinoGetTranscriptOperator`` against a real server."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import AGENT_ID, CALL_ID, ConnectionSetter

pytestmark = pytest.mark.usefixtures("connected", "quick_retries")

NO_LOGS = json.dumps({"data": [], "pagination": {"hasNext": False}}).encode()


def get(transcript_id: Any, **arguments: Any) -> Any:
    """Run the task."""
    defaults: dict[str, Any] = {"task_id": "transcript", "poll_interval": 0.1, "timeout": 20}
    return TelzinoGetTranscriptOperator(transcript_id=transcript_id, **(defaults | arguments)).execute({})


class MovableTime:
    """A monotonic clock of the operator's that only its own sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept: list[float] = []
        clock = SimpleNamespace(sleep=self.slept.append, monotonic=lambda: sum(self.slept))
        monkeypatch.setattr("airflow_provider_telzino.operators.transcript.time", clock)


@pytest.fixture
def record(sandbox: Sandbox) -> dict[str, Any]:
    """A call with a conversation."""
    call = sandbox.place()
    sandbox.clock.advance(300)
    return sandbox.call(call["id"])


def test_the_text_of_a_record(record: dict[str, Any]) -> None:
    """By default, the transcript is pushed as one text."""
    text = get(record)

    assert text.startswith("[")
    assert "] agent: " in text
    assert get(record["transcript_id"]) == text


@pytest.mark.parametrize("include_partial", [False, True])
def test_entries(record: dict[str, Any], include_partial: bool) -> None:
    """Partial entries are left out, unless the task wants them."""
    entries = get(record, content="entries", include_partial=include_partial)

    assert {"text", "speaker", "timestamp", "is_partial", "created_at"} == set(entries[0])
    assert any(entry["is_partial"] for entry in entries) is include_partial
    assert any(not entry["is_partial"] for entry in entries)


def test_the_whole_log(record: dict[str, Any]) -> None:
    """All fields of the API; with ``include_partial``, exactly as it gives them."""
    log = get(record, content="log")
    exact = get(record, content="log", include_partial=True)

    assert log["id"] == record["transcript_id"]
    assert log["transcript_json"] == get(record, content="entries")
    assert len(exact["transcript_json"]) == exact["entry_count"] > len(log["transcript_json"])
    assert {**log, "transcript_json": None} == {**exact, "transcript_json": None}


def test_the_agent_of_the_record_is_used(
    sandbox: Sandbox, record: dict[str, Any], connect: ConnectionSetter
) -> None:
    """A record says which agent made the call."""
    connect(sandbox, extra={"agent_id": None})

    assert get(record)
    assert AGENT_ID in sandbox.requests[-1].path


def test_a_log_that_is_not_there_yet_is_waited_for(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """It may appear a moment after the end of the call."""
    sandbox.faults.next("GET", "call-logs", raw_body=NO_LOGS, times=3)

    assert get(record)
    assert len(sandbox.requests) == 4


def test_pages_are_small(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """A call log contains a whole conversation, with all partial entries: a hundred exceed an answer."""
    for _ in range(25):
        sandbox.add_call("completed")

    assert get(record)
    assert [request.query["limit"] for request in sandbox.requests] == ["20", "20"]


def test_a_further_search_reads_only_the_newest(
    sandbox: Sandbox, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the last search, which reads all of them again: the order of call logs isn't documented."""
    MovableTime(monkeypatch)
    for _ in range(45):
        sandbox.add_call("completed")

    with pytest.raises(exceptions.TelzinoNotFoundError, match="newest 5,000 call logs"):
        get(CALL_ID, timeout=0.25)

    pages = [int(request.query["page"]) for request in sandbox.requests]
    assert pages[:4] == [1, 2, 3, 1]
    assert pages[-4:] == [1, 1, 2, 3]


@pytest.mark.parametrize("content", ["entries", "log"])
@pytest.mark.parametrize(
    "entries", [["Hello!"], [{"text": "Hello!"}, None], [["Hello!"]], {"0": {}}, "Hello!", 5]
)
def test_entries_that_are_not_a_list_of_objects(
    sandbox: Sandbox, record: dict[str, Any], entries: object, content: str
) -> None:
    """An error that names the field; as text, or as the log that the API gave, the transcript isn't lost."""
    log = {
        "id": record["transcript_id"],
        "transcript_text": "[0.50s] agent: Hello!",
        "transcript_json": entries,
    }
    page = json.dumps({"data": [log], "pagination": {"hasNext": False}}).encode()
    sandbox.faults.next("GET", "call-logs", raw_body=page, times=3)

    with pytest.raises(
        exceptions.TelzinoUnreadableAnswerError, match=r"`transcript_json`.* list of"
    ) as caught:
        get(record, content=content)

    assert record["transcript_id"] in str(caught.value)
    assert "Hello" not in str(caught.value)
    assert get(record) == "[0.50s] agent: Hello!"
    assert get(record, content="log", include_partial=True) == log


def test_a_log_without_entries(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """The API has null there, as in other fields."""
    log = {"id": record["transcript_id"], "transcript_json": None}
    page = json.dumps({"data": [log], "pagination": {"hasNext": False}}).encode()
    sandbox.faults.next("GET", "call-logs", raw_body=page, times=2)

    assert get(record, content="entries") == []
    assert get(record, content="log", include_partial=True) == log


def test_text_that_airflow_cannot_store(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """It becomes U+FFFD, so that the transcript reaches XCom; an emoji stays as it is."""
    entry = {"text": "Bye \ud83d\ude00\x00\ud83d", "is_partial": False}
    log = {
        "id": record["transcript_id"],
        "transcript_text": "[0.50s] user: \udc00",
        "transcript_json": [entry],
    }
    page = json.dumps({"data": [log], "pagination": {"hasNext": False}}).encode()
    sandbox.faults.next("GET", "call-logs", raw_body=page, times=2)

    assert get(record) == "[0.50s] user: \ufffd"
    assert get(record, content="entries")[0]["text"] == "Bye 😀\ufffd\ufffd"


@pytest.mark.parametrize("text", [None, 5])
def test_a_log_without_text(sandbox: Sandbox, record: dict[str, Any], text: object) -> None:
    """An XCom with None would pass for a transcript; a retry may find the text."""
    log = {"id": record["transcript_id"], "transcript_text": text, "transcript_json": []}
    page = json.dumps({"data": [log], "pagination": {"hasNext": False}}).encode()
    sandbox.faults.next("GET", "call-logs", raw_body=page, times=2)

    with pytest.raises(exceptions.TelzinoNotFoundError, match="no `transcript_text`") as caught:
        get(record)

    assert not isinstance(caught.value, AirflowFailException)
    assert get(record, content="entries") == []


def test_the_wait_is_bounded(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """A log that doesn't appear is an error that says what was searched for, and where."""
    sandbox.faults.next("GET", "call-logs", raw_body=NO_LOGS, times=1_000)

    with pytest.raises(exceptions.TelzinoNotFoundError, match=record["transcript_id"]) as caught:
        get(record, timeout=0.3)

    assert "may take a moment" in str(caught.value)
    assert 2 <= len(sandbox.requests) <= 5


@pytest.mark.parametrize("status", ["no_answer", "busy", "failed"])
def test_a_call_that_never_connected(sandbox: Sandbox, status: str) -> None:
    """It will never have a transcript: the task fails without retries and without a request."""
    record = sandbox.add_call(status)

    with pytest.raises(exceptions.TelzinoNoTranscriptError, match=f"{status}.*`skip_on_missing") as caught:
        get(record)

    assert isinstance(caught.value, AirflowFailException)
    assert caught.value.call_id == record["id"]
    assert sandbox.requests == []


@pytest.mark.parametrize("status", ["no_answer", "busy", "failed"])
def test_a_call_that_never_connected_may_be_skipped(sandbox: Sandbox, status: str) -> None:
    """With ``skip_on_missing``, without a request either."""
    record = sandbox.add_call(status)

    with pytest.raises(AirflowSkipException, match=status):
        get(record, skip_on_missing=True)

    assert sandbox.requests == []


@pytest.mark.parametrize("skip_on_missing", [False, True])
def test_a_transcript_id_that_is_not_there_yet_is_waited_for(
    sandbox: Sandbox, record: dict[str, Any], skip_on_missing: bool
) -> None:
    """The record is requested again until it has one, which may be seconds after the end of the call."""
    early = record | {"transcript_id": None}
    sandbox.faults.next("GET", record["id"], raw_body=json.dumps(early).encode(), times=2)

    text = get(early, skip_on_missing=skip_on_missing)

    assert text == get(record["transcript_id"])
    assert [record["id"] in request.path for request in sandbox.requests] == [True, True, True, False, False]


def test_the_wait_for_a_transcript_id_outlives_an_outage(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """As every wait does."""
    sandbox.faults.next("GET", record["id"], status=503, times=2)

    assert get(record | {"transcript_id": None})


@pytest.mark.parametrize(("timeout", "pauses"), [(0, []), (25, [10, 10, 5])])
def test_the_wait_for_a_transcript_id_is_bounded(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, timeout: float, pauses: list[float]
) -> None:
    """An error that a retry may get over, with ``skip_on_missing``, too: the call did connect."""
    passed = MovableTime(monkeypatch)
    record = sandbox.add_call("completed", transcript_id=None)

    with pytest.raises(
        exceptions.TelzinoNotFoundError, match="no `transcript_id` when the timeout"
    ) as caught:
        get(record, timeout=timeout, poll_interval=10, skip_on_missing=True)

    assert caught.value.call_id == record["id"]
    assert not isinstance(caught.value, AirflowFailException)
    assert passed.slept == pauses
    assert len(sandbox.requests) == len(pauses) + 1


def test_both_waits_share_the_timeout(
    sandbox: Sandbox, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the wait for the id has used is lost for the wait for the log."""
    passed = MovableTime(monkeypatch)
    early = record | {"transcript_id": None}
    sandbox.faults.next("GET", record["id"], raw_body=json.dumps(early).encode(), times=4)
    sandbox.faults.next("GET", "call-logs", raw_body=NO_LOGS, times=1_000)

    with pytest.raises(exceptions.TelzinoNotFoundError, match="newest 5,000 call logs"):
        get(early, timeout=60, poll_interval=10)

    assert passed.slept == [10] * 6


def test_a_status_that_is_not_documented_may_have_a_transcript(
    sandbox: Sandbox, record: dict[str, Any]
) -> None:
    """Nobody knows whether such a call connected: its record is requested again, too."""
    given = {
        "id": record["id"],
        "status": "transferred",
        "ended_at": record["ended_at"],
        "transcript_id": None,
    }

    assert get(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"id": CALL_ID, "status": "dialing", "transcript_id": None}, "not final: its status is dialing"),
        ({"id": CALL_ID, "status": "completed"}, "no `transcript_id`.*`record_fields`"),
        ({"id": CALL_ID, "transcript_id": CALL_ID}, "no `status`.*`record_fields`"),
        ({"id": CALL_ID, "status": "queued", "room_name": "r"}, "no `transcript_id`"),
        ({"id": CALL_ID, "status": ["completed"], "transcript_id": CALL_ID}, "`status` .* of type list"),
        ({"id": "John", "to_number": "+18135551234"}, "no `status` and no `transcript_id`"),
        (
            {"status": "completed", "transcript_id": None},
            "no `transcript_id` yet, and no `id`.*`record_fields`",
        ),
        ({"id": "John", "status": "completed", "transcript_id": None}, "no `transcript_id` yet, and no `id`"),
        ("None", "`transcript_id` should be a UUID"),
    ],
)
def test_a_record_that_is_not_final(sandbox: Sandbox, given: Any, words: str) -> None:
    """The error says what is missing, and quotes nothing but ids and statuses."""
    with pytest.raises(exceptions.TelzinoConfigurationError, match=words) as caught:
        get(given)

    assert "John" not in str(caught.value)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"content": "json"}, "`content` should be one of text, entries, log"),
        ({"content": ["text"]}, "`content` should be one of text, entries, log"),
        ({"poll_interval": "10"}, "`poll_interval` should be seconds"),
        ({"timeout": -1}, "`timeout` should be seconds"),
        ({"skip_on_missing": "False"}, "`skip_on_missing` should be True or False"),
        ({"include_partial": "False"}, "`include_partial` should be True or False"),
    ],
)
def test_a_wrong_argument_fails_the_parse_and_names_the_task(wrong: dict[str, Any], words: str) -> None:
    """The import error of a DAG says which of its tasks to correct."""
    arguments: dict[str, Any] = {"task_id": "transcript", "transcript_id": CALL_ID}

    with pytest.raises(exceptions.TelzinoConfigurationError) as caught:
        TelzinoGetTranscriptOperator(**(arguments | wrong))

    assert words in str(caught.value)
    assert "task transcript" in str(caught.value)


def test_ids_and_connection_are_templated() -> None:
    """A DAG author may compute them."""
    assert set(TelzinoGetTranscriptOperator.template_fields) == {
        "transcript_id",
        "agent_id",
        "telzino_conn_id",
    }
