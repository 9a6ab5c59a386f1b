"""``make demo`` and ``make ui``: a sandbox call through a real Airflow, shown live in the terminal."""

from __future__ import annotations
