"""Tables in Markdown, for the terminal and for the docs; and where and with what it was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil

from devtools.processes import ROOT

DOCS = ROOT / "docs" / "benchmark.md"
VERSIONS = ("apache-airflow", "apache-airflow-providers-http", "aiohttp")


def setting() -> str:
    """Say when, where and with what it was measured."""
    memory = psutil.virtual_memory().total / 2**30
    parts = [
        f"{date.today():%Y-%m-%d}",
        f"{_processor()}, {os.cpu_count()} CPUs, {memory:.0f} GB",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in VERSIONS),
    ]
    return ", ".join(parts) + "."


@dataclass(frozen=True)
class Row:
    """A target and what was measured."""

    what: str
    target: str
    measured: str
    ok: bool | None
    """None where there is no target, only a figure."""


def at_most(what: str, limit: float, value: float, unit: str = "") -> Row:
    """Make the row of a figure that shall not exceed a limit."""
    return Row(what, f"≤ {limit:,g}{unit}", f"{value:,.4g}{unit}", value <= limit)


def at_least(what: str, limit: float, value: float, unit: str) -> Row:
    """Make the row of a figure that shall reach a limit."""
    return Row(what, f"≥ {limit:g}{unit}", f"{value:.3g}{unit}", value >= limit)


def target_table(rows: Iterable[Row]) -> str:
    """Return the table of targets."""
    marks = {True: "ok", False: "**missed**", None: ""}
    return table(
        ["", "target", "measured", ""], [[row.what, row.target, row.measured, marks[row.ok]] for row in rows]
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up."""
    lines = [head, *rows]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(head))]
    left = 2  # columns of words; the others are figures

    def text(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = (
        "|"
        + "|".join("-" * (width + 1) + ("-" if column < left else ":") for column, width in enumerate(widths))
        + "|"
    )
    return "\n".join([text(head), rule, *map(text, rows)])


def _processor() -> str:
    """Name the processor as Linux does, if it does."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_into_docs(part: str, text: str, docs: Path = DOCS) -> None:
    """Put tables into a page, by default ``docs/benchmark.md``, in place of the former ones."""
    before, marker, rest = docs.read_text().partition(f"<!-- {part} -->\n")
    _, end, after = rest.partition("<!-- end -->\n")
    if not (marker and end):
        raise ValueError(f"{docs.name} has no place for {part}")
    docs.write_text(f"{before}{marker}\n{text}\n\n{end}{after}")
