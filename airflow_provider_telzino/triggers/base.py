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
