"""A stand-in for the triggerer's own process, for triggers that begin or end their task."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from airflow_provider_telzino.version_compat import triggers_can_run_tasks
from tests.conftest import AGENT_ID
from tests.support.waits import rebuilt

FROM_3_3 = pytest.mark.skipif(not triggers_can_run_tasks(), reason="triggers run tasks from Airflow 3.3 on")
BEFORE_3_3 = pytest.mark.skipif(triggers_can_run_tasks(), reason="triggers run tasks on this Airflow")
BOTH: dict[str, Any] = {"end_from_trigger": True, "start_from_trigger": True}
TASK = {"dag_id": "calls", "task_id": "wait", "run_id": "run 1", "map_index": -1, "try_number": 1}
END = {
    "fail_on": ["failed"],
    "skip_on": ["busy"],
    "record_fields": None,
    "do_xcom_push": True,
    "multiple_outputs": False,
    "is_dag_result": False,
    "earlier_attempts": None,
}


class Supervisor:
    """Answers the requests of a trigger: it keeps the XComs of one run."""

    def __init__(self) -> None:
        self.xcoms: dict[tuple[str, str], Any] = {}
        self.fails = False

    def send(self, message: Any) -> Any:
        """Set, get or delete an XCom."""
        from airflow.sdk.execution_time.comms import DeleteXCom, SetXCom, XComResult

        assert (message.dag_id, message.run_id, message.map_index) == ("calls", "run 1", -1)
        if self.fails:
            raise RuntimeError("no room for +15005550100")
        place = message.task_id, message.key
        if isinstance(message, SetXCom):
            self.xcoms[place] = message.value
            return None
        if isinstance(message, DeleteXCom):
            del self.xcoms[place]
            return None
        return XComResult(key=message.key, value=self.xcoms.get(place))

    async def asend(self, message: Any) -> Any:
        """Do the same for a trigger's asynchronous requests, which the real one has, too."""
        return self.send(message)


def ending(call: dict[str, Any], **end: Any) -> TelzinoCallTrigger:
    """Create a trigger that ends its task."""
    return TelzinoCallTrigger(call["id"], time.time() + 30, AGENT_ID, poll_interval=0.1, end=END | end)


def fire(trigger: Any, *, of_a_task: bool = True) -> Any:
    """Run a trigger as the triggerer does, recreated from what Airflow stores; return its event."""
    again = rebuilt(trigger)
    if of_a_task:
        again.task_instance = SimpleNamespace(**TASK)

    async def run() -> Any:
        return [event async for event in again.run()]

    (event,) = asyncio.run(run())
    return event


async def first_event_type(trigger: Any) -> str:
    """Return the class of the trigger's first event."""
    return type(await anext(trigger.run())).__name__
