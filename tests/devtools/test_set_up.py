"""Set-up's decisions; that it works at all is shown by every ``make`` in a fresh clone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from devtools import set_up

if TYPE_CHECKING:
    from pathlib import Path


def test_uv_is_installed_at_the_version_that_constraints_name() -> None:
    """No unpinned tool."""
    assert set_up.pinned("uv").startswith("uv==")


def test_a_name_that_constraints_lack_is_an_error_with_a_remedy() -> None:
    """The message says how to pin it."""
    with pytest.raises(set_up.SetUpError, match="make constraints"):
        set_up.pinned("no-such-tool")


def test_a_step_that_fails_shows_its_output() -> None:
    """And its title and exit code, since the output may not tell."""
    command = [sys.executable, "-c", "print('because'); raise SystemExit(3)"]

    with pytest.raises(set_up.SetUpError, match=r"(?s)because.*exit code 3.*Trying"):
        set_up.run("Trying", command)


def test_a_python_without_venv_gets_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's python3 lacks ensurepip: say so, and leave no half-made folder."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nmkdir -p \"$3\"\necho 'ensurepip is not available'\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    monkeypatch.setattr(set_up, "VENV", tmp_path / "venv")

    with pytest.raises(set_up.SetUpError, match=r"(?s)ensurepip is not available.*apt install python3-venv"):
        set_up.make_venv()

    assert not (tmp_path / "venv").exists()


def test_uv_learns_what_only_pip_was_told() -> None:
    """A mirror and a CA bundle of pip's settings, unless uv has settings of its own."""
    pip = {"index-url": "https://mirror.example/simple", "cert": "/ca.pem", "timeout": "60"}

    env = set_up.uv_environment(pip, {"SSL_CERT_FILE": "/own.pem"})

    assert env == {"UV_DEFAULT_INDEX": "https://mirror.example/simple", "SSL_CERT_FILE": "/own.pem"}
