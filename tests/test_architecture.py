"""The picture in ``docs/architecture.md`` is what the code imports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

grimp = pytest.importorskip(
    "grimp", reason="import-linter, which brings it, is only in the development environment"
)

PACKAGE = "airflow_provider_telzino"
PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
KNOWN_TO_ALL = {"models", "exceptions", "get_provider_info", "version_compat"}


def imports_of_rooms() -> dict[str, set[str]]:
    """Return from which other rooms each room imports, as import-linter counts it."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    rooms: dict[str, set[str]] = {}
    for module in graph.modules - {PACKAGE}:
        room = module.split(".")[1]
        imported = {
            each.split(".")[1] for each in graph.find_modules_directly_imported_by(module) - {PACKAGE}
        }
        rooms[room] = rooms.get(room, set()) | (imported - {room} - KNOWN_TO_ALL)
    return {room: imported for room, imported in rooms.items() if room not in KNOWN_TO_ALL}


def picture() -> tuple[dict[str, set[str]], str]:
    """Return the arrows of the picture, and the whole picture."""
    (drawn,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    return {room: set(targets.split(", ")) for room, targets in re.findall(r"(\w+) +──▶ (.+)", drawn)}, drawn


def test_the_arrows_are_the_imports() -> None:
    """All of them, and no others."""
    arrows, drawn = picture()
    imports = imports_of_rooms()

    assert {room: imported for room, imported in imports.items() if imported} == arrows
    assert all(re.search(rf"\b{room}\b", drawn) for room in {*imports, *KNOWN_TO_ALL})


def test_arrows_point_downwards() -> None:
    """A reader may rely on the order of the lines."""
    arrows, drawn = picture()
    column = drawn.index("sensors")
    order = [line[column:].split(" ")[0] for line in drawn.splitlines()]

    assert all(
        order.index(room) < order.index(target) for room, targets in arrows.items() for target in targets
    )
