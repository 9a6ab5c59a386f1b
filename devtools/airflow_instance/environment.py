"""The settings of a disposable Airflow, as environment variables.

Besides making it run they have two aims: nothing leaves the loopback interface of this machine, and waiting
times that make sense only in production are shortened.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOOPBACK = "127.0.0.1"
ADMIN = "admin"
"""Airflow's default user."""

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "VIRTUAL_ENV")
"""What an Airflow process gets of our own environment: no AIRFLOW__ settings, proxies or credentials."""

HOSTNAME_MODULE = "telzino_loopback_hostname"


def free_port() -> int:
    """Return a TCP port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def inherited_environment() -> dict[str, str]:
    """Return the environment of a child process, without Airflow's settings."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, "NO_COLOR": "1", "NO_PROXY": f"{LOOPBACK},localhost", "PYTHONUNBUFFERED": "1"}


def write_home(home: Path, password: str) -> None:
    """Write the files that Airflow expects to find in ``AIRFLOW_HOME``."""
    config = home / "config"
    config.mkdir(parents=True, exist_ok=True)
    # Airflow asks this host for the log of a running task; by default it resolves its name by DNS.
    (config / f"{HOSTNAME_MODULE}.py").write_text(f"def loopback():\n    return {LOOPBACK!r}\n")
    # Where Airflow would write the password that it generates for its default user.
    passwords = home / "simple_auth_manager_passwords.json.generated"
    passwords.touch(mode=0o600)
    passwords.write_text(json.dumps({ADMIN: password}))


def airflow_environment(
    home: Path,
    *,
    dags_folder: Path,
    port: int,
    executor: str,
    sql_alchemy_conn: str | None,
    extra: Mapping[str, str],
) -> dict[str, str]:
    """Return the whole environment of every process of one Airflow. ``extra`` overrides any setting."""
    settings: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags_folder,
            "executor": executor,
            "parallelism": 8,
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "hostname_callable": f"{HOSTNAME_MODULE}.loopback",
            "execution_api_server_url": f"http://{LOOPBACK}:{port}/execution/",
        },
        "database": {"sql_alchemy_conn": sql_alchemy_conn or f"sqlite:///{home / 'airflow.db'}"},
        "api": {
            "host": LOOPBACK,
            "port": port,
            "base_url": f"http://{LOOPBACK}:{port}",
            "secret_key": secrets.token_hex(32),
        },
        "api_auth": {"jwt_secret": secrets.token_hex(32)},
        "logging": {
            # Nobody listens there (see COMPONENTS), unlike at the defaults, where another Airflow may.
            "worker_log_server_port": free_port(),
            "trigger_log_server_port": free_port(),
        },
        "dag_processor": {
            "refresh_interval": 5,
            "parsing_processes": 1,
            "dag_file_processor_timeout": 120,
        },
        "scheduler": {"scheduler_idle_sleep_time": 0.5, "job_heartbeat_sec": 2},
        "triggerer": {"job_heartbeat_sec": 2},
    }
    return {
        **inherited_environment(),
        **as_variables(settings),
        "AIRFLOW_HOME": str(home),
        "PYTHONWARNINGS": "ignore",
        # Airflow's processes set their titles, which would overwrite the environment by which we find them.
        "SPT_NOENV": "1",
        **extra,
    }


def as_variables(settings: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Return Airflow settings, by section and option, as environment variables."""
    return {
        f"AIRFLOW__{section}__{option}".upper(): str(value)
        for section, options in settings.items()
        for option, value in options.items()
    }
