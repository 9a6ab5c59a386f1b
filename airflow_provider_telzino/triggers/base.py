"""What the triggers share."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from airflow.triggers.base import BaseTrigger

SHORTEST_DEFERRAL = 5.0
"""Seconds that a task stays deferred at least, before it resumes on a worker.

Airflow's scheduler learns from the executor that a task's first process has ended, on a busy machine late. A
task that is in the queue again by then is considered killed: it fails or is retried (still in 3.3.2:
apache/airflow issues 66374, 67287, 72716).
"""


class KeptArguments:
    """A trigger that keeps each argument in an attribute of the same name."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another process needs to run this trigger: its class and arguments."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__name__}", {
            name: getattr(self, name) for name in inspect.signature(kind).parameters
        }


class TelzinoTrigger(KeptArguments, BaseTrigger):
    """A trigger that a task waits for."""

    async def stay_deferred(self, since: float) -> None:
        """Wait until the task may resume on a worker.

        Args:
            since: When the trigger began, on the event loop's clock.
        """
        # `dag.test()`, which sets no task instance, has no executor that could be late.
        if self.task_instance is not None:
            await asyncio.sleep(since + SHORTEST_DEFERRAL - asyncio.get_running_loop().time())

    async def on_kill(self) -> None:
        """Log that what was dialled continues: a user has marked or cleared the task (from Airflow 3.3)."""
        self.log.warning(
            "The task was stopped, but Telzino documents no way to end a call: %s.", self.what_continues()
        )

    def what_continues(self) -> str:
        """Return a sentence for the log about what isn't stopped with the task."""
        return "the call continues"
