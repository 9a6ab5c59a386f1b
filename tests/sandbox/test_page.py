"""The page that shows the calls live."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
import requests

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from airflow_provider_telzino.sandbox.page import ASSETS

SCRIPTS = [name for name in ASSETS if name.endswith(".js")]
MARKUP = "<img src=x onerror=alert(1)>"


class Links(HTMLParser):
    """Collects all addresses of a page, and its inline scripts and event handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collect from one element."""
        named = dict(attributes)
        self.addresses += [value for name in ("src", "href") if (value := named.get(name)) is not None]
        self.inline += [name for name in named if name.startswith("on") or name == "style"]
        if tag == "script" and "src" not in named:
            self.inline.append(tag)


def test_the_page_loads_nothing_from_other_hosts(api: requests.Session) -> None:
    """Everything that it refers to exists on the sandbox itself."""
    links = Links()
    links.feed(api.get("/").text)

    local = [address for address in links.addresses if not address.startswith("data:")]
    assert all(address.startswith("/") and not address.startswith("//") for address in local)
    assert {api.get(address).status_code for address in local} == {200}
    assert links.inline == []


def test_the_page_has_the_magic_numbers(api: requests.Session) -> None:
    """All of them."""
    page = api.get("/").text

    assert all(number in page for number in MAGIC_NUMBERS.values())


def test_markup_in_a_call_stays_text(sandbox: Sandbox, api: requests.Session) -> None:
    """A call's texts come as JSON, the script writes them as text, and no other script may run."""
    placed = sandbox.place(call_context=MARKUP, metadata={"a": MARKUP})

    page = api.get("/")
    calls, call = api.get("/sandbox/calls.json"), api.get(f"/sandbox/calls/{placed['id']}.json")

    assert MARKUP not in page.text
    assert call.json()["record"]["call_context"] == MARKUP
    for answer in (calls, call):
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for name in SCRIPTS:
        script = api.get(f"/sandbox/{name}").text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function", script)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_table_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that the server writes into the page is escaped as well."""
    from airflow_provider_telzino.sandbox import page
    from airflow_provider_telzino.sandbox.magic_numbers import MagicNumber

    monkeypatch.setattr(page, "TABLE", (MagicNumber("+1", "x", MARKUP, ()),))

    assert MARKUP not in page.html_page()
    assert "&lt;img" in page.html_page()


def test_all_that_the_scripts_import_is_there(api: requests.Session) -> None:
    """Each module that a script imports is served, as a script."""
    for name in SCRIPTS:
        for imported in re.findall(r'from "\./(.+)";', api.get(f"/sandbox/{name}").text):
            assert api.get(f"/sandbox/{imported}").headers["Content-Type"].startswith("text/javascript")

    assert api.get("/sandbox/sandbox.py").status_code == 404


def search(api: requests.Session, **parameters: str) -> Any:
    """Return what the page gets, without a token."""
    answer = api.get("/sandbox/calls.json", params=parameters, headers={"Authorization": ""})
    assert answer.status_code == 200
    return answer.json()


def test_pages_of_calls(sandbox: Sandbox, api: requests.Session) -> None:
    """The newest calls of all agents come first, 50 at a time; there is no page beyond the last."""
    ids = []
    for index in range(101):
        ids.append(sandbox.place(agent_id=sandbox.agent_ids[index % 2])["id"])
        sandbox.clock.advance(0.001)

    first, beyond = search(api), search(api, page="9")

    assert [call["id"] for call in first["calls"]] == ids[:50:-1]
    assert (first["total"], first["pages"], first["live"], first["speed"]) == (101, 3, 101, 0)
    assert [call["id"] for call in beyond["calls"]] == ids[:1]
    assert (beyond["page"], beyond["first"]) == (3, 100)


def test_what_a_row_shows(sandbox: Sandbox, api: requests.Session) -> None:
    """A row has no long texts: neither context nor metadata, and of the summary only its title."""
    task = {
        "dag_id": "d",
        "run_id": "r" * 1_000,
        "task_id": "t",
        "map_index": 3,
        "contact": "c",
        "attempt": 1,
    }
    call = sandbox.add_call(call_context="x" * 4_000, request_metadata={"a": "y" * 9_000, "airflow": task})
    busy = sandbox.add_call("busy")

    other, row = search(api)["calls"]

    assert row["outcome"] == call["summary_text"].splitlines()[0]
    assert row["run"] == {
        "dag_id": "d",
        "run_id": "r" * 200,
        "task_id": "t",
        "map_index": "3",
        "contact": "c",
    }
    assert {"call_context", "request_metadata"}.isdisjoint(row)
    assert (other["id"], other["outcome"], other["run"]) == (busy["id"], "SIP 486", {})


