"""Steps of the tests that place calls: what a task asks for, and what the sandbox has seen."""

from __future__ import annotations

import threading
import time
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from tests.support.placing_runs import IDENTITY, PlacingRun, TaskRuns

NUMBER = MAGIC_NUMBERS["completed"]
OURS = {"airflow": IDENTITY}
LIST_LAG = 5.0  # seconds until a call appears in the sandbox's list


def runs(**arguments: Any) -> TaskRuns:
    """A task that places a call to the number that completes."""
    known = {
        name: arguments.pop(name)
        for name in ("retries", "state", "map_index", "due", "tries")
        if name in arguments
    }
    return TaskRuns({"to_number": NUMBER} | arguments, **known)


def placed(sandbox: Sandbox, status: str, **fields: Any) -> dict[str, Any]:
    """A call that an earlier process of the task has placed."""
    return sandbox.add_call(status, request_metadata=OURS, **fields)


def methods(sandbox: Sandbox) -> list[str]:
    """The requests so far: their methods, and the last part of their paths."""
    return [f"{each.method} {each.path.rpartition('/')[2]}" for each in sandbox.requests]


def ends(run: PlacingRun, sandbox: Sandbox, status: str = "completed") -> Any:
    """Run a try that defers; the call ends while the task waits. Returns what the task returns."""
    deferral = run.step("execute")
    assert isinstance(deferral, TaskDeferred)
    sandbox.finish(sandbox.calls[-1]["id"], status)
    return run.step("execute_complete", event=run.fire(deferral), **(deferral.kwargs or {}))


def ends_meanwhile(sandbox: Sandbox, status: str = "completed") -> threading.Thread:
    """End the task's call as soon as it has been polled once."""

    def end() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            calls = sandbox.calls
            if calls and any(calls[-1]["id"] in each.path for each in sandbox.requests):
                sandbox.finish(calls[-1]["id"], status)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=end)
    thread.start()
    return thread


def die(*_arguments: object) -> None:
    """Be killed."""
    raise SystemExit
