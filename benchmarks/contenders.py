"""The contenders: each waits for the same calls in its own way, in the running event loop, as in a triggerer.

A contender is a function that gets a :class:`Waits` and yields the coroutines that wait. Add one to
``CONTENDERS``, and it is in every table.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from airflow.providers.http.triggers.http import HttpEventTrigger
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from benchmarks.response_check import __name__ as response_check_module
from benchmarks.worlds import TOKEN

TERMINAL = {"completed", "no_answer", "busy", "failed"}
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Waits:
    """The calls to wait for, and when the end of each was detected."""

    url: str
    calls: list[tuple[str, str, float]]
    """Agent, call, and when it ends."""
    interval: float
    conn_id: str
    session: aiohttp.ClientSession
    """For the contenders whose waits share one session."""
    ended: dict[str, float] = field(default_factory=dict)

    def detected(self, call_id: str) -> None:
        """Note that the end of a call was detected."""
        self.ended[call_id] = time.time()


Work = Coroutine[Any, Any, None]


def telzino_trigger(waits: Waits) -> Iterator[Work]:
    """Ours."""
    deadline = time.time() + 3600
    for agent_id, call_id, _ in waits.calls:
        trigger = TelzinoCallTrigger(
            call_id,
            deadline=deadline,
            agent_id=agent_id,
            telzino_conn_id=waits.conn_id,
            poll_interval=waits.interval,
        )
        yield _run(waits, call_id, trigger)


def http_event_trigger(waits: Waits) -> Iterator[Work]:
    """The HTTP provider's trigger that checks the answer."""
    for agent_id, call_id, _ in waits.calls:
        trigger = HttpEventTrigger(
            response_check_path=f"{response_check_module}.has_ended",
            http_conn_id=f"{waits.conn_id}_http",
            endpoint=f"v1/agents/{agent_id}/outbound-calls/{call_id}",
            headers=HEADERS,
            poll_interval=waits.interval,
        )
        yield _run(waits, call_id, trigger, first_pause=random.uniform(0, waits.interval))


def shared_session(waits: Waits) -> Iterator[Work]:
    """A simple loop: one request per wait and interval, all over one session."""
    for agent_id, call_id, _ in waits.calls:
        yield _poll_call(waits, agent_id, call_id)


async def _poll_call(waits: Waits, agent_id: str, call_id: str) -> None:
    url = f"{waits.url}/v1/agents/{agent_id}/outbound-calls/{call_id}"
    await asyncio.sleep(random.uniform(0, waits.interval))
    while True:
        async with waits.session.get(url) as response:
            record = await response.json()
        if record["status"] in TERMINAL:
            waits.detected(call_id)
            return
        await asyncio.sleep(waits.interval)


def list_only(waits: Waits) -> Iterator[Work]:
    """The lower bound: reads each agent's newest pages and does nothing else. It survives no error."""
    agents: dict[str, set[str]] = {}
    for agent_id, call_id, _ in waits.calls:
        agents.setdefault(agent_id, set()).add(call_id)
    for agent_id, call_ids in agents.items():
        yield _poll_list(waits, agent_id, call_ids)


async def _poll_list(waits: Waits, agent_id: str, calls: set[str]) -> None:
    url = f"{waits.url}/v1/agents/{agent_id}/outbound-calls"
    await asyncio.sleep(random.uniform(0, waits.interval))
    loop = asyncio.get_running_loop()
    while calls:
        started = loop.time()
        unseen, page = set(calls), 0
        while unseen:
            page += 1
            async with waits.session.get(f"{url}?page={page}&limit=100") as response:
                answer = json.loads(await response.read())
            for item in answer["data"]:
                if item["id"] in unseen:
                    unseen.remove(item["id"])
                    if item["status"] in TERMINAL:
                        waits.detected(item["id"])
                        calls.remove(item["id"])
            if not answer["pagination"]["hasNext"]:
                break
        await asyncio.sleep(started + waits.interval - loop.time())


def idle_trigger(waits: Waits) -> Iterator[Work]:
    """Triggers that never poll: what Airflow and asyncio themselves cost."""
    for _, call_id, _ in waits.calls:
        yield _run(waits, call_id, IdleTrigger())  # type: ignore[no-untyped-call]  # Airflow's isn't typed


class IdleTrigger(BaseTrigger):
    """Waits for nothing."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another process needs to create it."""
        return f"{__name__}.{type(self).__name__}", {}

    async def run(self) -> Any:
        """Wait forever."""
        await asyncio.get_running_loop().create_future()
        yield TriggerEvent({})


async def _run(waits: Waits, call_id: str, trigger: BaseTrigger, first_pause: float = 0) -> None:
    """Run a trigger until its event, as the triggerer does."""
    if first_pause:
        await asyncio.sleep(first_pause)
    async for event in trigger.run():
        if event is not None:
            waits.detected(call_id)
            return


OURS, PEER, SHARED, FLOOR, IDLE = "ours", "HttpEventTrigger", "shared session", "list only", "idle trigger"
CONTENDERS: dict[str, Callable[[Waits], Iterator[Work]]] = {
    OURS: telzino_trigger,
    PEER: http_event_trigger,
    SHARED: shared_session,
    FLOOR: list_only,
}
WITH_IDLE = {**CONTENDERS, IDLE: idle_trigger}
