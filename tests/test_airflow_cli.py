"""What Airflow's own command line shows of the provider and its connection."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from airflow_provider_telzino import __version__
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ConnectionSetter

pytestmark = pytest.mark.slow


def airflow(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one Airflow command, with connection tests allowed."""
    return subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env={**os.environ, "AIRFLOW__CORE__TEST_CONNECTION": "Enabled"},
        capture_output=True,
        text=True,
        check=False,
    )


def rows(*arguments: str) -> list[dict[str, str]]:
    """Run one Airflow command and return its table. Some Airflows log before it."""
    printed = airflow(*arguments, "--output", "json").stdout
    table: list[dict[str, str]] = json.loads(printed[printed.index("[{") :])
    return table


def test_providers_list_and_get() -> None:
    """The provider is listed with its version, and its details can be read."""
    listed = rows("providers", "list")
    details = airflow("providers", "get", "airflow-provider-telzino", "--full", "--output", "json").stdout

    (ours,) = [each for each in listed if each["package_name"] == "airflow-provider-telzino"]
    assert ours["version"] == __version__
    assert "TelzinoHook" in details


def test_hooks_list_the_connection_type() -> None:
    """Airflow knows which hook serves the connection type."""
    hooks = rows("providers", "hooks")

    (ours,) = [each for each in hooks if each["connection_type"] == "telzino"]
    assert ours["conn_id_attribute_name"] == "telzino_conn_id"
    assert ours["hook_name"] == "Telzino"


def test_a_good_connection(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """The connection test reads one agent, and places no call."""
    connect(sandbox, oauth=True)

    done = airflow("connections", "test", "telzino_default")

    assert done.returncode == 0
    assert "Connection success" in done.stdout
    assert [each.method for each in sandbox.requests] == ["POST", "GET"]
    assert sandbox.calls == []


def test_a_bad_connection(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """A wrong secret is reported, without the secret."""
    connect(sandbox, oauth=True, password="not-the-secret")

    done = airflow("connections", "test", "telzino_default")

    assert "refused the client credentials" in done.stdout
    assert "not-the-secret" not in done.stdout + done.stderr
