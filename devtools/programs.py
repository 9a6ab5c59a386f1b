"""Programs that come from the system, not from PyPI: PostgreSQL, Redis and Chromium."""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

POSTGRES_FOLDERS = "/usr/lib/postgresql/*/bin"
"""Debian keeps PostgreSQL's own programs out of PATH, one folder for each version."""


class MissingProgramError(Exception):
    """A program isn't installed; the message says how to install it."""


def find_program(name: str) -> Path:
    """Return the path of a program, or raise ``MissingProgramError``."""
    folders = [os.environ.get("PATH", os.defpath), *sorted(glob.glob(POSTGRES_FOLDERS), reverse=True)]
    if found := shutil.which(name, path=os.pathsep.join(folders)):
        return Path(found)
    raise MissingProgramError(f"{name} is not installed. On Debian and Ubuntu: make system-packages")
