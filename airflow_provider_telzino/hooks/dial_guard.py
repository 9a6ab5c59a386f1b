"""Keeps tests from placing real calls: both transports ask here before they open or reuse a connection."""

from __future__ import annotations

import os

from airflow_provider_telzino.exceptions import TelzinoRealCallInTestError

REAL_API = ".telzino.com"
"""Telzino's domain. Any other host is one that a test has chosen, and may be out of use for it."""
TEST_RUN = "TELZINO_TEST_RUN"
"""The environment variable that our pytest plugin sets, for its own process and all that a test starts."""


def refuse_in_tests(method: str | None, host: str | None) -> None:
    """Refuse a POST that a test would send to Telzino. It may be a call, or fetch a token for one.

    Mocks and adapters of a test come before this: it is asked only when something is really to be sent.

    Raises:
        TelzinoRealCallInTestError: A test runs, and the host is Telzino's.
    """
    if method == "POST" and TEST_RUN in os.environ and f".{host}".endswith(REAL_API):
        raise TelzinoRealCallInTestError(
            f"A test was about to send a POST to {host}, which may be a real call. Nothing was sent. Use the "
            "pytest fixture `telzino`, which sets the connection `telzino_default` to a sandbox."
        )
