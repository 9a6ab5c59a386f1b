"""Decisions without I/O and without Airflow: what follows in a wait, and whether to dial."""

from __future__ import annotations
