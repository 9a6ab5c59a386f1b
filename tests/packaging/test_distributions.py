"""The wheel and the sdist hold what their users need, and nothing else."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from airflow_provider_telzino import __version__
from airflow_provider_telzino.get_provider_info import get_provider_info

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "airflow_provider_telzino"

UNDECIDED = ["Author", "Author-email", "Maintainer", "Maintainer-email"]
UNDECIDED += ["License", "License-Expression", "License-File", "Home-page", "Project-URL"]
"""Metadata that is the owner's to give. What is decided is removed here."""
ADDRESS = "https://docs.example.com/telzino/"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build both and return their paths: sdist, then the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def in_wheel(distributions: tuple[Path, Path]) -> set[str]:
    """Return the names of the files in the wheel."""
    with zipfile.ZipFile(distributions[1]) as wheel:
        return set(wheel.namelist())


@pytest.fixture(scope="module")
def in_sdist(distributions: tuple[Path, Path]) -> set[str]:
    """Return the names of the files in the sdist, without its top folder."""
    with tarfile.open(distributions[0]) as sdist:
        return {name.partition("/")[2] for name in sdist.getnames()}


def files_in(*folders: str) -> set[str]:
    """Return all files in these folders of the work tree, without what Python and editors leave there."""
    files = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


def test_the_wheel_has_the_whole_package(in_wheel: set[str]) -> None:
    """Every module and every file that a module reads, and the marker of typed packages."""
    assert files_in(PACKAGE) <= in_wheel
    assert f"{PACKAGE}/py.typed" in in_wheel


def test_the_wheel_has_nothing_else(in_wheel: set[str]) -> None:
    """No tests, no developers' tools: top-level names belong to everybody."""
    tops = {name.partition("/")[0] for name in in_wheel}

    assert {top for top in tops if not top.endswith(".dist-info")} == {PACKAGE}


def test_airflow_finds_the_provider_in_the_wheel(distributions: tuple[Path, Path]) -> None:
    """By the entry point that Airflow looks for."""
    entry_points = configparser.ConfigParser()
    with zipfile.ZipFile(distributions[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        entry_points.read_string(wheel.read(name).decode())

    assert dict(entry_points["apache_airflow_provider"]) == {
        "provider_info": f"{PACKAGE}.get_provider_info:get_provider_info"
    }


def test_what_pypi_would_say(distributions: tuple[Path, Path]) -> None:
    """The description can be shown, and the wheel has nothing that doesn't belong there."""
    both, tools = list(map(str, distributions)), Path(sys.executable).parent

    for command in ["twine", "check", "--strict", *both], ["check-wheel-contents", both[1]]:
        done = subprocess.run([tools / command[0], *command[1:]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_metadata_names_nothing_that_the_owner_has_not_given(distributions: tuple[Path, Path]) -> None:
    """No licence, person or address: ``docs/releasing.md`` lists what is to be decided."""
    with zipfile.ZipFile(distributions[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        found = message_from_bytes(wheel.read(name))

    assert [field for field in UNDECIDED if field in found] == []
    assert not [each for each in found.get_all("Classifier", []) if each.startswith("License")]


@pytest.fixture(scope="module")
def with_address(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what a wheel installs whose ``pyproject.toml`` gives the docs' address."""
    folder = tmp_path_factory.mktemp("address")
    source = folder / "source"
    shutil.copytree(ROOT / PACKAGE, source / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", source)
    text = (ROOT / "pyproject.toml").read_text()
    given, lines = re.subn(
        r'^(?:# )?Documentation = ".*"$', f'Documentation = "{ADDRESS}"', text, flags=re.MULTILINE
    )
    assert lines == 1
    (source / "pyproject.toml").write_text(given)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(folder / "installed")  # noqa: S202  # our own
    return folder / "installed"


def test_one_line_gives_the_address_of_the_docs(with_address: Path) -> None:
    """It is in the metadata that PyPI and pip show."""
    (found,) = metadata.distributions(name="airflow-provider-telzino", path=[str(with_address)])

    assert found.metadata.get_all("Project-URL") == [f"Documentation, {ADDRESS}"]


def test_airflows_page_of_providers_leads_to_the_docs(with_address: Path) -> None:
    """Its API server takes the address from the metadata."""
    code = """
from airflow.api_fastapi.core_api.services.public.providers import _provider_mapper
from airflow.providers_manager import ProvidersManager
print(_provider_mapper(ProvidersManager().providers["airflow-provider-telzino"]).documentation_url)
"""
    environment = {**os.environ, "PYTHONPATH": str(with_address)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)

    assert done.stdout.decode().splitlines()[-1] == ADDRESS


def test_the_version_is_in_one_place(distributions: tuple[Path, Path]) -> None:
    """The package's; everything else reads it, and the changelog begins with it."""
    assert all(f"-{__version__}" in path.name for path in distributions)
    assert get_provider_info()["versions"] == [__version__]
    heading = (ROOT / "CHANGELOG.md").read_text().splitlines()[2]
    assert heading.startswith(f"## {__version__} ")
    literal = re.compile(rf"[\"']{re.escape(__version__)}[\"']")
    files = [*ROOT.glob("*.toml"), *(ROOT / PACKAGE).rglob("*.py")]
    assert [path.name for path in files if literal.search(path.read_text())] == ["__init__.py"]


def test_the_registry_of_providers_would_find_what_we_name() -> None:
    """Each class exists; addresses are for the owner to give."""
    entry = yaml.safe_load((ROOT / ".airflow-registry.yaml").read_text())

    assert entry["package-name"] == "airflow-provider-telzino"
    assert not {"logo", "docs-url", "source-url"} & set(entry)
    for each in [*entry["operators"], *entry["other"]]:
        module, _, name = each["module"].rpartition(".")
        assert hasattr(importlib.import_module(module), name)
        assert each["description"]


def test_the_sdist_has_all_that_the_work_tree_has(in_sdist: set[str]) -> None:
    """Enough to build, to test, to read and to learn from: package, tests and their tools, docs, examples."""
    top_files = {each.name for each in ROOT.glob("*.md")}
    top_files |= {"Makefile", "constraints.txt", "mkdocs.yml", "pyproject.toml"}
    folders = ("devtools", "docs", "example_dags", "tests")

    missing = (top_files | files_in(PACKAGE, *folders)) - in_sdist

    assert missing == set()


def test_the_sdist_has_nothing_of_a_developers_machine(in_sdist: set[str]) -> None:
    """No virtual environment, no caches, no logs."""
    assert not [name for name in in_sdist if name.startswith((".venv", ".work")) or name.endswith(".pyc")]
