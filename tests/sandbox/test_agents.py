"""Agents and call logs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests

from airflow_provider_telzino.sandbox import DEFAULT_AGENT_ID, FORBIDDEN_AGENT_ID, MAGIC_NUMBERS, Sandbox

LOGS = f"/v1/agents/{DEFAULT_AGENT_ID}/call-logs"
LINE = re.compile(r"\[\d+\.\d\ds\] (agent|user): .+")
NUMBER = "+12125550123"
UNKNOWN_ID = "0fc6daf8-7251-4553-9488-867ba0b82d8e"


def test_list_agents(sandbox: Sandbox, api: requests.Session) -> None:
    """The agents that the token can see come in pages; without the forbidden one."""
    everything, second = (api.get(f"/v1/agents{query}").json() for query in ("", "?page=2&limit=1"))

    assert [agent["id"] for agent in everything["data"]] == sandbox.agent_ids
    assert sandbox.agent_ids[0] == DEFAULT_AGENT_ID
    assert [agent["id"] for agent in second["data"]] == sandbox.agent_ids[1:]
    assert second["pagination"] == {
        "page": 2, "limit": 1, "total": 2, "totalPages": 2, "hasNext": False, "hasPrev": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("agent_id", "status"),
    [(DEFAULT_AGENT_ID, 200), (FORBIDDEN_AGENT_ID, 403), (UNKNOWN_ID, 404), ("x", 400)],
)
def test_get_an_agent(api: requests.Session, agent_id: str, status: int) -> None:
    """One agent is in `data`."""
    answer = api.get(f"/v1/agents/{agent_id}")

    assert answer.status_code == status
    if status == 200:
        assert answer.json()["data"]["id"] == agent_id


def test_call_log(sandbox: Sandbox, api: requests.Session) -> None:
    """A completed call has a log that is consistent with its record and in itself."""
    call = sandbox.place()
    sandbox.clock.advance(200)
    record = sandbox.call(call["id"])

    (log,) = api.get(LOGS).json()["data"]

    assert log["id"] == record["transcript_id"]
    assert log["summary_text"] == record["summary_text"]
    assert log["call_duration"] == record["duration"]
    assert (log["call_started_at"], log["call_ended_at"]) == (record["answered_at"], record["ended_at"])
    entries = log["transcript_json"]
    final = [entry for entry in entries if not entry["is_partial"]]
    assert len(final) < len(entries) == log["entry_count"]
    assert log["session_data"] == {
        "caller_id": record["to_number"], "total_entries": len(entries), "final_entries": len(final),
    }  # fmt: skip
    lines = log["transcript_text"].split("\n")
    assert all(LINE.fullmatch(line) for line in lines)
    assert lines == [f"[{entry['timestamp']:.2f}s] {entry['speaker']}: {entry['text']}" for entry in final]
    times = [entry["timestamp"] for entry in entries]
    assert times == sorted(times)
    assert times[-1] <= record["duration"] + 1
    assert log["recording_url"] is None


def test_a_scripted_conversation(sandbox: Sandbox, api: requests.Session) -> None:
    """Calls that complete have the summary and the transcript that a test has scripted, others have none."""
    sandbox.script(
        NUMBER,
        ["busy", "completed"],
        summary_text="The callee will come.",
        transcript=[("agent", "Will you come?"), ("user", "Yes."), ("user", "If it doesn't rain.")],
    )
    busy, completed = sandbox.place(NUMBER), sandbox.place(NUMBER)
    sandbox.clock.advance(200)

    (log,) = api.get(LOGS).json()["data"]

    assert sandbox.call(busy["id"])["summary_text"] is None
    assert sandbox.call(completed["id"])["summary_text"] == log["summary_text"] == "The callee will come."
    said = [(entry["speaker"], entry["text"]) for entry in log["transcript_json"] if not entry["is_partial"]]
    assert said == [("agent", "Will you come?"), ("user", "Yes."), ("user", "If it doesn't rain.")]
    assert re.sub(r"\[\S+\] ", "", log["transcript_text"]).split("\n")[-1] == "user: If it doesn't rain."


def test_half_a_scripted_conversation(sandbox: Sandbox, api: requests.Session) -> None:
    """What isn't scripted is invented; a conversation may be empty."""
    sandbox.script(NUMBER, ["completed"], summary_text="The callee will come.")
    sandbox.place(NUMBER)
    sandbox.clock.advance(200)
    sandbox.script(NUMBER, ["completed"], transcript=[])
    sandbox.place(NUMBER)
    sandbox.clock.advance(200)

    silent, talkative = api.get(LOGS).json()["data"]

    assert talkative["summary_text"] == "The callee will come."
    assert LINE.match(talkative["transcript_text"])
    assert "**Sentiment:**" in silent["summary_text"]
    assert (silent["transcript_json"], silent["transcript_text"]) == ([], "")


