"""Tests that share an Airflow run in one process: else each process would start one."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is only one process")
@pytest.mark.xdist_group("of this test")
def test_groups_are_heeded(request: pytest.FixtureRequest) -> None:
    """Pytest and pytest-xdist work together: xdist knows a group by the end of the test's name."""
    assert request.node.nodeid.endswith("@of this test")
