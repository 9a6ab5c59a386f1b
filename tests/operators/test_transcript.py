"""``TelzinoGetTranscriptOperator`` against a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

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


@pytest.fixture
def record(sandbox: Sandbox) -> dict[str, Any]:
    """A call that people have talked in."""
    call = sandbox.place()
    sandbox.clock.advance(300)
    return sandbox.call(call["id"])


def test_the_text_of_a_record(record: dict[str, Any]) -> None:
    """By default, what was said is pushed as one text."""
    text = get(record)

    assert text.startswith("[")
    assert "] agent: " in text
    assert get(record["transcript_id"]) == text


@pytest.mark.parametrize("include_partial", [False, True])
def test_entries(record: dict[str, Any], include_partial: bool) -> None:
    """Entries that a later one has replaced are left out, unless they are asked for."""
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


def test_the_records_agent_is_asked(
    sandbox: Sandbox, record: dict[str, Any], connect: ConnectionSetter
) -> None:
    """A record says which agent has made the call."""
    connect(sandbox, extra={"agent_id": None})

    assert get(record)
    assert AGENT_ID in sandbox.requests[-1].path


def test_a_log_that_is_not_there_yet_is_waited_for(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """It may come a moment after the call's end."""
    sandbox.faults.next("GET", "call-logs", raw_body=NO_LOGS, times=3)

    assert get(record)
    assert len(sandbox.requests) == 4


def test_pages_are_small(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """A call log holds all that was said, with all partial entries: a hundred don't fit into an answer."""
    for _ in range(25):
        sandbox.add_call("completed")

    assert get(record)
    assert [request.query["limit"] for request in sandbox.requests] == ["20", "20"]


def test_a_further_look_reads_only_the_newest(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """Until the last one: the order of call logs isn't documented, so that reads them all once more."""
    for _ in range(45):
        sandbox.add_call("completed")

    with pytest.raises(exceptions.TelzinoNotFoundError, match="newest 5,000 call logs"):
        get(CALL_ID, timeout=0.25)

    pages = [int(request.query["page"]) for request in sandbox.requests]
    assert pages[:4] == [1, 2, 3, 1]
    assert pages[-4:] == [1, 1, 2, 3]


@pytest.mark.parametrize("text", [None, 5])
def test_a_log_without_text(sandbox: Sandbox, record: dict[str, Any], text: object) -> None:
    """An XCom that says None would be taken for a transcript; a retry may find the text."""
    log = {"id": record["transcript_id"], "transcript_text": text, "transcript_json": []}
    page = json.dumps({"data": [log], "pagination": {"hasNext": False}}).encode()
    sandbox.faults.next("GET", "call-logs", raw_body=page, times=2)

    with pytest.raises(exceptions.TelzinoNotFoundError, match="no `transcript_text`") as caught:
        get(record)

    assert not isinstance(caught.value, AirflowFailException)
    assert get(record, content="entries") == []


def test_the_wait_is_bounded(sandbox: Sandbox, record: dict[str, Any]) -> None:
    """A log that doesn't come is an error that says what was looked for, and where."""
    sandbox.faults.next("GET", "call-logs", raw_body=NO_LOGS, times=1_000)

    with pytest.raises(exceptions.TelzinoNotFoundError, match=record["transcript_id"]) as caught:
        get(record, timeout=0.3)

    assert "may take a moment" in str(caught.value)
    assert 2 <= len(sandbox.requests) <= 5


@pytest.mark.parametrize("status", ["no_answer", "busy", "failed"])
def test_a_call_that_never_connected(sandbox: Sandbox, status: str) -> None:
    """It has no transcript and won't get one: the task fails without retries and without a request."""
    record = sandbox.add_call(status)

    with pytest.raises(exceptions.TelzinoNoTranscriptError, match=status) as caught:
        get(record)

    assert isinstance(caught.value, AirflowFailException)
    assert caught.value.call_id == record["id"]
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"id": CALL_ID, "status": "dialing", "transcript_id": None}, "not final: it says dialing"),
        ({"id": CALL_ID, "status": "completed"}, "no `transcript_id`.*`record_fields`"),
        ({"id": CALL_ID, "transcript_id": CALL_ID}, "no `status`.*`record_fields`"),
        ({"id": CALL_ID, "status": "queued", "room_name": "r"}, "no `transcript_id`"),
        ("None", "`transcript_id` should be a UUID"),
    ],
)
def test_what_is_no_final_record(sandbox: Sandbox, given: Any, words: str) -> None:
    """The error says what is missing."""
    with pytest.raises(exceptions.TelzinoConfigurationError, match=words):
        get(given)

    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"content": "json"}, "`content` should be one of text, entries, log"),
        ({"content": ["text"]}, "`content` should be one of text, entries, log"),
        ({"poll_interval": "10"}, "`poll_interval` should be seconds"),
        ({"timeout": -1}, "`timeout` should be seconds"),
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
