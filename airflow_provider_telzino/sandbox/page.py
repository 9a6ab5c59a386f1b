"""The page at ``/`` that shows the calls live. It loads nothing from other hosts."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from airflow_provider_telzino.sandbox.magic_numbers import TABLE

LIVE_CALLS = 100
"""How many calls the page shows: the newest ones."""

# The page shows what clients sent. It escapes that, and this policy blocks whatever it may have missed.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def asset(name: str) -> str:
    """Return a file of the page: ``page.html``, ``page.css`` or ``page.js``."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def html_page() -> str:
    """Return the page with the table of magic numbers; its script fills in the calls."""
    rows = "\n".join(
        f"<tr><td><code>{escape(magic.number)}</code></td><td>{escape(magic.description)}</td></tr>"
        for magic in TABLE
    )
    return asset("page.html").replace("<!-- magic numbers -->", rows)
