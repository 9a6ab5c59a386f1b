"""A real browser: Debian's Chromium, without a window, that reaches nothing but the server under test."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from devtools.programs import find_program

TIMEOUT = 60_000  # ms: a busy machine's browser is slow, not broken
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


@contextlib.contextmanager
def running_chromium() -> Iterator[Browser]:
    """Yield the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_program("chromium")), args=OPTIONS)
        yield browser
        browser.close()


@contextlib.contextmanager
def confined_page(browser: Browser, base_url: str) -> Iterator[Page]:
    """Yield an empty page; fail if it asks for anything that is not below this URL."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme="light")
    context.set_default_timeout(TIMEOUT)
    expect.set_options(timeout=TIMEOUT)
    page = context.new_page()
    elsewhere: list[str] = []

    def guard(route: Route) -> None:
        if route.request.url.startswith(base_url):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    page.route("**/*", guard)
    yield page
    context.close()
    assert elsewhere == []


def take_screenshot(page: Page, name: str, folder: Path) -> None:
    """Take a screenshot of the page: for the docs, if ``TELZINO_SCREENSHOTS`` is their folder."""
    page.mouse.move(0, 0)
    path = Path(os.environ.get("TELZINO_SCREENSHOTS", folder)) / f"{name}.png"
    page.screenshot(path=path, animations="disabled")
