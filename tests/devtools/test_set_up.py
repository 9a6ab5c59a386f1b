"""Set-up's error messages; that it works at all is shown by every ``make`` in a fresh clone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from devtools import set_up

if TYPE_CHECKING:
    from pathlib import Path


def test_a_step_that_fails_shows_its_output() -> None:
    """Together with its title and exit code, since the output may not explain anything."""
    command = [sys.executable, "-c", "print('because'); raise SystemExit(3)"]

    with pytest.raises(set_up.SetUpError, match=r"(?s)because.*exit code 3.*Trying"):
        set_up.run("Trying", command)


def test_a_python_without_venv_gets_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's python3 lacks ensurepip: the error says so, and no half-made folder is left."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nmkdir -p \"$3\"\necho 'ensurepip is not available'\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    monkeypatch.setattr(set_up, "VENV", tmp_path / "venv")

    with pytest.raises(set_up.SetUpError, match=r"(?s)ensurepip is not available.*apt install python3-venv"):
        set_up.make_venv()

    assert not (tmp_path / "venv").exists()


def test_uv_uses_the_settings_of_pip() -> None:
    """Pip's mirror and CA bundle, unless uv has settings of its own."""
    pip = {"index-url": "https://mirror.example/simple", "cert": "/ca.pem", "timeout": "60"}

    env = set_up.uv_environment(pip, {"SSL_CERT_FILE": "/own.pem"})

    assert env == {"UV_DEFAULT_INDEX": "https://mirror.example/simple", "SSL_CERT_FILE": "/own.pem"}
