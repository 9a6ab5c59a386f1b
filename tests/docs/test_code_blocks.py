"""Every code block of the docs works: Python runs, shell commands exist, JSON can be read."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pendulum
import pytest

if importlib.util.find_spec("airflow.sdk") is None:
    pytest.skip("the docs are written for Airflow 3", allow_module_level=True)

from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sandbox.__main__ import parser as sandbox_parser
from tests.conftest import ConnectionSetter
from tests.support.contact_dags.dags import serialized
from tests.support.dag_test_run import RESULT_MARK
from tests.support.doc_pages import FENCE, PAGES, ROOT, Block, assumed, blocks

PROJECTS = {"testing.md"}
"""Pages whose blocks are the files of one project, which their own tests run as a whole."""
PYTHON = [each for each in blocks("python") if each.page.name not in PROJECTS and not each.is_example]
CALL_OF_A_PAGE = {"to_number": "+15005550100", "id": 17, "appointment": "2100-01-01T10:00:00+00:00"}


class TaskInstance:
    """That of a task after a dry run."""

    def xcom_pull(self, task_ids: str) -> dict[str, Any]:
        """Return the plan."""
        return {"rejects": [{"position": 1, "reason": "..."}]}


EXERCISES: dict[str, Callable[[Any, Sandbox], object]] = {
    "is_over": lambda function, sandbox: asyncio.run(function(sandbox.calls[-1]["id"])),
    "may_call": lambda function, _: function(CALL_OF_A_PAGE, pendulum.now()),
    "read_contacts": lambda function, _: function(run_id="nightly"),
    "valid_contacts": lambda function, _: function(run_id="nightly", ti=TaskInstance()),
}
"""How to run the functions that a snippet only defines, for others to call."""


def test_there_are_blocks() -> None:
    """The tests below have found them."""
    assert len(PYTHON) >= 20
    assert len(blocks("bash")) >= 8


def test_every_block_says_what_it_is() -> None:
    """What has no test is marked as plain text. A page that is a project has TOML, too."""
    tested = {"python", "bash", "json", "text"}
    others = [
        str(block) for block in blocks() if block.language not in tested and block.page.name not in PROJECTS
    ]

    assert others == []


def test_no_block_is_only_indented() -> None:
    """Such a block could not say what it is. Only plain text may be indented."""
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        after_a_paragraph = re.findall(r"^[^-\d\s:!].*\n\n    (\S.*)", text, re.MULTILINE)
        assert after_a_paragraph == [], page.name


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python(
    sandbox: Sandbox, connect: ConnectionSetter, monkeypatch: pytest.MonkeyPatch, block: Block
) -> None:
    """It runs, Airflow can store its DAG and that of its tasks, and its functions can be called."""
    from airflow.sdk import DAG

    connect(sandbox)
    monkeypatch.setenv("AIRFLOW_VAR_CALLS_STOPPED", "")
    sandbox.add_call(status="completed", duration=17)
    code = compile(block.text.replace("https://api.telzino.com", sandbox.url), str(block), "exec")

    with DAG("docs", schedule=None, params={"to_number": "+15005550100", "call_id": ""}) as dag:
        names = assumed(block, sandbox)
        exec(code, names)  # noqa: S102  # our own documentation

    if dag.tasks:
        assert serialized(dag)
    for name in block.functions:
        if name.startswith("test_"):
            names[name]()
        elif block.makes_a_dag(name):
            assert serialized(names[name]())
        elif name in EXERCISES:
            EXERCISES[name](names[name], sandbox)
        else:
            others = block.text.replace(f"def {name}(", "")
            assert re.search(rf"\b{name}(\.expand\w*)?\(", others), f"nothing runs {name}"


@pytest.mark.slow
def test_whole_dags(tmp_path: Path) -> None:
    """Those that are DAG files succeed, each with one call, which completes."""
    found = {each.whole_dag: each for each in PYTHON if each.whole_dag}
    for name, block in found.items():
        (tmp_path / f"{name}.py").write_text(block.text)

    command = [sys.executable, "-m", "tests.support.doc_dag_run", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    result = f"\n{RESULT_MARK}"
    assert result in done.stdout, done.stdout[-4_000:] + done.stderr[-4_000:]
    runs = json.loads(done.stdout.partition(result)[2].splitlines()[0])
    assert len(runs) >= 3
    assert runs == {name: {"state": "success", "calls": ["completed"]} for name in found}


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a shell block as words, without comments and what sets variables."""
    text = re.sub(r"\$\(.*?\)", "X", block.text.replace("\\\n", " "))
    # A newline ends a command, but not in quotes.
    text = re.sub(r"'[^']*'", lambda quoted: quoted[0].replace("\n", " "), text)
    words = [shlex.split(line, comments=True) for line in text.splitlines()]
    found: list[list[str]] = []
    for line in filter(None, words):
        while line and re.match(r"[A-Z_]+=", line[0]):
            line.pop(0)
        while "&&" in line:
            found.append(line[: line.index("&&")])
            line = line[line.index("&&") + 1 :]
        found.append(line)
    return [line for line in found if line]


def airflow_accepts(arguments: list[str]) -> None:
    """Parse an Airflow command, without running it."""
    from airflow.cli.cli_parser import get_parser

    get_parser().parse_args(arguments)


def check_command(words: list[str]) -> None:
    """Raise if the command can't be run as it is written."""
    name, *rest = words
    if name == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in rest if "=" not in word and word not in targets] == []
    elif name == "airflow":
        airflow_accepts(rest)
    elif rest[:2] == ["-m", "airflow_provider_telzino.sandbox"]:
        sandbox_parser().parse_args(rest[2:])
    elif rest[:2] == ["-m", "pytest"]:
        assert all((ROOT / word).exists() for word in rest[2:] if not word.startswith("-"))
    elif name == "pip":
        extras = re.findall(r"\[(\w+)\]", " ".join(rest))
        pyproject = (ROOT / "pyproject.toml").read_text()
        assert all(re.search(rf"^{extra} = \[", pyproject, re.MULTILINE) for extra in extras)
        files = [
            re.sub(r"\[\w+\]", "", word) for word in rest if word.startswith("./airflow-provider-telzino")
        ]
        assert all(
            (ROOT / word.removeprefix("./airflow-provider-telzino").lstrip("/")).exists() for word in files
        )
    else:
        assert name in {"curl", "export", "mkdir", "python3", "source"}, name


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_commands(block: Block) -> None:
    """Make has the targets, and the programs know the options."""
    for words in commands(block):
        try:
            check_command(words)
        except SystemExit as error:
            pytest.fail(f"{shlex.join(words)}: {error}")


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json(block: Block) -> None:
    """It can be read."""
    json.loads(block.text)
