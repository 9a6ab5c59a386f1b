"""Show Sphinx roles in docstrings, such as ``:class:`Call```, as names in the docs site's API reference."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":[a-z]+:`(?:~(?:[\w.]*\.)?|\.)?([\w.]+)`")


class DocsRoles(Extension):
    """Replaces the roles of every docstring that the site shows."""

    def on_object(self, *, obj: Object, **_kwargs: Any) -> None:
        """Replace them before the docstring is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = without_roles(obj.docstring.value)


def without_roles(text: str) -> str:
    """Return the text with each role as its target's name in backticks, as Sphinx shows it."""
    return ROLE.sub(r"`\1`", text)
