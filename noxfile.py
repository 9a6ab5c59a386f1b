"""The version matrix: the built wheel on each line of Airflow that we support, with Python 3.10 to 3.13.

``make test-matrix`` runs all of it. Nox's own options select cells: ``ARGS="--tags ci"`` is one cell for
each older Airflow (``make test`` covers the newest), ``ARGS="--tags airflow-2.11.2"`` one Airflow,
``ARGS="--tags next"`` the pre-release of the next one, and ``ARGS="--list"`` lists all.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

from devtools.constraints import NEXT, airflow_requirements, constraints_file, newest_airflow
from devtools.set_up import pip_settings, uv_environment

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
    *("__pycache__", "packaging", "integration", "benchmarks", "devtools", "properties"),
    *("test_fuzz.py", "test_crashes.py"),
)
"""Tests of our own tools, tests with tools that can't be installed with older Airflows, and tests that take
long but hardly depend on Airflow."""

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
    (built,) = WHEELS.glob("*.whl")
    session.install(
        *("--exact", "--reinstall-package", "airflow-provider-telzino", "--group", "test"),
        *(
            "--constraints",
            str(constraints_file(airflow)),
            f"{built}[sandbox]",
            *airflow_requirements(airflow),
        ),
        env=uv_environment(pip_settings(), os.environ),
    )
    stage = Path(session.create_tmp()) / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    for name in STAGED:
        if Path(name).is_dir():
            shutil.copytree(name, stage / name, ignore=NOT_STAGED)
        else:
            shutil.copy(name, stage)
    session.chdir(stage)
    # More processes than CI has cores, since many of the tests wait. None of them needs that plugin.
    options = ["-n", "4", "--dist", "loadgroup", "-q", "-p", "no:schemathesis"]
    session.run("python", "-m", "pytest", *options, *session.posargs)
