"""Tasks that wait for a call, in each of their modes, and changes to the sandbox while they wait."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_telzino.operators.call import TelzinoGetCallOperator
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sensors.batch import TelzinoCallBatchSensor
from airflow_provider_telzino.sensors.call import TelzinoCallSensor

NUMBER = "+15005550100"
CONTEXT = "Call John."

MakeTask = Callable[..., Any]


def sensor(**arguments: Any) -> TelzinoCallSensor:
    """Create a deferrable sensor with a short interval."""
    defaults: dict[str, Any] = {"task_id": "wait", "poke_interval": 0.1, "timeout": 30}
    return TelzinoCallSensor(**(defaults | arguments))


def poking_sensor(**arguments: Any) -> TelzinoCallSensor:
    """Create a sensor in Airflow's mode ``poke``."""
    return sensor(deferrable=False, **arguments)


def batch_sensor(**arguments: Any) -> TelzinoCallBatchSensor:
    """Create a deferrable sensor for many calls with a short interval."""
    defaults: dict[str, Any] = {"task_id": "wait", "poke_interval": 0.1, "timeout": 30}
    return TelzinoCallBatchSensor(**(defaults | arguments))


def poking_batch_sensor(**arguments: Any) -> TelzinoCallBatchSensor:
    """Create a sensor for many calls in Airflow's mode ``poke``."""
    return batch_sensor(deferrable=False, **arguments)


def operator(**arguments: Any) -> TelzinoGetCallOperator:
    """Create a deferrable operator with a short interval."""
    defaults: dict[str, Any] = {"task_id": "get", "poll_interval": 0.1, "timeout": 30}
    return TelzinoGetCallOperator(**(defaults | arguments))


def waiting_operator(**arguments: Any) -> TelzinoGetCallOperator:
    """Create an operator that waits on its worker."""
    return operator(deferrable=False, **arguments)


ALL = pytest.mark.parametrize("make", [sensor, poking_sensor, operator, waiting_operator])
DEFERRABLE = pytest.mark.parametrize("make", [sensor, operator])
BOTH_BATCHES = pytest.mark.parametrize("make", [batch_sensor, poking_batch_sensor])
AIRFLOW_3 = pytest.mark.skipif(
    importlib.util.find_spec("airflow.sdk") is None,
    reason="Airflow 2.11 reads from its database what Airflow 3 passes to the task",
)


class Later:
    """Changes the sandbox while a task waits."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def after_requests(self, sandbox: Sandbox, number: int, *actions: Callable[[], Any]) -> None:
        """Run the actions one after the other, each after so many more requests."""

        def act() -> None:
            for action in actions:
                seen = len(sandbox.requests)
                end = time.monotonic() + 20
                while len(sandbox.requests) < seen + number and time.monotonic() < end:
                    time.sleep(0.01)
                action()

        self._threads.append(threading.Thread(target=act))
        self._threads[-1].start()

    def join(self) -> None:
        """Wait until all actions have run."""
        for thread in self._threads:
            thread.join()
