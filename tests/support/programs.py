"""``@needs("postgres")``: a test that needs programs of the system."""

from __future__ import annotations

import os

import pytest

from devtools.programs import MissingProgramError, find_program


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program isn't installed, and say how to install it; in CI the test then fails."""
    missing = ""
    for program in programs:
        try:
            find_program(program)
        except MissingProgramError as error:
            missing = str(error)
    return pytest.mark.skipif(bool(missing) and "CI" not in os.environ, reason=missing)
