"""What developers of this provider run: set-up, a disposable Airflow, the demo. Not shipped in the wheel."""

from __future__ import annotations
