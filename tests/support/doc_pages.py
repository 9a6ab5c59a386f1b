"""The code blocks of the docs, and the names that a reader of a snippet takes for granted."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]

FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One code block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def tree(self) -> ast.Module:
        """The parsed Python."""
        return ast.parse(self.text)

    @property
    def functions(self) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
        """The functions that it defines at its top."""
        found = (each for each in self.tree.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)))
        return {each.name: each for each in found}

    @property
    def is_example(self) -> bool:
        """Whether it shows an example DAG, which has tests of its own."""
        return self.text.startswith("--8<--\nexample_dags/")

    def makes_a_dag(self, function: str) -> bool:
        """Whether a function is decorated with ``@dag``."""
        decorators = (
            each.func for each in self.functions[function].decorator_list if isinstance(each, ast.Call)
        )
        return any(isinstance(each, ast.Name) and each.id == "dag" for each in decorators)

    @property
    def whole_dag(self) -> str | None:
        """The name of the function that makes its DAG, if it is a DAG file as Airflow needs it."""
        if "@dag(" not in self.text or self.assumed_names:
            return None
        calls = (each.value for each in self.tree.body if isinstance(each, ast.Expr))
        created = {
            each.func.id for each in calls if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
        }
        return next(iter(created & set(self.functions)), None)

    @property
    def assumed_names(self) -> set[str]:
        """Names that it uses, but neither defines nor imports."""
        nodes = list(ast.walk(self.tree))
        bound = {
            each.id for each in nodes if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load)
        }
        bound |= {each.arg for each in nodes if isinstance(each, ast.arg)}
        bound |= {
            each.name
            for each in nodes
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        }
        imports = (each for each in nodes if isinstance(each, (ast.Import, ast.ImportFrom)))
        bound |= {(name.asname or name.name).partition(".")[0] for each in imports for name in each.names}
        used = {each.id for each in nodes if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}
        return used - bound - set(dir(builtins))


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages; with languages, only those."""
    found = (block for page in PAGES for block in _blocks(page))
    return [block for block in found if not languages or block.language in languages]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        language = found[2].partition(" ")[0]
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, language, textwrap.dedent(found[3]))


def assumed(block: Block, sandbox: Any) -> dict[str, Any]:
    """Return what a block uses without defining it. Tasks among them join the DAG that is being built."""
    from collections import Counter
    from datetime import timedelta

    from airflow.sdk import dag, task, task_group

    from airflow_provider_telzino.hooks.telzino import TelzinoHook
    from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator
    from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator
    from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator
    from airflow_provider_telzino.sensors.call import TelzinoCallSensor

    def upstream() -> Any:
        return TelzinoPlaceCallOperator(task_id="upstream", to_number="+15005550100")

    def listed() -> Any:
        contacts = [{"to_number": "+15005550100"}]
        if "read_contacts()" not in block.text:
            return lambda run_id=None: contacts
        return task(task_id="read_contacts")(lambda: contacts)

    class Contacts:
        def __init__(self, conn_id: str = "") -> None:
            """Connect to nothing."""

        def get_records(self, *_: object, **__: object) -> list[tuple[object, ...]]:
            return [(17, "+15005550100", "Ada", "Europe/Berlin")]

        def get_first(self, *_: object, **__: object) -> None:
            return None

    makers: dict[str, Callable[[], Any]] = {
        "Counter": lambda: Counter,
        "SqliteHook": lambda: Contacts,
        "TelzinoCallSensor": lambda: TelzinoCallSensor,
        "TelzinoCampaignOperator": lambda: TelzinoCampaignOperator,
        "TelzinoGetTranscriptOperator": lambda: TelzinoGetTranscriptOperator,
        "TelzinoHook": lambda: TelzinoHook,
        "TelzinoPlaceCallOperator": lambda: TelzinoPlaceCallOperator,
        "call": upstream,
        "call_ids_from_crm": lambda: lambda: [str(uuid4())],
        "campaign": upstream,
        "dag": lambda: dag,
        "place": upstream,
        "read_contacts": listed,
        "record": lambda: sandbox.calls[-1],
        "report": lambda: task(task_id="report")(lambda results: None),
        "sandbox": lambda: sandbox,
        "task": lambda: task,
        "task_group": lambda: task_group,
        "timedelta": lambda: timedelta,
    }
    return {name: makers[name]() for name in block.assumed_names}
