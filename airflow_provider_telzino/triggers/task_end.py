"""The end of a task in the triggerer: what a worker would push is pushed here, and no worker starts for it.

Airflow can carry XComs in the event that ends a task, but makes text of a dict on the way (seen on 3.3.2). So
the trigger writes them itself, as a worker does, through whatever XCom backend the user has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_telzino.waiting import OutcomePolicy

RETURN_VALUE = "return_value"  # the XCom key that downstream tasks read by default


@dataclass(frozen=True)
class TaskEnd:
    """How a task ends when its call has ended well, as far as that is told to its trigger."""

    policy: OutcomePolicy
    do_xcom_push: bool
    multiple_outputs: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as a trigger's argument."""
        return {
            "fail_on": sorted(self.policy.fail_on),
            "skip_on": sorted(self.policy.skip_on),
            "record_fields": None if self.policy.record_fields is None else list(self.policy.record_fields),
            "do_xcom_push": self.do_xcom_push,
            "multiple_outputs": self.multiple_outputs,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> TaskEnd:
        """Make it from a trigger's argument."""
        policy = OutcomePolicy.checked(given["fail_on"], given["skip_on"], given["record_fields"])
        return cls(policy, given["do_xcom_push"], given["multiple_outputs"])

    async def push(self, record: Mapping[str, Any], task_instance: Any, log: Any) -> None:
        """Push a final record as the task would. To do so twice is harmless."""
        pushed = self.policy.cut(record, log)
        if not self.do_xcom_push:
            return
        # In a thread: a backend may write to an object store, and all triggers share this one.
        await asyncio.to_thread(_set_xcoms, xcoms(pushed, self.multiple_outputs), task_instance)


def xcoms(value: Mapping[str, Any], multiple_outputs: bool) -> Iterator[tuple[str, Any]]:
    """Name each XCom of what a task returns, as Airflow does."""
    if multiple_outputs:
        yield from value.items()
    yield RETURN_VALUE, value


def _set_xcoms(pairs: Iterator[tuple[str, Any]], task_instance: Any) -> None:
    from airflow.providers.common.compat.sdk import XCom

    for key, value in pairs:
        XCom.set(key, value, **xcom_place(task_instance, task_instance.task_id, task_instance.map_index))


def xcom_place(task_instance: Any, task_id: str, map_index: int | None = None) -> dict[str, Any]:
    """Say where a task of this run has its XComs."""
    return {
        "dag_id": task_instance.dag_id,
        "run_id": task_instance.run_id,
        "task_id": task_id,
        "map_index": -1 if map_index is None else map_index,
    }
