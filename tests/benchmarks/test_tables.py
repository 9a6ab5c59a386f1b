"""The benchmark's tables: what reaches its target, and how they come into the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tables import at_least, at_most, target_table, write_into_docs


def test_target_table_tells_what_was_missed() -> None:
    """A figure at its limit is ok; one beyond is marked."""
    rows = [at_most("a", 1.5, 1.5, " ×"), at_most("b", 1.5, 1.51, " ×"), at_least("c", 80, 79, " ×")]

    lines = target_table(rows).splitlines()[2:]

    assert ["missed" in line for line in lines] == [False, True, True]
    assert "1.51 ×" in lines[1]


def test_docs_get_new_tables_in_place_of_old(tmp_path: Path) -> None:
    """Only the part between its marks changes."""
    docs = tmp_path / "page.md"
    docs.write_text("head\n<!-- one -->\n\nold\n\n<!-- end -->\nmiddle\n<!-- two -->\n<!-- end -->\n")

    write_into_docs("one", "new", docs)

    assert docs.read_text() == (
        "head\n<!-- one -->\n\nnew\n\n<!-- end -->\nmiddle\n<!-- two -->\n<!-- end -->\n"
    )


def test_docs_without_a_place_are_an_error(tmp_path: Path) -> None:
    """Tables don't get lost when the marks are gone."""
    docs = tmp_path / "page.md"
    docs.write_text("nothing here\n")

    with pytest.raises(ValueError, match="no place for one"):
        write_into_docs("one", "new", docs)
