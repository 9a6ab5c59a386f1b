"""The sandbox's page in a real browser: its list, its filters, and a call that is opened."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Clock, Sandbox
from tests.support.browser import confined_page, running_chromium, take_screenshot
from tests.support.programs import needs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sandbox page"), needs("chromium")]

MANY = 5_000
PAGE_SIZE = 50
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
MARK = "data-kept"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with a manual clock, and a limit of concurrent calls."""
    with Sandbox(clock="manual", max_concurrent_calls=100) as sandbox:
        yield sandbox


@pytest.fixture
def page(chromium: Browser, sandbox: Sandbox) -> Iterator[Page]:
    """An empty page, in which no script may fail."""
    with confined_page(chromium, sandbox.url) as page:
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        yield page
        assert failures == []


def placed_by(run: str, contact: str, **identity: Any) -> dict[str, Any]:
    """Return the metadata of a campaign's call."""
    ids = {"dag_id": "reminders", "run_id": run, "task_id": "call_all", "map_index": -1, "contact": contact}
    return {"crm_id": "C7", "airflow": {**ids, **identity}}


def rows(page: Page) -> Locator:
    """Return the rows of the list."""
    return page.locator("#calls tbody tr")


def chip(page: Page, status: str) -> Locator:
    """Return the button that shows the calls with a status."""
    return page.get_by_role("group").get_by_role("button", name=re.compile(rf"^{status} "))


def test_thousands_of_calls_in_pages(page: Page, sandbox: Sandbox) -> None:
    """The page holds 50 rows, whatever number of calls there is, and keeps them when it refreshes."""
    for _ in range(MANY):
        sandbox.place()

    page.goto(f"{sandbox.url}/")
    expect(rows(page)).to_have_count(PAGE_SIZE)
    rows(page).first.evaluate(f"row => row.setAttribute('{MARK}', '')")
    rows(page).first.get_by_role("link").focus()
    sandbox.place(MAGIC_NUMBERS["busy"])

    # A new call is on top; the row that was marked is the same element, one place lower, and has its focus.
    expect(rows(page).first).to_contain_text(MAGIC_NUMBERS["busy"])
    expect(rows(page)).to_have_count(PAGE_SIZE)
    expect(rows(page).nth(1)).to_have_attribute(MARK, "")
    expect(rows(page).nth(1).get_by_role("link")).to_be_focused()
    expect(page.locator("#position")).to_have_text("1 to 50 of 5,001")
    expect(chip(page, "all")).to_contain_text("5,001")
    expect(page.locator("#limit")).to_have_text("0 concurrent calls (the limit is 100), 5,001 queued.")

    page.get_by_role("button", name="Older").click()
    expect(page.locator("#position")).to_have_text("51 to 100 of 5,001")
    expect(page).to_have_url(f"{sandbox.url}/#page=2")
    page.goto(f"{sandbox.url}/#page=101")
    expect(page.locator("#position")).to_have_text("5,001 to 5,001 of 5,001")
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_role("button", name="Older")).to_be_disabled()

    # The clock moves: the chips follow, and 100 calls are on their way.
    sandbox.clock.advance(10)
    expect(page.locator("#limit")).to_contain_text("100 concurrent calls")
    expect(chip(page, "queued")).to_contain_text("4,901")
    expect(chip(page, "live")).to_contain_text("5,001")


def test_a_campaign(chromium: Browser, tmp_path: Path) -> None:
    """A campaign in progress: the counts, the limit, and one of its calls; these are the docs' pictures."""
    clock = Clock(speed=0, start=datetime(2026, 11, 2, 15, tzinfo=timezone.utc))
    sandbox = Sandbox(clock=clock, seed=1, max_concurrent_calls=20, keep_requests=False)
    for index in range(300):
        area = (212, 312, 415)[index % 3]
        contact = placed_by("scheduled__2026-11-02T14:00:00+00:00", f"customer-{index + 1}")
        sandbox.place(f"+1{area}55501{index // 3:02}", metadata=contact)
    clock.advance(600)

    with sandbox, confined_page(chromium, sandbox.url) as page:
        page.goto(f"{sandbox.url}/#status=live")
        expect(page.locator("#limit")).to_contain_text("20 concurrent calls (the limit is 20)")
        expect(chip(page, "all")).to_have_text("all 300")
        chip(page, "completed").click()
        expect(rows(page).first).to_contain_text("completed")
        take_screenshot(page, "sandbox-page", tmp_path)
        rows(page).filter(has_text="Appointment Moved").first.click()
        expect(page.get_by_role("dialog").get_by_role("listitem").first).to_be_visible()
        take_screenshot(page, "sandbox-call", tmp_path)


def test_filters(page: Page, sandbox: Sandbox) -> None:
    """Status, number and run narrow the list and the counts, and are in the address."""
    sandbox.add_call("busy", to_number="+12125550101", request_metadata=placed_by("run-1", "ann"))
    sandbox.add_call("completed", to_number="+12125550102", request_metadata=placed_by("run-1", "bob"))
    sandbox.add_call("completed", to_number="+13125550103", request_metadata=placed_by("run-2", "cleo"))
    sandbox.add_call("voicemail", to_number="+13125550104")
    page.goto(f"{sandbox.url}/")
    expect(rows(page)).to_have_count(4)

    chip(page, "completed").click()
    expect(rows(page)).to_have_count(2)
    expect(chip(page, "completed")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Run").fill("RUN-1")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("bob")
    expect(chip(page, "busy")).to_have_text("busy 1")
    expect(chip(page, "all")).to_have_text("all 2")
    expect(page).to_have_url(f"{sandbox.url}/#status=completed&run=RUN-1")

    page.get_by_role("button", name="Show all calls").click()
    expect(rows(page)).to_have_count(4)
    expect(page.get_by_label("Run")).to_have_value("")
    page.get_by_role("searchbox", name="Number").fill("(312) 555-01")
    expect(rows(page)).to_have_count(2)
    chip(page, "voicemail").click()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("searchbox", name="Number").fill("999")
    expect(page.get_by_text("No call matches.")).to_be_visible()

    page.goto(f"{sandbox.url}/#run=cleo")
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_label("Run")).to_have_value("cleo")


