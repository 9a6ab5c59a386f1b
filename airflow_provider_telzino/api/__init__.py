"""Telzino's API without I/O and without Airflow: settings, endpoints, answers, errors, retries."""

from __future__ import annotations
