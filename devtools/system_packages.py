"""Programs that come from the system, not from PyPI: where they are, and the Debian package of each.

``python -m devtools.system_packages`` installs the missing ones (as root, on Debian or Ubuntu).
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
"""The programs, and the package that contains each."""

POSTGRES_FOLDERS = "/usr/lib/postgresql/*/bin"
"""Debian keeps PostgreSQL's own programs out of PATH, one folder for each version."""


class MissingProgramError(Exception):
    """A program isn't installed; the message says how to install it."""


def find_program(name: str) -> Path:
    """Return the path of a program, or raise ``MissingProgramError``."""
    folders = [os.environ.get("PATH", os.defpath), *sorted(glob.glob(POSTGRES_FOLDERS), reverse=True)]
    if found := shutil.which(name, path=os.pathsep.join(folders)):
        return Path(found)
    raise MissingProgramError(
        f"{name} is not installed. On Debian and Ubuntu: make system-packages, "
        f"or apt-get install {DEBIAN_PACKAGES[name]}"
    )


def is_installed(name: str) -> bool:
    """Return whether a program is installed."""
    try:
        find_program(name)
    except MissingProgramError:
        return False
    return True


def main() -> int:
    """Install what is missing; return the exit code."""
    packages = sorted({package for name, package in DEBIAN_PACKAGES.items() if not is_installed(name)})
    if not packages:
        print("All system packages are installed.")
        return 0
    apt_get = shutil.which("apt-get")
    if os.geteuid() != 0 or apt_get is None:
        print(f"Missing: {', '.join(packages)}. Installing them needs root and apt-get.", file=sys.stderr)
        return 1
    print(f"Installing {', '.join(packages)} ...", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", *packages]):
        if code := subprocess.call([apt_get, *command], env=env, stdin=subprocess.DEVNULL):
            print(f"This failed: apt-get {' '.join(command)}", file=sys.stderr)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