@pytest.mark.parametrize(
    ("outcomes", "said", "error"),
    [
        (["busy"], {"summary_text": "a"}, "Only a call that completes"),
        (["no_answer"], {"transcript": []}, "Only a call that completes"),
        (["completed"], {"transcript": [("callee", "a")]}, "`transcript` should be"),
        (["completed"], {"transcript": [("user",)]}, "`transcript` should be"),
        (["completed"], {"transcript": [("user", 1)]}, "`transcript` should be"),
        (["completed"], {"transcript": ["ab"]}, "`transcript` should be"),
    ],
)
def test_a_conversation_that_cannot_be(
    sandbox: Sandbox, outcomes: list[str], said: dict[str, Any], error: str
) -> None:
    """It is an error of the test that scripts it."""
    with pytest.raises(ValueError, match=error):
        sandbox.script(NUMBER, outcomes, **said)


def test_log_belongs_to_the_room_of_the_call(sandbox: Sandbox, api: requests.Session) -> None:
    """The answer to the POST and the call log name the same room."""
    body = {"to_number": MAGIC_NUMBERS["quick_hang_up"]}
    placed = api.post(f"/v1/agents/{DEFAULT_AGENT_ID}/outbound-calls", json=body).json()
    sandbox.clock.advance(60)

    (log,) = api.get(LOGS).json()["data"]

    assert log["room_name"] == placed["room_name"]


def test_no_log_before_the_end(sandbox: Sandbox, api: requests.Session) -> None:
    """The log appears when the call ends."""
    sandbox.place(MAGIC_NUMBERS["long_call"])
    sandbox.clock.advance(600)

    during = api.get(LOGS).json()["data"]
    sandbox.clock.advance(1_300)

    assert (len(during), len(api.get(LOGS).json()["data"])) == (0, 1)


@pytest.mark.parametrize("status", ["no_answer", "busy", "failed", "in_progress"])
def test_no_log_of_other_calls(sandbox: Sandbox, api: requests.Session, status: str) -> None:
    """Only completed calls have a log."""
    sandbox.add_call(status)

    assert api.get(LOGS).json()["pagination"]["total"] == 0


def test_logs_of_finished_calls(sandbox: Sandbox, api: requests.Session) -> None:
    """A call that a test finished has a log, unless the test removed its transcript."""
    call, without = sandbox.place(), sandbox.place()
    record = sandbox.finish(call["id"])
    sandbox.finish(without["id"], transcript_id=None)

    assert [log["id"] for log in api.get(LOGS).json()["data"]] == [record["transcript_id"]]

    sandbox.finish(call["id"], "busy")
    assert api.get(LOGS).json()["data"] == []


def test_logs_in_pages(sandbox: Sandbox, api: requests.Session) -> None:
    """Logs come in pages, the latest end first."""
    long, short = sandbox.place(MAGIC_NUMBERS["long_call"]), sandbox.place(MAGIC_NUMBERS["quick_hang_up"])
    sandbox.clock.advance(3_600)

    pages = [api.get(f"{LOGS}?limit=1&page={page}").json() for page in (1, 2)]

    assert [page["data"][0]["id"] for page in pages] == [
        sandbox.call(call["id"])["transcript_id"] for call in (long, short)
    ]
    assert [page["pagination"]["hasNext"] for page in pages] == [True, False]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{LOGS}?limit=101", 400),
        (f"{LOGS}?page=0", 400),
        ("/v1/agents?limit=0", 400),
        (LOGS.replace(DEFAULT_AGENT_ID, UNKNOWN_ID), 404),
        (LOGS.replace(DEFAULT_AGENT_ID, FORBIDDEN_AGENT_ID), 403),
    ],
)
def test_bad_requests(api: requests.Session, path: str, status: int) -> None:
    """The same errors as everywhere."""
    assert api.get(path).status_code == status
