"""The end of a task in the triggerer: what a worker would push is pushed here, and no worker starts for it.

Airflow can carry XComs in the event that ends a task, but makes text of a dict on the way (seen on 3.3.2). So
the trigger writes them itself, as a worker does, through whatever XCom backend the user has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from airflow_provider_telzino.rules.waiting import OutcomePolicy

RETURN_VALUE = "return_value"  # the XCom key that downstream tasks read by default


class TaskEnd(NamedTuple):
    """How a task ends when its call has ended well, as far as that is told to its trigger."""

    policy: OutcomePolicy
    do_xcom_push: bool
    multiple_outputs: bool
    is_dag_result: bool = False
    """Whether the DAG's own result is this task's output (Airflow 3.3)."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a trigger's argument."""
        return {
            "fail_on": sorted(self.policy.fail_on),
            "skip_on": sorted(self.policy.skip_on),
            "record_fields": None if self.policy.record_fields is None else list(self.policy.record_fields),
            "do_xcom_push": self.do_xcom_push,
            "multiple_outputs": self.multiple_outputs,
            "is_dag_result": self.is_dag_result,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> TaskEnd:
        """Make it from a trigger's argument."""
        policy = OutcomePolicy.checked(given["fail_on"], given["skip_on"], given["record_fields"])
        return cls(policy, given["do_xcom_push"], given["multiple_outputs"], given["is_dag_result"])

    async def push(
        self, record: Mapping[str, Any], task_instance: Any, log: Any, *, began_here: bool
    ) -> None:
        """Push a final record as the task would. To do so twice is harmless.

        Args:
            record: The record.
            task_instance: The task's.
            log: Where to tell of fields that the record lacks.
            began_here: Whether the task began in the triggerer.
        """
        pushed = dict(xcoms(self.policy.cut(record, log), self.multiple_outputs)) if self.do_xcom_push else {}
        # In a thread: a backend may write to an object store, and all triggers share this one.
        await asyncio.to_thread(self._set, pushed, task_instance, began_here)

    def _set(self, pushed: Mapping[str, Any], task_instance: Any, began_here: bool) -> None:
        from airflow.providers.common.compat.sdk import XCom

        if began_here:
            forget_earlier_xcoms(task_instance, keys=self.multiple_outputs, but=pushed)
        place = xcom_place(task_instance, task_instance.task_id, task_instance.map_index)
        for key, value in pushed.items():
            XCom.set(key, value, dag_result=self.is_dag_result, **place)


def forget_earlier_xcoms(task_instance: Any, *, keys: bool, but: Collection[str] = ()) -> None:
    """Delete what an earlier try of the task has pushed. Airflow does so only when a task starts on a worker.

    Args:
        task_instance: The task's.
        keys: Whether the fields of what it returns are XComs of their own.
        but: The keys that are pushed anew. They never lack, since this may run twice at the same time.
    """
    from airflow.providers.common.compat.sdk import XCom

    if task_instance.try_number <= 1:
        return
    place = xcom_place(task_instance, task_instance.task_id, task_instance.map_index)
    returned = XCom.get_one(key=RETURN_VALUE, **place)
    if returned is None:
        return
    # What it returned names its other keys, so it is the last to go.
    for key in [*(returned if keys and isinstance(returned, Mapping) else ()), RETURN_VALUE]:
        if key not in but and XCom.get_one(key=key, **place) is not None:
            XCom.delete(key, **place)


def xcoms(value: Mapping[str, Any], multiple_outputs: bool) -> Iterator[tuple[str, Any]]:
    """Name each XCom of what a task returns, as Airflow does."""
    if multiple_outputs:
        yield from value.items()
    yield RETURN_VALUE, value


def xcom_place(task_instance: Any, task_id: str, map_index: int | None = None) -> dict[str, Any]:
    """Say where a task of this run has its XComs."""
    return {
        "dag_id": task_instance.dag_id,
        "run_id": task_instance.run_id,
        "task_id": task_id,
        "map_index": -1 if map_index is None else map_index,
    }
