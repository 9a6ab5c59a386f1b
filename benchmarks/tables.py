"""Tables in Markdown, for the terminal and for the docs, and the setting in which they were measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil
from tabulate import tabulate  # type: ignore[import-untyped]

from devtools.processes import ROOT

DOCS = ROOT / "docs" / "benchmark.md"
VERSIONS = ("apache-airflow", "apache-airflow-providers-http", "aiohttp")


@dataclass(frozen=True)
class Row:
    """A figure, and its target if it has one."""

    what: str
    target: str
    measured: str
    ok: bool | None = None
    """None without a target."""


def at_most(what: str, limit: float, value: float, unit: str = "") -> Row:
    """Return the row of a figure that should not exceed a limit."""
    return Row(what, f"≤ {limit:,g}{unit}", f"{_rounded(value)}{unit}", value <= limit)


def at_least(what: str, limit: float, value: float, unit: str) -> Row:
    """Return the row of a figure that should reach a limit."""
    return Row(what, f"≥ {limit:g}{unit}", f"{value:.3g}{unit}", value >= limit)


def exactly(what: str, target: float, value: float) -> Row:
    """Return the row of a figure that should have one value."""
    return Row(what, f"= {target:,g}", _rounded(value), value == target)


def figure(what: str, measured: str) -> Row:
    """Return the row of a figure without a target."""
    return Row(what, "-", measured)


def _rounded(value: float) -> str:
    """Return a figure with four digits, or as a whole number if it has more."""
    return f"{value:,.4g}" if value < 10_000 else f"{value:,.0f}"


def target_table(rows: Iterable[Row]) -> str:
    """Return the table of targets."""
    marks = {True: "ok", False: "**missed**", None: ""}
    return table(
        ["", "target", "measured", ""], [[row.what, row.target, row.measured, marks[row.ok]] for row in rows]
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table: two columns of words, and then figures."""
    align = ["left", "left", *["right"] * (len(head) - 2)]
    return str(tabulate(rows, head, tablefmt="pipe", colalign=align, disable_numparse=True))


def setting() -> str:
    """Return when, where and with what it was measured."""
    memory = psutil.virtual_memory().total / 2**30
    parts = [
        f"{date.today():%Y-%m-%d}",
        f"{_processor()}, {os.cpu_count()} CPUs, {memory:.0f} GB",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in VERSIONS),
    ]
    return ", ".join(parts) + "."


def _processor() -> str:
    """Return the name of the processor as Linux has it, if it does."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_into_docs(part: str, text: str, docs: Path = DOCS) -> None:
    """Replace the tables between two marks of a page, by default of ``docs/benchmark.md``."""
    before, marker, rest = docs.read_text().partition(f"<!-- {part} -->\n")
    _, end, after = rest.partition("<!-- end -->\n")
    if not (marker and end):
        raise ValueError(f"{docs.name} has no place for {part}")
    docs.write_text(f"{before}{marker}\n{text}\n\n{end}{after}")
