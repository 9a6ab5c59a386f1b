"""A wait under any order of events: it ends with the true outcome, or it continues."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.sandbox import CLIENT_ID, CLIENT_SECRET, Sandbox
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from tests.conftest import AGENT_ID
from tests.support.waits import EVENT_FIELDS, Run, first_event, rebuilt

pytestmark = pytest.mark.slow

LIVE = ("queued", "dispatching", "dispatched", "dialing", "in_progress", "pondering")
ENDED = ("completed", "no_answer", "busy", "failed")
MOST_WAITS = 5
PATIENCE = 30.0  # seconds until every wait must have ended, once every call has
FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 429},
    {"status": 429, "retry_after": "0"},
    {"status": 429, "retry_after": "soon"},
    {"status": 500},
    {"status": 503},
    {"status": 408},
    {"delay": 0.05},
    {"reset": True},
    {"cut_off": True},
    {"raw_body": b"<html>"},
    {"raw_body": b"{}"},
)


REQUESTS = (("GET", "outbound-calls"), ("POST", "/oauth/token"))


@dataclass
class Waiting:
    """One task that waits for one call."""

    call_id: str
    run: Run
    deferral: TaskDeferred | None = None
    trigger: asyncio.Task[dict[str, Any]] | None = None
    result: Any = None


class WaitMachine(RuleBasedStateMachine):
    """Tasks, a triggerer and an API, to which anything happens at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(retry, "BACKOFF_BASE", 0.005)
        self.patch.setattr(retry, "BACKOFF_CAP", 0.02)
        self.sandbox = Sandbox(clock="manual")
        self.sandbox.start()
        connection = {
            "conn_type": "telzino",
            "host": self.sandbox.url,
            "login": CLIENT_ID,
            "password": CLIENT_SECRET,
            "extra": {"agent_id": AGENT_ID},
        }
        self.patch.setenv("AIRFLOW_CONN_TELZINO_DEFAULT", json.dumps(connection))
        self.waits: list[Waiting] = []
        self.ended: dict[str, str] = {}
        self.tokens_expired = False
        self.start_triggerer()

    def start_triggerer(self) -> None:
        """Start an event loop in a thread, as a triggerer does in a process."""
        self.triggerer = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.triggerer.run_forever)
        self.thread.start()

    def stop_triggerer(self) -> None:
        """Stop all triggers, and the loop."""
        for wait in self.waits:
            if wait.trigger is not None and not wait.trigger.done():
                self.stop(wait)
        self.triggerer.call_soon_threadsafe(self.triggerer.stop)
        self.thread.join()
        self.triggerer.close()

    # --- What the world does ---

    @initialize(number=st.integers(1, MOST_WAITS))
    def place(self, number: int) -> None:
        """Calls are placed, and a task begins to wait for each."""
        for index in range(number):
            call = self.sandbox.add_call("queued")
            sensor = TelzinoCallSensor(
                task_id=f"wait_{index}", call_id=call["id"], fail_on=(), poke_interval=0.1, timeout=600
            )
            wait = Waiting(call["id"], Run(sensor))
            self.waits.append(wait)
            self.run_step(wait, "execute")

    @rule(index=st.integers(0, MOST_WAITS - 1), status=st.sampled_from(LIVE))
    def call_moves(self, index: int, status: str) -> None:
        """A live call gets another status, perhaps an undocumented one."""
        call_id = self.waits[index % len(self.waits)].call_id
        if call_id not in self.ended:
            self.sandbox.move(call_id, status)

    @rule(index=st.integers(0, MOST_WAITS - 1), status=st.sampled_from(ENDED))
    def call_ends(self, index: int, status: str) -> None:
        """A call ends."""
        call_id = self.waits[index % len(self.waits)].call_id
        if call_id not in self.ended:
            self.ended[call_id] = status
            self.sandbox.finish(call_id, status)

    @rule(request=st.sampled_from(REQUESTS), fault=st.sampled_from(FAULTS), times=st.integers(1, 3))
    def api_fails(self, request: tuple[str, str], fault: dict[str, Any], times: int) -> None:
        """The next requests go wrong."""
        self.sandbox.faults.next(*request, times=times, **fault)

    @rule()
    def tokens_expire(self) -> None:
        """Every token issued so far is refused from now on."""
        self.tokens_expired = True
        self.sandbox.revoke_tokens()

    @rule()
    def time_passes(self) -> None:
        """Long enough for a poll."""
        time.sleep(0.12)

    @rule(index=st.integers(0, MOST_WAITS - 1), overlap=st.booleans())
    def trigger_moves(self, index: int, overlap: bool) -> None:
        """A trigger is recreated from what Airflow stores: after the old one, or while that still runs."""
        wait = self.waits[index % len(self.waits)]
        if wait.trigger is not None and not wait.trigger.done():
            old = wait.trigger
            if not overlap:
                self.stop(wait)
            self.start(wait)
            if overlap:
                self.cancel(old)

    @rule(index=st.integers(0, MOST_WAITS - 1))
    def event_is_lost(self, index: int) -> None:
        """The triggerer dies after a trigger has fired, but before Airflow knows: it fires once more."""
        wait = self.waits[index % len(self.waits)]
        if wait.trigger is not None and wait.trigger.done():
            self.start(wait)

    @rule()
    def triggerer_restarts(self) -> None:
        """All triggers are stopped, and recreated in another triggerer."""
        running = [wait for wait in self.waits if wait.trigger is not None and not wait.trigger.done()]
        self.stop_triggerer()
        self.start_triggerer()
        for wait in running:
            self.start(wait)

    @rule(index=st.integers(0, MOST_WAITS - 1))
    def worker_dies(self, index: int) -> None:
        """A worker dies before its task's end is known, and the task is retried from its start."""
        wait = self.waits[index % len(self.waits)]
        if wait.trigger is not None and wait.trigger.done():
            wait.trigger, wait.deferral = None, None
            self.run_step(wait, "execute")

    @precondition(lambda self: any(wait.trigger for wait in self.waits))
    @rule(index=st.integers(0, MOST_WAITS - 1))
    def worker_resumes(self, index: int) -> None:
        """A trigger that has fired brings its task back to a worker."""
        wait = self.waits[index % len(self.waits)]
        if wait.trigger is not None and wait.trigger.done():
            event = wait.trigger.result()
            wait.trigger = None
            self.check_event(wait, event)
            assert wait.deferral is not None
            self.run_step(wait, "execute_complete", event=event, **(wait.deferral.kwargs or {}))

    # --- What a task does ---

    def run_step(self, wait: Waiting, step: str, **arguments: Any) -> None:
        """Run the task on a worker, until it defers or ends."""
        outcome = wait.run.step(step, **arguments)
        if isinstance(outcome, TaskDeferred):
            wait.deferral = outcome
            self.start(wait)
        else:
            wait.result = outcome
            self.check_result(wait)

    def start(self, wait: Waiting) -> None:
        """Run its trigger in the triggerer."""
        assert wait.deferral is not None
        trigger = rebuilt(wait.deferral.trigger)

        async def begin() -> asyncio.Task[dict[str, Any]]:
            return asyncio.ensure_future(first_event(trigger))

        wait.trigger = asyncio.run_coroutine_threadsafe(begin(), self.triggerer).result()

    def stop(self, wait: Waiting) -> None:
        """Cancel its trigger."""
        assert wait.trigger is not None
        self.cancel(wait.trigger)

    def cancel(self, trigger: asyncio.Task[dict[str, Any]]) -> None:
        """Cancel a trigger, and wait until it has ended."""

        async def end() -> None:
            trigger.cancel()
            await asyncio.wait([trigger])

        asyncio.run_coroutine_threadsafe(end(), self.triggerer).result()

    # --- What must hold ---

    @invariant()
    def no_event_comes_too_early(self) -> None:
        """What a trigger has emitted is true at that moment, even if no worker has got it yet."""
        for wait in self.waits:
            if wait.trigger is not None and wait.trigger.done():
                self.check_event(wait, wait.trigger.result())

    def check_event(self, wait: Waiting, event: dict[str, Any]) -> None:
        """A trigger fires when its call has ended, and emits its status and nothing else."""
        assert event["call_id"] == wait.call_id
        if self.tokens_expired and event["error"] == "TelzinoCredentialsError":
            # A token that expires between its fetch and its first use looks like a wrong client.
            assert event["outcome"] == "refused"
        else:
            assert event["outcome"] == "ended"
            assert event["status"] == self.ended.get(wait.call_id)
        assert set(event) == EVENT_FIELDS

    def check_result(self, wait: Waiting) -> None:
        """A task ends with the record of its call, which has ended."""
        assert wait.result["status"] == self.ended.get(wait.call_id)
        assert wait.result == self.sandbox.call(wait.call_id)

    def teardown(self) -> None:
        """In the end every call ends, the API works, and so does every wait."""
        try:
            self.no_event_comes_too_early()
            self.sandbox.faults.clear()
            for index in range(len(self.waits)):
                self.call_ends(index, "completed")
            deadline = time.monotonic() + PATIENCE
            while any(wait.result is None for wait in self.waits):
                assert time.monotonic() < deadline, "a wait did not end"
                for index in range(len(self.waits)):
                    self.worker_resumes(index)
                time.sleep(0.02)
        finally:
            self.stop_triggerer()
            self.sandbox.stop()
            self.patch.undo()


TestAnyOrder = WaitMachine.TestCase
TestAnyOrder.settings = settings(
    max_examples=settings().max_examples // 8,  # each takes a second
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