@pytest.mark.parametrize(
    ("parameters", "expected", "counts"),
    [
        ({}, "dcba", {"completed": 2, "busy": 1, "queued": 1}),
        ({"status": "completed"}, "ca", {"completed": 2, "busy": 1, "queued": 1}),
        ({"status": "live"}, "d", {"completed": 2, "busy": 1, "queued": 1}),
        ({"status": "ringing"}, "", {"completed": 2, "busy": 1, "queued": 1}),
        ({"number": "+1 (212) 555"}, "ba", {"completed": 1, "busy": 1}),
        ({"run": "RUN-2"}, "dc", {"completed": 1, "queued": 1}),
        ({"run": "call_all"}, "dcba", {"completed": 2, "busy": 1, "queued": 1}),
        ({"run": "contact-b"}, "b", {"busy": 1}),
        ({"run": "run-2", "number": "0100", "status": "completed"}, "c", {"completed": 1, "queued": 1}),
        ({"run": "run-3"}, "", {}),
    ],
)
def test_search(
    sandbox: Sandbox, api: requests.Session, parameters: dict[str, str], expected: str, counts: dict[str, int]
) -> None:
    """Status, number and run narrow the calls; number and run also what is counted."""
    calls = [
        ("a", "completed", 212, 1),
        ("b", "busy", 212, 1),
        ("c", "completed", 312, 2),
        ("d", "queued", 312, 2),
    ]
    for letter, status, area, run in calls:
        ids = {"dag_id": "D", "run_id": f"run-{run}", "task_id": "call_all", "contact": f"contact-{letter}"}
        sandbox.add_call(
            status, id=letter * 8, to_number=f"+1{area}5550100", request_metadata={"airflow": ids},
            created_at=f"2026-01-0{ord(letter) - 96}T00:00:00.000000+00:00",
        )  # fmt: skip

    found = search(api, **parameters)

    assert [call["id"][0] for call in found["calls"]] == list(expected)
    assert found["total"] == len(expected)
    assert found["counts"] == counts
    assert found["live"] == counts.get("queued", 0)


def test_runs_to_choose_from(sandbox: Sandbox, api: requests.Session) -> None:
    """The newest DAG runs are suggested, with the number of their calls."""
    for index in range(60):
        for _ in range(2):
            sandbox.place(metadata={"airflow": {"dag_id": "d", "run_id": f"run-{index}"}})

    runs = search(api)["runs"]

    assert len(runs) == 50
    assert runs[0] == {"dag_id": "d", "run_id": "run-59", "calls": 2}


def test_one_call(sandbox: Sandbox, api: requests.Session) -> None:
    """A call comes with its record, its agent's name, and its transcript if it has one."""
    call = sandbox.add_call("completed")
    others = [sandbox.add_call("failed", transcript_id=call["transcript_id"]), sandbox.place()]

    shown = api.get(f"/sandbox/calls/{call['id']}.json", headers={"Authorization": ""}).json()

    assert shown["record"] == call
    assert shown["agent"] == "Sandbox agent 1"
    assert {entry["speaker"] for entry in shown["transcript"]} == {"agent", "user"}
    for other in others:
        assert api.get(f"/sandbox/calls/{other['id']}.json").json()["transcript"] is None
    assert api.get("/sandbox/calls/nothing.json").status_code == 404


def test_the_limit_of_concurrent_calls() -> None:
    """The page is told the limit, and how many calls take a place or wait."""
    with Sandbox(clock="manual", max_concurrent_calls=2) as limited:
        for _ in range(5):
            limited.place()
        limited.clock.advance(5)

        shown = requests.get(f"{limited.url}/sandbox/calls.json?status=busy", timeout=10).json()

    assert (shown["max_concurrent_calls"], shown["concurrent"], shown["queued"]) == (2, 2, 3)
