"""The page that shows the calls live."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import requests

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox

if TYPE_CHECKING:
    import pytest

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
    sandbox.place(call_context=MARKUP, metadata={"a": MARKUP})

    page, script, calls = (api.get(path) for path in ("/", "/sandbox/page.js", "/sandbox/calls.json"))

    assert MARKUP not in page.text
    assert calls.json()["calls"][0]["call_context"] == MARKUP
    assert calls.headers["Content-Type"] == "application/json"
    assert calls.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function", script.text)
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


def test_live_calls(sandbox: Sandbox, api: requests.Session) -> None:
    """The newest 100 calls are shown, and how many there are."""
    for _ in range(101):
        newest = sandbox.place()

    live = api.get("/sandbox/calls.json", headers={"Authorization": ""}).json()

    assert (live["total"], len(live["calls"]), live["speed"]) == (101, 100, 0)
    assert live["calls"][0] == newest
