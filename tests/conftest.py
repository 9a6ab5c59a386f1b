"""What all tests share: an Airflow home of their own, and the documented record."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

# Before anything imports Airflow: it reads its settings once. Each test process has a home of its own.
_HOME = tempfile.TemporaryDirectory(prefix="telzino-tests-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(Path(__file__).parent.parent / "example_dags")
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_HOME.name}/airflow.db"
# Nothing of the machine's own set-up: connections, CA bundles, proxies.
for _name in list(os.environ):
    if _name.startswith("AIRFLOW_CONN_") or _name.endswith("_CA_BUNDLE") or _name.lower().endswith("_proxy"):
        del os.environ[_name]

AGENT_ID = "123e4567-e89b-12d3-a456-426614174000"
CALL_ID = "0fc6daf8-7251-4553-9488-867ba0b82d8e"


@pytest.fixture
def seed_record() -> dict[str, Any]:
    """The record that Telzino's documentation shows for *Get Outbound Call*."""
    return {
        "id": CALL_ID,
        "agent_id": AGENT_ID,
        "to_number": "+18135551234",
        "status": "completed",
        "call_context": "You are calling John to confirm his appointment tomorrow at 2pm.",
        "request_metadata": {"crm_id": "123"},
        "callback_url": "https://your-system.com/telzino/call-result",
        "callback_delivered": True,
        "transcript_id": "de79aee6-ae41-4003-a3f4-ba9d77b59bd8",
        "summary_text": "Appointment Confirmation\n\nThe agent confirmed John's appointment.",
        "error": None,
        "sip_status_code": None,
        "created_at": "2026-06-11T12:49:28.898751+00:00",
        "answered_at": "2026-06-11T12:50:03.843960+00:00",
        "ended_at": "2026-06-11T12:54:15.354244+00:00",
        "duration": 251,
    }
