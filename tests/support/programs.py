"""``@needs("postgres")``: a test that needs programs of the system."""

from __future__ import annotations

import os

import pytest

from devtools.system_packages import DEBIAN_PACKAGES, is_installed


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program isn't installed, and say how to install it; in CI the test then fails."""
    missing = [DEBIAN_PACKAGES[name] for name in programs if not is_installed(name)]
    reason = f"needs {', '.join(missing)}: make system-packages" if missing else ""
    return pytest.mark.skipif(bool(missing) and "CI" not in os.environ, reason=reason)
