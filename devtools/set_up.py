"""Create the virtual environment ``.venv``: the pinned Airflow, all tools, and this package (editable).

Runs before anything is installed, so it uses the standard library only. ``make`` calls it whenever
``pyproject.toml`` or ``constraints.txt`` is newer than ``.venv/.ready``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
READY = VENV / ".ready"
CONSTRAINTS = ROOT / "constraints.txt"

PROGRESS_INTERVAL = 10.0
"""Seconds between two progress lines of a long step."""

NO_VENV_MODULE = """\
This Python cannot make virtual environments: its modules venv and ensurepip are missing or broken.
On Debian and Ubuntu: apt install python3-venv. Or name another Python: make PYTHON=/path/to/python3 ..."""


class SetUpError(Exception):
    """Set-up can't continue; the message says why and what to do."""


def pinned(name: str) -> str:
    """Return the requirement for ``name`` as the constraints file pins it, such as ``uv==1.2.3``."""
    match = re.search(rf"^{re.escape(name)}==[^\s;]+", CONSTRAINTS.read_text(), re.MULTILINE)
    if match is None:
        raise SetUpError(f"{CONSTRAINTS.name} does not pin {name}. Run: make constraints")
    return match.group()


def run(title: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
    """Run a step; print a progress line now and then, and its output only if it fails."""
    print(f"{title} ...", flush=True)
    started = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as step:
        output = None
        while output is None:
            try:
                output, _ = step.communicate(timeout=PROGRESS_INTERVAL)
            except subprocess.TimeoutExpired:
                print(f"  still running after {time.monotonic() - started:.0f} s", flush=True)
            except KeyboardInterrupt:
                step.terminate()
                raise
    if step.returncode:
        raise SetUpError(f"{output.strip()}\n\nThis failed (exit code {step.returncode}): {title}")


def make_venv() -> None:
    """Create an empty virtual environment in place of whatever is there."""
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        run(f"Creating .venv with Python {sys.version.split()[0]}", [sys.executable, "-m", "venv", VENV])
    except SetUpError as error:
        shutil.rmtree(VENV, ignore_errors=True)
        raise SetUpError(f"{error}\n\n{NO_VENV_MODULE}") from None


def venv_works() -> bool:
    """Whether ``.venv`` was created here, by the same minor version of Python, and its pip starts."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    probe = "import pip, sys; print('%d.%d' % sys.version_info[:2], sys.prefix)"
    try:
        answer = subprocess.run([VENV_PYTHON, "-c", probe], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return answer.stdout.strip() == f"{version} {VENV}"


def pip_settings() -> dict[str, str]:
    """Return pip's configuration, such as ``{"index-url": ..., "cert": ...}``; the environment wins."""
    listing = subprocess.run(
        [VENV_PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(?:global|install|:env:)\.([a-z-]+)=(['\"])(.*)\2$", listing.stdout, re.MULTILINE)
    return {name: value for name, _, value in found}


def uv_environment(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with pip's mirror and CA bundle for uv, which doesn't read pip's settings."""
    env = dict(environ)
    for pip_name, uv_name in (("index-url", "UV_DEFAULT_INDEX"), ("cert", "SSL_CERT_FILE")):
        if pip_name in settings:
            env.setdefault(uv_name, settings[pip_name])
    return env


def install() -> None:
    """Install uv with pip, and with uv everything else."""
    pip: list[str | Path] = [VENV_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run("Installing uv", [*pip, pinned("uv")])
    uv: list[str | Path] = [VENV / "bin" / "uv", "pip", "install", "--python", VENV_PYTHON]
    pins: list[str | Path] = ["--constraints", CONSTRAINTS, "--build-constraints", CONSTRAINTS]
    run(
        "Installing Airflow, the tools and this package (minutes the first time, then seconds)",
        [*uv, *pins, "--group", "dev", "--editable", ".[sandbox]"],
        uv_environment(pip_settings(), os.environ),
    )


def main() -> int:
    """Set up, or say why not."""
    started = time.monotonic()
    try:
        if not venv_works():
            make_venv()
        install()
    except SetUpError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The next make continues the set-up.", file=sys.stderr)
        return 130
    READY.touch()
    print(f"Set up in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
