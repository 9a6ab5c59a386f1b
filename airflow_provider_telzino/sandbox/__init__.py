"""A local Telzino for development and tests: ``python -m airflow_provider_telzino.sandbox``.

It implements the documented API in memory, on loopback. No phone rings.
"""

from __future__ import annotations

from airflow_provider_telzino.sandbox.access import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET
from airflow_provider_telzino.sandbox.clock import Clock
from airflow_provider_telzino.sandbox.faults import Faults
from airflow_provider_telzino.sandbox.magic_numbers import MAGIC_NUMBERS
from airflow_provider_telzino.sandbox.sandbox import Sandbox
from airflow_provider_telzino.sandbox.store import DEFAULT_AGENT_ID, FORBIDDEN_AGENT_ID

__all__ = [
    "ACCESS_TOKEN",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "DEFAULT_AGENT_ID",
    "FORBIDDEN_AGENT_ID",
    "MAGIC_NUMBERS",
    "Clock",
    "Faults",
    "Sandbox",
]
