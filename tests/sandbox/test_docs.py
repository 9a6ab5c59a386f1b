"""The page ``docs/sandbox.md`` says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sandbox.__main__ import parser, welcome
from airflow_provider_telzino.sandbox.magic_numbers import TABLE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_the_table_of_magic_numbers() -> None:
    """It has all magic numbers, as in the code."""
    for magic in TABLE:
        assert f"| `{magic.number}` | `{magic.name}` | {magic.description} |" in PAGE


def test_the_options() -> None:
    """It has all options, and no others."""
    documented = set(re.findall(r"`(--[a-z-]+)`", PAGE))

    assert documented == set(re.findall(r"--[a-z-]+", parser().format_usage())) | {"--conn-login"}


def test_the_output() -> None:
    """The page shows exactly what the command prints."""
    options = parser().parse_args(["--speed", "10"])
    with Sandbox() as sandbox:
        shown = welcome(sandbox, options, 1).replace(sandbox.url, "http://127.0.0.1:8765")

    assert shown.partition("\n\nMagic")[0] in PAGE


def test_the_examples() -> None:
    """The Python examples run."""
    test, faults = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {"sandbox": Sandbox()}

    exec(test, names)  # noqa: S102 - our own documentation
    names["test_a_busy_line"]()  # type: ignore[operator]  # exec defines it
    exec(faults, names)  # noqa: S102 - same

    assert names["sandbox"].faults.waiting == 11  # type: ignore[attr-defined]  # as above
