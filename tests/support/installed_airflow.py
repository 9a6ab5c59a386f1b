"""The version of Airflow that the tests run on."""

from __future__ import annotations

from importlib.metadata import version

from packaging.version import Version

INSTALLED = Version(version("apache-airflow")).release[:2]
"""Such as ``(3, 3)``."""
