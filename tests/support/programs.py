"""``@needs("postgres")``: a test that needs programs of the system."""

from __future__ import annotations

import os

import pytest

from devtools.system_packages import MissingProgramError, find_program


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program isn't installed, and say how to get it; in CI the test then fails."""
    missing = None
    for program in programs:
        try:
            find_program(program)
        except MissingProgramError as error:
            missing = str(error)
    return pytest.mark.skipif(missing is not None and "CI" not in os.environ, reason=missing or "")
