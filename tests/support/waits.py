"""Run a task's wait as Airflow does, but in this process: start, trigger, resume."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred

EVENT_FIELDS = {"outcome", "call_id", "agent_id", "status", "status_since", "error", "deadline"}
"""All that a trigger's event may have: ids, statuses and times."""


@dataclass
class TaskInstance:
    """What a task uses of its task instance: it pushes XComs."""

    xcoms: dict[str, Any] = field(default_factory=dict)
    first_reschedule_date: Any = None
    max_tries: int = 0
    try_number: int = 1
    dag_id: str = "calls"
    task_id: str = "wait"
    run_id: str = "run 1"
    map_index: int | None = -1

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep an XCom, as JSON as Airflow does."""
        self.xcoms[key] = json.loads(json.dumps(value))

    def get_first_reschedule_date(self, context: Any) -> Any:
        """When the task was first rescheduled."""
        return self.first_reschedule_date


@dataclass
class Run:
    """One run of a task: what it returned, what it pushed, and how often a worker and a trigger ran."""

    task: Any
    ti: TaskInstance = field(default_factory=TaskInstance)
    deferrals: list[TaskDeferred] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def context(self) -> Any:
        """Airflow's context, as far as our tasks read it."""
        return {"ti": self.ti}

    def to_the_end(self, most: int = 10) -> Any:
        """Execute the task and every deferral that it asks for; return what it returns."""
        step = "execute"
        arguments: dict[str, Any] = {}
        for _ in range(most):
            deferral = self.step(step, **arguments)
            if not isinstance(deferral, TaskDeferred):
                return deferral
            event = self.fire(deferral)
            step, arguments = deferral.method_name or "", {"event": event, **(deferral.kwargs or {})}
        raise AssertionError("the task defers without end")

    def step(self, name: str, **arguments: Any) -> Any:
        """Run one method of the task on a worker; return its result, or its deferral."""
        try:
            if name == "execute":
                return self.task.execute(self.context)
            return self.task.resume_execution(name, arguments, self.context)
        except TaskDeferred as deferral:
            self.deferrals.append(deferral)
            return deferral

    def fire(self, deferral: TaskDeferred) -> dict[str, Any]:
        """Run a trigger as the triggerer does, recreated from what Airflow stores of it."""
        event = asyncio.run(first_event(rebuilt(deferral.trigger)))
        self.events.append(event)
        return event


def rebuilt(trigger: Any) -> Any:
    """Serialise a trigger to JSON and recreate it, as the triggerer does."""
    _, kwargs = trigger.serialize()
    return type(trigger)(**json.loads(json.dumps(kwargs)))


async def first_event(trigger: Any) -> dict[str, Any]:
    """Run a trigger until it fires; its payload must be plain JSON."""
    async for event in trigger.run():
        payload: dict[str, Any] = json.loads(json.dumps(event.payload))
        assert payload == event.payload
        return payload
    raise AssertionError("the trigger ended without an event")
