"""The endpoints of outbound calls: place, get, list."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import requests

from airflow_provider_telzino.sandbox import DEFAULT_AGENT_ID, FORBIDDEN_AGENT_ID, MAGIC_NUMBERS, Sandbox

CALLS = f"/v1/agents/{DEFAULT_AGENT_ID}/outbound-calls"
UNKNOWN_ID = "0fc6daf8-7251-4553-9488-867ba0b82d8e"
SEED_FIELDS = [
    *("id", "agent_id", "to_number", "status", "call_context", "request_metadata", "callback_url"),
    *("callback_delivered", "transcript_id", "summary_text", "error", "sip_status_code"),
    *("created_at", "answered_at", "ended_at", "duration"),
]
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def test_place_a_call(sandbox: Sandbox, api: requests.Session) -> None:
    """POST answers 202 with id, status, room and time; the record has the requested fields."""
    body = {
        "to_number": "+18135551234",
        "call_context": "You are calling John.",
        "metadata": {"crm_id": "123", "größe": [1, None]},
        "callback_url": "https://example.com/result?x=1",
    }

    answer = api.post(CALLS, json=body)

    assert answer.status_code == 202
    assert list(answer.json()) == ["id", "status", "room_name", "created_at"]
    assert answer.json()["status"] == "queued"
    record = sandbox.call(answer.json()["id"])
    assert record["request_metadata"] == body["metadata"]
    assert {name: record[name] for name in body if name != "metadata"} == {
        name: value for name, value in body.items() if name != "metadata"
    }
    assert record["created_at"] == answer.json()["created_at"]


def test_post_is_not_idempotent(sandbox: Sandbox, api: requests.Session) -> None:
    """Two equal POSTs are two calls."""
    ids = [api.post(CALLS, json={"to_number": "+18135551234"}).json()["id"] for _ in range(2)]

    assert [call["id"] for call in sandbox.calls] == ids


def test_get_a_completed_call(sandbox: Sandbox, api: requests.Session) -> None:
    """The record of a completed call has the documented fields, in their order and form."""
    placed = sandbox.place(callback_url="https://example.com/", metadata={"a": 1}, call_context="Say hi.")
    sandbox.clock.advance(200)

    record = api.get(f"{CALLS}/{placed['id']}").json()

    assert list(record) == SEED_FIELDS
    assert record["status"] == "completed"
    assert record["error"] is record["sip_status_code"] is None
    assert record["callback_delivered"] is False
    assert record["summary_text"].count("**") == 4
    assert isinstance(record["duration"], int)
    for name in ("created_at", "answered_at", "ended_at"):
        assert TIMESTAMP.fullmatch(record[name])
    assert record["created_at"] < record["answered_at"] < record["ended_at"]


def test_get_a_waiting_call(sandbox: Sandbox, api: requests.Session) -> None:
    """Until a call ends, all fields about its end are null."""
    placed = sandbox.place(callback_url="https://example.com/")

    record = api.get(f"{CALLS}/{placed['id']}").json()

    assert list(record) == SEED_FIELDS
    assert record["status"] == "queued"
    later = ("callback_delivered", "transcript_id", "summary_text", "error", "sip_status_code")
    assert {record[name] for name in (*later, "answered_at", "ended_at", "duration")} == {None}


def test_ids_in_upper_case(sandbox: Sandbox, api: requests.Session) -> None:
    """UUIDs are the same in upper and lower case."""
    placed = sandbox.place()

    answer = api.get(f"/v1/agents/{DEFAULT_AGENT_ID.upper()}/outbound-calls/{placed['id'].upper()}")

    assert answer.json()["id"] == placed["id"]


def test_list_in_pages(sandbox: Sandbox, api: requests.Session) -> None:
    """The list has the newest call first, in pages."""
    ids = [sandbox.place()["id"] for _ in range(5)]

    first, third, fourth = (api.get(f"{CALLS}?page={page}&limit=2").json() for page in (1, 3, 4))

    assert [call["id"] for call in first["data"]] == [ids[4], ids[3]]
    assert first["pagination"] == {
        "page": 1, "limit": 2, "total": 5, "totalPages": 3, "hasNext": True, "hasPrev": False,
    }  # fmt: skip
    assert [call["id"] for call in third["data"]] == [ids[0]]
    assert (third["pagination"]["hasNext"], third["pagination"]["hasPrev"]) == (False, True)
    assert fourth["data"] == []
    assert fourth["pagination"]["hasNext"] is False


def test_default_page_size(sandbox: Sandbox, api: requests.Session) -> None:
    """A page has 50 calls unless the client asks for another number."""
    for _ in range(51):
        sandbox.place()

    listed = api.get(CALLS).json()

    assert len(listed["data"]) == listed["pagination"]["limit"] == 50


def test_list_items_lack_four_fields(sandbox: Sandbox, api: requests.Session) -> None:
    """Lists leave out the fields that the documented example leaves out."""
    sandbox.add_call("completed")

    (item,) = api.get(CALLS).json()["data"]

    missing = {"call_context", "callback_url", "callback_delivered", "summary_text"}
    assert list(item) == [name for name in SEED_FIELDS if name not in missing]


def test_list_by_status(sandbox: Sandbox, api: requests.Session) -> None:
    """`status` filters by the status that the calls have now."""
    sandbox.place()
    busy = sandbox.add_call("busy")

    listed = api.get(f"{CALLS}?status=busy").json()

    assert [call["id"] for call in listed["data"]] == [busy["id"]]
    assert listed["pagination"]["total"] == 1
    assert api.get(f"{CALLS}?status=failed").json()["pagination"]["totalPages"] == 0


def test_list_lag(api: requests.Session) -> None:
    """With a lag, a new call is missing from the list for a while, although it can be fetched."""
    with Sandbox(clock="manual", list_lag=5) as sandbox:
        url = f"{sandbox.url}{CALLS}"
        placed = sandbox.place()

        def total() -> int:
            answer = requests.get(url, headers=dict(api.headers), timeout=10)
            return int(answer.json()["pagination"]["total"])

        before = total()
        sandbox.clock.advance(5)

        assert (before, total()) == (0, 1)
        assert sandbox.call(placed["id"])["status"] != "queued"


def test_agents_have_their_own_calls(sandbox: Sandbox, api: requests.Session) -> None:
    """A call belongs to its agent, and to no other one."""
    other = sandbox.agent_ids[1]
    placed = sandbox.place(agent_id=other)

    here = api.get(f"/v1/agents/{other}/outbound-calls/{placed['id']}")
    elsewhere = api.get(f"{CALLS}/{placed['id']}")

    assert here.json()["agent_id"] == other
    assert elsewhere.status_code == 404
    assert api.get(CALLS).json()["data"] == []


@pytest.mark.parametrize("path", [CALLS, f"{CALLS}/{UNKNOWN_ID}"])
def test_forbidden_agent(api: requests.Session, path: str) -> None:
    """An agent that the token may not use is a 403."""
    answer = api.get(path.replace(DEFAULT_AGENT_ID, FORBIDDEN_AGENT_ID))

    assert answer.status_code == 403
    assert answer.json()["error"] == "forbidden"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{CALLS}/{UNKNOWN_ID}", 404),
        (f"/v1/agents/{UNKNOWN_ID}/outbound-calls", 404),
        ("/v1/nothing", 404),
        ("/v1/agents/", 404),
        (f"{CALLS}/not-a-uuid", 400),
        (f"{CALLS}/{UNKNOWN_ID.replace('-', '')}", 400),
        ("/v1/agents/7/outbound-calls", 400),
        (f"{CALLS}?limit=101", 400),
        (f"{CALLS}?limit=0", 400),
        (f"{CALLS}?limit=many", 400),
        (f"{CALLS}?page=0", 400),
        (f"{CALLS}?status=ringing", 400),
        (f"{CALLS}?status=", 400),
        (f"{CALLS}?page={10**30}", 200),
    ],
)
def test_bad_requests(api: requests.Session, path: str, status: int) -> None:
    """Bad parameters are a 400 and unknown ids a 404, with the same shape of body."""
    answer = api.get(path)

    assert answer.status_code == status
    if status != 200:
        assert set(answer.json()) == {"error", "message"}


GOOD = {"to_number": "+18135551234"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        {"to_number": None},
        {"to_number": "8135551234"},
        {"to_number": "+08135551234"},
        {"to_number": "+1 813 555 1234"},
        {"to_number": "+18135551234\n"},
        {"to_number": "+1234567890123456"},
        {"to_number": "+١٢٣٤٥٦٧٨"},
        {"to_number": 18135551234},
        {**GOOD, "call_context": "x" * 4_001},
        {**GOOD, "call_context": 5},
        {**GOOD, "call_context": None},
        {**GOOD, "metadata": "text"},
        {**GOOD, "metadata": ["list"]},
        {**GOOD, "metadata": None},
        {**GOOD, "metadata": {"a": "x" * (16 * 1024 - 7)}},
        {**GOOD, "metadata": {"a": "ü" * (8 * 1024)}},
        {**GOOD, "metadata": {"a": float("nan")}},
        {**GOOD, "metadata": {"a": "\ud800"}},
        {**GOOD, "callback_url": "http://example.com/"},
        {**GOOD, "callback_url": "https://"},
        {**GOOD, "callback_url": "example.com"},
        {**GOOD, "callback_url": "https://localhost/x"},
        {**GOOD, "callback_url": "https://127.0.0.1/"},
        {**GOOD, "callback_url": "https://10.1.2.3:8443/x"},
        {**GOOD, "callback_url": "https://192.168.1.1"},
        {**GOOD, "callback_url": "https://169.254.169.254/latest"},
        {**GOOD, "callback_url": "https://[::1]/x"},
        {**GOOD, "callback_url": "https://user@127.0.0.1/"},
    ],
)
def test_bad_bodies(sandbox: Sandbox, api: requests.Session, body: Any) -> None:
    """A body that breaks a documented rule is a 400, and no call is placed."""
    answer = api.post(CALLS, data=json.dumps(body), headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "message"}
    assert sandbox.calls == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'"' + b"x" * 2_000_000 + b'"'])
def test_bodies_that_are_not_json(sandbox: Sandbox, api: requests.Session, body: bytes) -> None:
    """A body that can't be read is a 400 too."""
    answer = api.post(CALLS, data=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert sandbox.calls == []


@pytest.mark.parametrize(
    "extra",
    [
        {"call_context": "x" * 4_000},
        {"call_context": ""},
        {"metadata": {}},
        {"metadata": {"a": "x" * (16 * 1024 - 8)}},
        {"callback_url": "https://8.8.8.8/hook"},
        {"callback_url": "https://[2001:4860:4860::8888]/hook"},
        {"callback_url": "https://your-system.com"},
    ],
)
def test_good_bodies_at_the_limit(api: requests.Session, extra: dict[str, Any]) -> None:
    """Values that reach the documented limits are accepted."""
    assert api.post(CALLS, json={**GOOD, **extra}).status_code == 202


def test_place_at_unknown_and_forbidden_agents(sandbox: Sandbox, api: requests.Session) -> None:
    """No call is placed for an agent that doesn't exist or that the token may not use."""
    statuses = [
        api.post(f"/v1/agents/{agent_id}/outbound-calls", json=GOOD).status_code
        for agent_id in (UNKNOWN_ID, FORBIDDEN_AGENT_ID)
    ]

    assert statuses == [404, 403]
    assert sandbox.calls == []


def test_other_methods(api: requests.Session) -> None:
    """A method that an endpoint doesn't have is a 405 that names its methods."""
    answer = api.delete(CALLS)

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, POST"
    assert answer.json()["error"] == "method_not_allowed"


def test_errors_do_not_repeat_what_was_sent(api: requests.Session) -> None:
    """A refused phone number is not in the answer: it would end up in logs."""
    answer = api.post(CALLS, json={"to_number": "0813 555 1234"})

    assert "555" not in answer.text
    assert "to_number" in answer.text


def test_call_to_a_magic_number_over_http(sandbox: Sandbox, api: requests.Session) -> None:
    """The dialled number determines the outcome."""
    call_id = api.post(CALLS, json={"to_number": MAGIC_NUMBERS["busy"]}).json()["id"]
    sandbox.clock.advance(30)

    record = api.get(f"{CALLS}/{call_id}").json()

    assert (record["status"], record["sip_status_code"]) == ("busy", 486)
    assert record["transcript_id"] is record["summary_text"] is record["duration"] is None
    assert record["ended_at"] is not None