def test_a_row_opens(page: Page, sandbox: Sandbox) -> None:
    """A call shows its outcome, who placed it, summary, transcript as a conversation, and the record."""
    call = sandbox.add_call(
        "completed", call_context="You are calling Ann.", request_metadata=placed_by("run-1", "ann")
    )
    sandbox.add_call("busy")
    page.goto(f"{sandbox.url}/")
    dialog = page.get_by_role("dialog", name=f"Call to {call['to_number']}")

    rows(page).nth(0).get_by_text(re.compile("ago")).click()
    expect(page).to_have_url(re.compile("#call="))
    expect(page.get_by_role("dialog")).to_contain_text("486")
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(rows(page).nth(0).get_by_role("link")).to_be_focused()

    # With the keyboard alone: open the call, look at it, close it, and be where one was.
    opening = rows(page).nth(1).get_by_role("link")
    opening.focus()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    for text in ("completed", "run-1", "ann", "C7", "You are calling Ann.", "Action Items:"):
        expect(dialog.get_by_text(text, exact=True).first).to_be_visible()
    lines = dialog.get_by_role("listitem")
    assert lines.count() >= 4
    assert "agent" in str(lines.nth(0).get_attribute("class"))
    assert "user" in str(lines.nth(1).get_attribute("class"))
    dialog.get_by_text("The whole record").click()
    assert json.loads(str(dialog.locator("pre").text_content())) == call
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(re.compile("/#$"))
    expect(opening).to_be_focused()

    # From the call to all calls of its run.
    page.keyboard.press("Enter")
    dialog.get_by_role("link", name="run-1").click()
    expect(page).to_have_url(f"{sandbox.url}/#run=run-1")
    expect(dialog).to_be_hidden()
    expect(rows(page)).to_have_count(1)


def test_a_link_to_a_call(page: Page, sandbox: Sandbox) -> None:
    """`/#call=<id>` opens the call, and follows it; an id that doesn't exist is said."""
    call_id = sandbox.place("+18135551234")["id"]
    page.goto(f"{sandbox.url}/#call={call_id}")
    dialog = page.get_by_role("dialog")

    expect(dialog.get_by_text("queued", exact=True)).to_be_visible()
    expect(dialog.get_by_role("heading", name="Transcript")).to_be_hidden()
    sandbox.clock.advance(300)
    expect(dialog.get_by_text("completed", exact=True)).to_be_visible()
    expect(dialog.get_by_role("heading", name="Transcript")).to_be_visible()

    page.goto(f"{sandbox.url}/#call=0fc6daf8-7251-4553-9488-867ba0b82d8e")
    expect(dialog).to_contain_text("There is no call 0fc6daf8-7251-4553-9488-867ba0b82d8e.")
    expect(dialog.get_by_role("heading", name="Transcript")).to_be_hidden()


def test_text_from_outside_stays_text(page: Page, sandbox: Sandbox) -> None:
    """Markup in any field of a record is shown as it is, in the list and in the call."""
    metadata = {MARKUP: {MARKUP: MARKUP}, **placed_by(MARKUP, MARKUP, dag_id=MARKUP, task_id=MARKUP)}
    call = sandbox.add_call(
        MARKUP,
        to_number=MARKUP,
        ended_at="2026-06-11T12:54:15.354244+00:00",
        request_metadata=metadata,
        summary_text=MARKUP,
        call_context=MARKUP,
        error=MARKUP,
    )

    page.goto(f"{sandbox.url}/#call={call['id']}")
    dialog = page.get_by_role("dialog")

    for name in ("facts", "run", "summary", "context", "record"):
        expect(dialog.locator(f"[data-part='{name}']")).to_contain_text("<img src=x")
    for column in (0, 1, 4, 5, 6):  # status, number, outcome, run, contact
        expect(rows(page).locator("td").nth(column)).to_contain_text(MARKUP)
    expect(page.get_by_role("group").get_by_role("button").filter(has_text=MARKUP)).to_be_attached()
    expect(page.locator("img, td b")).to_have_count(0)
    expect(dialog.locator("b")).to_have_count(0)


def test_odd_metadata(page: Page, sandbox: Sandbox) -> None:
    """Metadata of any shape can be shown."""
    for metadata in (
        None,
        {},
        {"airflow": "text"},
        {"airflow": [1]},
        {"airflow": {"run_id": 7}},
        {"a": None},
    ):
        sandbox.add_call("completed", request_metadata=metadata)
    for call in sandbox.calls:
        page.goto(f"{sandbox.url}/#call={call['id']}")
        expect(page.get_by_role("dialog").locator("code").first).to_have_text(call["id"])
    expect(rows(page)).to_have_count(6)


def test_a_sandbox_that_was_stopped(page: Page, sandbox: Sandbox) -> None:
    """The page says so."""
    page.goto(f"{sandbox.url}/")
    expect(page.get_by_text("its clock stands still")).to_be_visible()

    sandbox.stop()

    expect(page.get_by_text("The sandbox does not answer.")).to_be_visible()
