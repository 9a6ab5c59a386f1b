"""The report of the example campaign in a real browser."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.browser import confined_page, running_chromium, take_screenshot
from tests.support.dag_test_run import example_names
from tests.support.programs import needs

pytestmark = [pytest.mark.slow, needs("chromium")]

START = datetime(2026, 11, 27, 14, tzinfo=timezone.utc)
REDIAL_DELAY = timedelta(hours=2)
ODDS = {"Spring renewals": 0.7, "Trial users": 0.55, "Lapsed customers": 0.35}
"""How many calls to the contacts of each list are answered."""

Row = tuple[str, str, int, "str | None"]


def contact(index: int, chance: random.Random) -> Row:
    """Return how a contact was reached, or not, with up to three calls."""
    name = [*ODDS, "Trial users"][index % 4]
    if chance.random() < 0.02:
        return name, "not_allowed", 0, None
    end = START + timedelta(minutes=90 * chance.random())
    for attempt in (1, 2, 3):
        missed = chance.choices(["no_answer", "busy", "failed"], [14, 5, 1])[0]
        outcome = "completed" if chance.random() < ODDS[name] else missed
        if attempt == 3 or outcome in ("completed", "failed"):
            break
        end += REDIAL_DELAY + timedelta(minutes=5 * chance.random())
    return name, outcome, attempt, end.isoformat()


def test_a_report(tmp_path: Path) -> None:
    """It asks for no other file, runs no script, fits a narrow window, and is the docs' picture."""
    chance = random.Random(1)
    rows = [contact(index, chance) for index in range(2_000)]
    path = tmp_path / "report.html"
    report_page = example_names("example_telzino_campaign")["report_page"]
    path.write_text(report_page("manual__2026-11-27T14:00:00+00:00", rows))

    with running_chromium() as chromium, confined_page(chromium, path.as_uri()) as page:
        page.goto(path.as_uri())
        expect(page.get_by_role("heading", name="Outcomes by contact list")).to_be_visible()
        expect(page.locator("svg")).to_have_count(3)
        expect(page.locator("svg").get_by_text("Spring renewals")).to_be_visible()
        expect(page.locator("dl div").first).to_contain_text("2,000")
        page.set_viewport_size({"width": 1100, "height": 880})
        take_screenshot(page, "campaign-report", tmp_path)
        page.set_viewport_size({"width": 420, "height": 880})
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
