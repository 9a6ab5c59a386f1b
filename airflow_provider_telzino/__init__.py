"""Apache Airflow provider for Telzino, whose AI agents make phone calls."""

from __future__ import annotations

__version__ = "0.1.0"
