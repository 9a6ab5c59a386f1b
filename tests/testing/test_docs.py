"""The page ``docs/testing.md`` is a project whose tests pass: each block is a file of it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.installed_airflow import INSTALLED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS: dict[str, str] = {
    path: block for block, path in re.findall(r"```\w+\n(# (\S+)\n.*?)```", PAGE, re.DOTALL)
}
AIRFLOW_2 = {
    "from airflow.sdk import DAG, task": "from airflow import DAG\nfrom airflow.decorators import task",
    "from airflow.sdk import DAG": "from airflow import DAG",
}
"""What the page imports, and how on Airflow 2.11, as it says."""


def can_run(path: str) -> bool:
    """Whether the installed Airflow has what a file of the project needs."""
    return INSTALLED >= (3, 1) or "approval" not in path  # people are asked from 3.1 on


def test_each_block_is_a_file() -> None:
    """None is left out, and none replaces another."""
    assert len(BLOCKS) == PAGE.count("\n```") // 2


def test_the_first_test_has_ten_lines() -> None:
    """The page promises little to write; the name of the file doesn't count."""
    assert len(BLOCKS["tests/test_confirm.py"].splitlines()) - 1 <= 10


@pytest.mark.slow
def test_the_project(tmp_path: Path) -> None:
    """Its tests pass, in a folder with nothing else and with no other configuration."""
    files = {path: block for path, block in BLOCKS.items() if can_run(path)}
    for path, block in files.items():
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        if importlib.util.find_spec("airflow.sdk") is None:
            for on_3, on_2 in AIRFLOW_2.items():
                block = block.replace(on_3, on_2)
        file.write_text(block)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:schemathesis", "tests"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-8_000:]
    assert f"{sum(block.count('def test_') for block in files.values())} passed" in done.stdout
