"""Where a campaign's contacts come from, and how they are read without being stored by Airflow."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_telzino.exceptions import TelzinoArgumentError


def listed(given: object) -> Iterable[Any]:
    """Return the contacts one by one.

    Args:
        given: A list, or another iterable that has an order; or the text of a list, JSON or Python, which a
            rendered template is.

    Raises:
        TelzinoArgumentError: It is something else.
    """
    if isinstance(given, str):
        given = _parsed(given)
    if isinstance(given, Mapping):
        problem = "is a single dict. Put it into a list"
    elif isinstance(given, (set, frozenset)):
        problem = "is a set, which has no order. Sort it into a list"
    elif isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        problem = f"is of type {type(given).__name__}. Use the XCom or the function that has the list"
    else:
        return given
    raise TelzinoArgumentError(f"`contacts` should be a list of numbers or dicts, but {problem}.")


def _parsed(text: str) -> object:
    """Read the text of a list, which a template becomes unless the DAG renders native objects."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise TelzinoArgumentError(
        f"`contacts` should be a list of numbers or dicts, but is text of {len(text):,} characters that is "
        "neither JSON nor Python. Pass the XCom itself (`contacts=task.output`), or end the template with "
        "`| tojson`."
    )
