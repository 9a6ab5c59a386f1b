"""Pin what we develop and test against: ``constraints.txt``, and a separate file for each older Airflow.

``make constraints`` runs it. An older Airflow gets the packages of its own time: its users have those, and it
doesn't work with every package that was released later.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from devtools.set_up import CONSTRAINTS, ROOT, VENV, SetUpError, pinned, pip_settings, run, uv_environment

OLDER_AIRFLOWS = {
    "2.11.2": "2026-03-15",
    "3.0.6": "2025-09-01",
    "3.1.8": "2026-03-15",
    "3.2.2": "2026-06-01",
}
"""The last release of each older line of Airflow that we support, and a day soon after it."""

FORM_PACKAGES = {"3.0.6": "apache-airflow-providers-fab"}
"""What an Airflow needs to render a connection form, if it doesn't depend on it."""

RELEASED_LATER = {"apache-airflow-providers-common-compat": "2025-12-20", "time-machine": "2025-12-20"}
"""Packages of which we need a version that is younger than Airflow 3.0: the day by which it was released."""


NEXT = "3.4.0b2"
"""The pre-release of the next Airflow. Its constraints are what one run of the tests was seen with."""


def constraints_file(airflow: str) -> Path:
    """Return the constraints file of a version of Airflow."""
    if airflow in OLDER_AIRFLOWS or airflow == NEXT:
        return ROOT / "constraints" / f"airflow-{airflow}.txt"
    return CONSTRAINTS


def airflow_requirements(airflow: str) -> list[str]:
    """Return what to install for a version of Airflow."""
    form_packages = [FORM_PACKAGES[airflow]] if airflow in FORM_PACKAGES else []
    return [f"apache-airflow=={airflow}", *form_packages]


def newest_airflow() -> str:
    """Return the version of Airflow that we develop against, as ``constraints.txt`` pins it."""
    return pinned("apache-airflow").partition("==")[2]


def pin(output: Path, *arguments: str | Path) -> None:
    """Write a constraints file for all Pythons that we support, without the addresses of package indexes."""
    name = output.relative_to(ROOT)
    options = ["--upgrade", "--universal", "--python-version", "3.10", "--no-header", "--no-annotate"]
    no_addresses = ["--no-emit-index-url", "--no-emit-find-links"]
    uv: list[str | Path] = [VENV / "bin" / "uv", "pip", "compile", "--quiet", *options, *no_addresses]
    inputs: list[str | Path] = ["--extra", "sandbox", *arguments, "pyproject.toml"]
    env = uv_environment(pip_settings(), os.environ)
    run(f"Pinning {name}", [*uv, *inputs, "--output-file", name], env)


def pin_older(airflow: str, newest_day: str) -> None:
    """Pin an older Airflow and what the tests need, as of that day."""
    later = [
        option
        for package, released in RELEASED_LATER.items()
        for option in ("--exclude-newer-package", f"{package}={max(newest_day, released)}")
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
        requirement.write("\n".join(airflow_requirements(airflow)))
        requirement.flush()
        as_of = ["--exclude-newer", newest_day, *later]
        pin(constraints_file(airflow), *as_of, "--group", "test", requirement.name)


def main() -> int:
    """Pin everything, or say why that failed."""
    try:
        pin(CONSTRAINTS, "--group", "dev")
        for airflow, newest_day in OLDER_AIRFLOWS.items():
            pin_older(airflow, newest_day)
    except SetUpError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
