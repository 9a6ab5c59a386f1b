"""A task's XComs as a trigger reads and writes them, so that a task can end without a worker.

Airflow can pass XComs in the event that ends a task, but turns a dict into text on the way (seen on 3.3.2).
So the trigger writes them itself, as a worker does, through whatever XCom backend the user has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from airflow_provider_telzino.rules.waiting import OutcomePolicy
from airflow_provider_telzino.version_compat import set_xcom

RETURN_VALUE = "return_value"  # the XCom key that downstream tasks read by default
ATTEMPTS = "attempts"  # the XCom key of all calls of a task that places them


def attempt_summary(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is pushed of each call of a task that places them: nothing personal."""
    return {name: call.get(name) for name in ("id", "status", "created_at")}


class TaskEnd(NamedTuple):
    """How a trigger ends its task when the call has ended well."""

    policy: OutcomePolicy
    do_xcom_push: bool
    multiple_outputs: bool
    is_dag_result: bool = False
    """Whether the DAG's own result is this task's output (from Airflow 3.3)."""
    earlier_attempts: list[dict[str, Any]] | None = None
    """The calls before this one, if the task has placed them; ``None`` if it only waits."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a trigger's argument."""
        return {
            "fail_on": sorted(self.policy.fail_on),
            "skip_on": sorted(self.policy.skip_on),
            "record_fields": None if self.policy.record_fields is None else list(self.policy.record_fields),
            "do_xcom_push": self.do_xcom_push,
            "multiple_outputs": self.multiple_outputs,
            "is_dag_result": self.is_dag_result,
            "earlier_attempts": self.earlier_attempts,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> TaskEnd:
        """Read it from a trigger's argument."""
        policy = OutcomePolicy.checked(given["fail_on"], given["skip_on"], given["record_fields"])
        names = ("do_xcom_push", "multiple_outputs", "is_dag_result", "earlier_attempts")
        return cls(policy, **{name: given[name] for name in names})

    async def push(
        self, record: Mapping[str, Any], task_instance: Any, log: Any, *, began_here: bool
    ) -> None:
        """Push a final record as the task would. Doing so twice is harmless.

        Args:
            record: The record.
            task_instance: The task's.
            log: The logger for a warning about an unknown status, or about fields that the record lacks.
            began_here: Whether the task began in the triggerer.
        """
        value = self.policy.success_value(record, log)
        pushed = dict(xcoms(value, self.multiple_outputs)) if self.do_xcom_push else {}
        if self.earlier_attempts is not None and self.do_xcom_push:
            pushed[ATTEMPTS] = [*self.earlier_attempts, attempt_summary(record)]
        # In a thread: a backend may write to an object store, and all triggers share this event loop.
        await asyncio.to_thread(self._set, pushed, task_instance, began_here)

    def _set(self, pushed: Mapping[str, Any], task_instance: Any, began_here: bool) -> None:
        if began_here:
            delete_earlier_xcoms(task_instance, keys=self.multiple_outputs, but=pushed)
        place = xcom_place(task_instance, task_instance.task_id, task_instance.map_index)
        for key, value in pushed.items():
            set_xcom(key, value, is_dag_result=self.is_dag_result, **place)


def delete_earlier_xcoms(task_instance: Any, *, keys: bool, but: Collection[str] = ()) -> None:
    """Delete what an earlier try of the task has pushed. Airflow does so only when a task starts on a worker.

    Args:
        task_instance: The task's.
        keys: Whether the fields of what it returns are XComs of their own.
        but: The keys that are about to be pushed. They are overwritten instead, so that they are never
            missing: a trigger may run twice at the same time.
    """
    from airflow.providers.common.compat.sdk import XCom

    if task_instance.try_number <= 1:
        return
    place = xcom_place(task_instance, task_instance.task_id, task_instance.map_index)
    returned = XCom.get_one(key=RETURN_VALUE, **place)
    if returned is None:
        return
    # The returned value names the other keys, so it is deleted last.
    for key in [*(returned if keys and isinstance(returned, Mapping) else ()), RETURN_VALUE]:
        if key not in but and XCom.get_one(key=key, **place) is not None:
            XCom.delete(key, **place)


def xcoms(value: Any, multiple_outputs: bool) -> Iterator[tuple[str, Any]]:
    """Return the key and value of each XCom of what a task returns, as Airflow names them."""
    if multiple_outputs:
        yield from value.items()
    yield RETURN_VALUE, value


def xcom_place(task_instance: Any, task_id: str, map_index: int | None = None) -> dict[str, Any]:
    """Return what identifies the XComs of a task of this run."""
    return {
        "dag_id": task_instance.dag_id,
        "run_id": task_instance.run_id,
        "task_id": task_id,
        "map_index": -1 if map_index is None else map_index,
    }
