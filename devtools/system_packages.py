"""Programs that come from the system, not from PyPI: where they are, and the Debian package of each.

``python -m devtools.system_packages`` installs what is missing (as root, on Debian or Ubuntu).
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

DEBIAN_PACKAGES = {
    "chromium": "chromium",
    "initdb": "postgresql",
    "postgres": "postgresql",
    "redis-server": "redis-server",
}
"""The programs, and the package that brings each."""

POSTGRES_FOLDERS = "/usr/lib/postgresql/*/bin"
"""Debian keeps PostgreSQL's own programs out of PATH, one folder a version."""


class MissingProgramError(Exception):
    """A program isn't installed; the message says how to get it."""


def find_program(name: str) -> Path:
    """Return where a program is, or raise ``MissingProgramError``."""
    folders = [os.environ.get("PATH", os.defpath), *sorted(glob.glob(POSTGRES_FOLDERS), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise MissingProgramError(
            f"{name} is not installed. On Debian and Ubuntu: make system-packages, "
            f"or apt-get install {DEBIAN_PACKAGES[name]}"
        )
    return Path(found)


def missing_packages() -> list[str]:
    """Return the Debian packages whose programs aren't there."""
    packages = set()
    for program, package in DEBIAN_PACKAGES.items():
        try:
            find_program(program)
        except MissingProgramError:
            packages.add(package)
    return sorted(packages)


def main() -> int:
    """Install what is missing; return the exit code."""
    packages = missing_packages()
    if not packages:
        print("All system packages are there.")
        return 0
    apt_get = shutil.which("apt-get")
    if os.geteuid() != 0 or apt_get is None:
        print(f"Missing: {', '.join(packages)}. Installing them needs root and apt-get.", file=sys.stderr)
        return 1
    print(f"Installing {', '.join(packages)} ...", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", *packages]):
        step = subprocess.run(
            [apt_get, *command],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if step.returncode:
            print(f"{step.stdout}{step.stderr}\nThis failed: apt-get {' '.join(command)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
