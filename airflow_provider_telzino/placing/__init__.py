"""What tasks that place calls share: finding the task's own call or dialling, and Airflow's task state."""

from __future__ import annotations
