"""The docs site can be built, is complete, and asks nobody else for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.doc_pages import ROOT

PAGES_OUTSIDE = sorted(ROOT.glob("*.md"))
PACKAGE = ROOT / "airflow_provider_telzino"
CLASS = re.compile(r"^class (Telzino\w+(?:Operator|Sensor))\b", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES_OUTSIDE, ids=lambda page: page.name)
def test_links_of_pages_outside_the_site(page: Path) -> None:
    """What MkDocs doesn't see: README and its like. Their files and anchors exist."""
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path) if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", ["operators.md", "api.md"])
def test_every_operator_is_named(page: str) -> None:
    """Where a reader looks for it: in the list of what to use for what, and in the reference."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    modules = [file for room in ("operators", "sensors") for file in (PACKAGE / room).glob("*.py")]
    defined = {name for file in modules for name in CLASS.findall(file.read_text(encoding="utf-8"))}

    assert len(defined) >= 6
    assert [name for name in sorted(defined) if f".{name}" not in text] == []


@pytest.mark.slow
def test_the_site(tmp_path: Path) -> None:
    """No warning (a broken link, a page without a place in the navigation), and no request to other hosts."""
    pytest.importorskip("mkdocs", reason="only in the development environment")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    pages = [page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")]
    loaded = [
        address
        for page in pages
        for tag in re.findall(r"<(?:script|img|iframe|link)\b[^>]*>", page)
        for address in re.findall(r'(?:src|href)="?((?:https?:)?//[^"\s>]+)', tag)
    ]
    assert len(pages) >= 20
    assert loaded == []
    assert (tmp_path / "search" / "search_index.json").stat().st_size > 10_000
    assert [page for page in pages if re.search(r"<td>[^\n]*<code>[^<]*\\\|", page)] == []  # shown as it is
    assert ":class:" not in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
