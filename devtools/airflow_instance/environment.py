"""The settings of a disposable Airflow, as environment variables.

Two aims besides making it run: nothing may leave this machine's loopback, and waiting times that only make
sense in production are shortened.
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

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "VIRTUAL_ENV")
"""What an Airflow process keeps of our own environment: no AIRFLOW__ settings, no proxies, no credentials."""

HOSTNAME_MODULE = "telzino_loopback_hostname"


def free_port() -> int:
    """Return a TCP port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(count: int) -> list[int]:
    """Return that many different free ports."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def passed_on_environment() -> dict[str, str]:
    """Return what a child process gets of our own environment, and that it shall not buffer its output."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**kept, "NO_COLOR": "1", "NO_PROXY": f"{LOOPBACK},localhost", "PYTHONUNBUFFERED": "1"}


def write_home(home: Path, password: str) -> None:
    """Write the files that Airflow expects to find in ``AIRFLOW_HOME``."""
    config = home / "config"
    config.mkdir(parents=True, exist_ok=True)
    (home / "plugins").mkdir(exist_ok=True)
    # Airflow asks this host for the log of a running task; by default it looks its name up in the DNS.
    (config / f"{HOSTNAME_MODULE}.py").write_text(f"def loopback():\n    return {LOOPBACK!r}\n")
    passwords = home / "passwords.json"
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
    """Return the whole environment of every process of one Airflow.

    ``extra`` is added last: it may override any setting.
    """
    worker_log_port, trigger_log_port = free_ports(2)
    settings: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags_folder,
            "plugins_folder": home / "plugins",
            "executor": executor,
            "parallelism": 8,
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "hostname_callable": f"{HOSTNAME_MODULE}.loopback",
            "execution_api_server_url": f"http://{LOOPBACK}:{port}/execution/",
            "simple_auth_manager_users": f"{ADMIN}:admin",
            "simple_auth_manager_passwords_file": home / "passwords.json",
        },
        "database": {
            "sql_alchemy_conn": sql_alchemy_conn or f"sqlite:///{home / 'airflow.db'}",
        },
        "api": {
            "host": LOOPBACK,
            "port": port,
            "base_url": f"http://{LOOPBACK}:{port}",
            "secret_key": secrets.token_hex(32),
            "expose_config": False,
        },
        "api_auth": {"jwt_secret": secrets.token_hex(32)},
        "logging": {
            "base_log_folder": home / "logs",
            "colored_console_log": False,
            "worker_log_server_port": worker_log_port,
            "trigger_log_server_port": trigger_log_port,
        },
        "dag_processor": {
            "refresh_interval": 5,
            # Airflow's own default: reading the DAG files takes a second of CPU each time.
            "min_file_process_interval": 30,
            "parsing_processes": 1,
            "dag_file_processor_timeout": 120,
        },
        "scheduler": {
            "scheduler_idle_sleep_time": 0.5,
            "job_heartbeat_sec": 2,
            "enable_health_check": False,
        },
        "triggerer": {"job_heartbeat_sec": 2},
        "metrics": {"statsd_on": False, "otel_on": False},
        "traces": {"otel_on": False},
        "sentry": {"sentry_on": False},
    }
    return {
        **passed_on_environment(),
        **{
            f"AIRFLOW__{section.upper()}__{option.upper()}": str(value)
            for section, options in settings.items()
            for option, value in options.items()
        },
        "AIRFLOW_HOME": str(home),
        "PYTHONWARNINGS": "ignore",
        # Airflow's processes rename themselves, which would overwrite the environment that we find them by.
        "SPT_NOENV": "1",
        **extra,
    }
