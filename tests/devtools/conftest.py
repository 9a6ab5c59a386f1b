"""Fixtures of the tests of our own tools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.demos import StartDemo, demos


@pytest.fixture
def start_demo() -> Iterator[StartDemo]:
    """A function that starts a demo; what it has started ends with the test."""
    with demos() as start:
        yield start
