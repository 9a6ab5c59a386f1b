"""What the triggers share."""

from __future__ import annotations

import inspect
from typing import Any

from airflow.triggers.base import BaseTrigger


class TelzinoTrigger(BaseTrigger):
    """A trigger that keeps each argument in an attribute of the same name."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another process needs to run this trigger: its class and arguments."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__name__}", {
            name: getattr(self, name) for name in inspect.signature(kind).parameters
        }

    async def on_kill(self) -> None:
        """Log that the call continues: a user has marked or cleared the task (from Airflow 3.3)."""
        self.log.warning(
            "The task was stopped, but Telzino documents no way to end a call: %s continues.",
            self.call_name(),
        )

    def call_name(self) -> str:
        """Return how to name the call in the log."""
        return "the call"
