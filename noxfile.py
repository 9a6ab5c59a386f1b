"""The version matrix: the built wheel on each line of Airflow that we support, with Python 3.10 to 3.13.

``make test-matrix`` runs all of it. Nox's own options select cells: ``ARGS="--tags ci"`` is one cell for
each older Airflow (``make test`` covers the newest), ``ARGS="--tags airflow-2.11.2"`` one Airflow,
``ARGS="--tags next"`` the pre-release of the next one, where the tests of a whole Airflow run as well, and
``ARGS="--list"`` lists all.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nox

from devtools.constraints import NEXT, airflow_requirements, constraints_file, newest_airflow
from devtools.set_up import pip_settings, uv_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NEWEST = newest_airflow()
CELLS = {
    "2.11.2": ["3.10", "3.12"],
    "3.0.6": ["3.11"],
    "3.1.8": ["3.13"],
    "3.2.2": ["3.12"],
    NEWEST: ["3.13", "3.10", "3.12", "3.11"],
    NEXT: ["3.13"],
}
"""The Pythons for each Airflow. CI runs the first of each older one, which together are all Pythons."""

STAGED = ("docs", "example_dags", "tests", "README.md", "pyproject.toml")
"""What the tests need of this repository, without the package: they must import the installed one."""
NOT_STAGED = shutil.ignore_patterns(
    *("__pycache__", "packaging", "integration", "benchmarks", "devtools", "docs", "properties"),
    *("test_fuzz.py", "test_crashes.py", "test_campaign_kills.py", "test_clock_changes.py"),
)
"""Tests of our own tools, tests with tools that can't be installed with older Airflows, and tests that take
long but hardly depend on Airflow."""

WHOLE_AIRFLOW_TESTS = [
    f"tests/integration/test_{name}.py" for name in ("clears", "end_to_end", "placing", "without_workers")
]
"""The tests that wait, place calls, and run without workers on a whole Airflow."""

nox.needs_version = ">=2026.1"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.envdir = ".work/nox"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

WHEELS = Path(nox.options.envdir).resolve() / "wheel"

# pyenv puts only some of its Pythons on PATH.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, PYENV.glob("versions/3.*/bin"))])


def cells() -> list[object]:
    """Return the cells of the matrix."""
    return [
        nox.param(
            python,
            airflow,
            id=f"airflow-{airflow}-python-{python}",
            tags=[f"airflow-{airflow}", *tags(airflow, is_first=python == pythons[0])],
        )
        for airflow, pythons in CELLS.items()
        for python in pythons
    ]


def tags(airflow: str, *, is_first: bool) -> list[str]:
    """Return what else selects a cell."""
    if airflow == NEXT:
        return ["next"]
    return ["ci"] if airflow != NEWEST and is_first else []


@nox.session(venv_backend="none")
def wheel(session: nox.Session) -> None:
    """Build the wheel that is installed in all cells."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    options = ["--wheel", "--no-isolation", "--outdir", str(WHEELS)]
    session.run(sys.executable, "-m", "build", *options, silent=True)


@nox.session(requires=["wheel"])
@nox.parametrize("python,airflow", cells())
def tests(session: nox.Session, airflow: str) -> None:
    """Run the unit tests and the example DAGs on one Airflow and one Python."""
    install(session, airflow, "test")
    stage(session, STAGED, NOT_STAGED)
    # More processes than CI has cores, since many of the tests wait. None of them needs that plugin.
    run_pytest(session, "-n", "4", "-p", "no:schemathesis", *session.posargs)


@nox.session(requires=["wheel"], tags=["next"], python=CELLS[NEXT])
def whole_airflow(session: nox.Session) -> None:
    """Run the tests of a whole Airflow on the pre-release of the next one (15 minutes)."""
    install(session, NEXT, "airflow")
    stage(session, (*STAGED, "devtools"), shutil.ignore_patterns("__pycache__"))
    run_pytest(session, "-n", "2", *(session.posargs or WHOLE_AIRFLOW_TESTS))


def install(session: nox.Session, airflow: str, group: str) -> None:
    """Install the wheel, one Airflow, and a dependency group."""
    (built,) = WHEELS.glob("*.whl")
    session.install(
        *("--exact", "--reinstall-package", "airflow-provider-telzino", "--group", group),
        *("--constraints", str(constraints_file(airflow))),
        *(f"{built}[sandbox]", *airflow_requirements(airflow)),
        env=uv_environment(pip_settings(), os.environ),
    )


def stage(session: nox.Session, names: Iterable[str], ignored: Callable[[str, list[str]], set[str]]) -> None:
    """Copy what the tests need of this repository to a folder of the session, and change to it."""
    folder = Path(session.create_tmp()) / "stage"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in names:
        if Path(name).is_dir():
            shutil.copytree(name, folder / name, ignore=ignored)
        else:
            shutil.copy(name, folder)
    session.chdir(folder)


def run_pytest(session: nox.Session, *options: str) -> None:
    """Run the staged tests; those that share an Airflow run in one process."""
    session.run("python", "-m", "pytest", "--dist", "loadgroup", "-q", *options)
