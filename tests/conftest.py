"""Fixtures of all tests: an Airflow home of their own, a sandbox with a connection to it, fixed seeds."""

from __future__ import annotations

import json
import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from hypothesis import settings

# Before anything imports Airflow: it reads its settings once. Each test process has a home of its own.
_HOME = tempfile.TemporaryDirectory(prefix="telzino-tests-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(Path(__file__).parent.parent / "example_dags")
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_HOME.name}/airflow.db"
# Nothing of the machine's own configuration: connections, CA bundles, proxies.
for _name in list(os.environ):
    if _name.startswith("AIRFLOW_CONN_") or _name.endswith("_CA_BUNDLE") or _name.lower().endswith("_proxy"):
        del os.environ[_name]

# The same examples every time, however long they take on a busy machine. ``make nightly`` tries many more,
# and others each time.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=3_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

from airflow_provider_telzino.api import retry  # noqa: E402  # after the environment is set
from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook, TelzinoHook  # noqa: E402
from airflow_provider_telzino.operators.call import (  # noqa: E402
    TelzinoGetCallOperator,
    TelzinoPlaceCallOperator,
)
from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator  # noqa: E402
from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator  # noqa: E402
from airflow_provider_telzino.sandbox import (  # noqa: E402
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    Sandbox,
)
from airflow_provider_telzino.sensors.batch import TelzinoCallBatchSensor  # noqa: E402
from airflow_provider_telzino.sensors.call import TelzinoCallSensor  # noqa: E402
from airflow_provider_telzino.testing.clock import MovableClock  # noqa: E402
from airflow_provider_telzino.triggers import base  # noqa: E402
from airflow_provider_telzino.triggers.batch import TelzinoCallBatchTrigger  # noqa: E402
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger  # noqa: E402
from airflow_provider_telzino.triggers.ended_calls import TelzinoCallEndedTrigger  # noqa: E402
from airflow_provider_telzino.triggers.start import TelzinoCallStartTrigger  # noqa: E402

if TYPE_CHECKING:
    from tests.support.waiting_tasks import Later

AGENT_ID = "123e4567-e89b-12d3-a456-426614174000"
CALL_ID = "0fc6daf8-7251-4553-9488-867ba0b82d8e"


@pytest.fixture(autouse=True)
def fixed_jitter() -> None:
    """Draw the same random numbers in every run; ``make nightly`` draws others."""
    random.seed(int(os.environ.get("TELZINO_CRASH_SEED", "1")))


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


class ConnectionSetter(Protocol):
    """Sets the Airflow connection ``telzino_default``."""

    def __call__(
        self,
        target: Sandbox | str,
        *,
        oauth: bool = False,
        extra: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Set its host to a sandbox or address, with the fixed token or with client credentials."""


@pytest.fixture
def moving_clock() -> Iterator[MovableClock]:
    """Time that passes at once when a task waits. It starts before ``sandbox``: servers need real time."""
    with MovableClock() as clock:
        yield clock


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A local Telzino whose clock stands still until a test advances it."""
    with Sandbox(clock="manual") as running:
        yield running


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> ConnectionSetter:
    """Set the connection as users without a database do: by an environment variable."""

    def set_connection(
        target: Sandbox | str, *, oauth: bool = False, extra: dict[str, Any] | None = None, **fields: Any
    ) -> None:
        host = target if isinstance(target, str) else target.url
        credentials = {"login": CLIENT_ID, "password": CLIENT_SECRET} if oauth else {"password": ACCESS_TOKEN}
        connection = {"conn_type": "telzino", "host": host} | credentials | fields
        connection["extra"] = {"agent_id": AGENT_ID} | (extra or {})
        monkeypatch.setenv("AIRFLOW_CONN_TELZINO_DEFAULT", json.dumps(connection))

    return set_connection


@pytest.fixture
def connected(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """Set the connection to the sandbox."""
    connect(sandbox)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off by milliseconds instead of seconds, and resume at once."""
    monkeypatch.setattr(retry, "BACKOFF_BASE", 0.005)
    monkeypatch.setattr(retry, "BACKOFF_CAP", 0.05)
    monkeypatch.setattr(retry, "NOT_FOUND_FOR", 0.5)
    monkeypatch.setattr(base, "SHORTEST_DEFERRAL", 0.0)


@pytest.fixture
def task_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Capture what tasks, hooks and triggers log. Each version of Airflow sends that to another place."""
    plain = logging.getLogger("telzino-tests")
    for logging_class in (
        TelzinoHook,
        TelzinoAsyncHook,
        TelzinoCallBatchSensor,
        TelzinoCallSensor,
        TelzinoCampaignOperator,
        TelzinoGetCallOperator,
        TelzinoPlaceCallOperator,
        TelzinoGetTranscriptOperator,
        TelzinoCallBatchTrigger,
        TelzinoCallTrigger,
        TelzinoCallEndedTrigger,
        TelzinoCallStartTrigger,
    ):
        monkeypatch.setattr(logging_class, "log", plain)
    caplog.set_level("DEBUG")
    return caplog


@pytest.fixture
def live(sandbox: Sandbox) -> dict[str, Any]:
    """A call that is being dialled, and stays so until the test ends it."""
    from tests.support.waiting_tasks import CONTEXT, NUMBER

    return sandbox.add_call(status="dialing", to_number=NUMBER, call_context=CONTEXT)


@pytest.fixture
def later() -> Iterator[Later]:
    """Change the sandbox while a task waits. All changes are over when the test is."""
    from tests.support.waiting_tasks import Later

    later = Later()
    yield later
    later.join()


ReportCount = Callable[[str], None]


@pytest.fixture
def report_count(record_property: Callable[[str, object], None]) -> ReportCount:
    """Return a function that reports a count; it is printed at the end, whichever process ran the test."""
    return lambda line: record_property("counted", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts that tests have reported."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    lines = [value for report in reports for name, value in report.user_properties if name == "counted"]
    if lines:
        terminalreporter.section("counted")
    for line in dict.fromkeys(map(str, lines)):
        terminalreporter.write_line(line)
