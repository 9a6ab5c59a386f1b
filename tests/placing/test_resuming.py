"""A task that resumes after its call needs no more than the event."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ConnectionSetter
from tests.support.placed_calls import runs
from tests.support.placing_runs import NEEDS_TASK_STATE, STATES, PlacingRun, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")


def test_an_unknown_event(sandbox: Sandbox) -> None:
    """The task fails, and there is still only one call."""
    run = runs().next_try()
    run.step("execute")

    for event in (None, {}, {"call_id": None}, "text"):
        with pytest.raises(exceptions.TelzinoError, match="event is unknown"):
            runs().next_try().step("execute_complete", event=event)

    assert len(sandbox.calls) == 1


def test_it_needs_only_the_event(sandbox: Sandbox) -> None:
    """Another process resumes the task, and some versions of Airflow drop the other arguments."""
    task = runs()
    run = task.next_try()
    event = run.fire(_ended(sandbox, run.step("execute")))

    record = PlacingRun(task.next_try().task, run.ti, runs=task).step("execute_complete", event=event)

    assert [record] == sandbox.calls


@STATES
def test_a_trigger_that_never_fired(sandbox: Sandbox, state: str | None) -> None:
    """Airflow then has no event that names the call: the task finds it."""
    task = runs(state=TaskStateStore() if state else None)
    run = task.next_try()
    run.step("execute")
    sandbox.finish(sandbox.calls[0]["id"])

    record = PlacingRun(task.next_try().task, run.ti, runs=task).step("__fail__", error="Trigger timeout")

    assert [record] == sandbox.calls


@NEEDS_TASK_STATE
def test_a_trigger_that_never_fired_for_a_call_of_another_agent(connect: ConnectionSetter) -> None:
    """The connection's agent has changed meanwhile; that of the stored call counts."""
    with Sandbox(agents=2, clock="manual") as two:
        connect(two)
        task = runs(state=TaskStateStore())
        run = task.next_try()
        run.step("execute")
        two.finish(two.calls[0]["id"])
        connect(two, extra={"agent_id": two.agent_ids[1]})

        resumed = PlacingRun(task.next_try().task, run.ti, runs=task)
        record = resumed.step("__fail__", error="Trigger timeout")

        assert [record] == two.calls


def test_a_call_that_is_not_found_is_an_error(sandbox: Sandbox) -> None:
    """The task doesn't dial."""
    with pytest.raises(exceptions.TelzinoError, match="has placed no call yet"):
        runs().next_try().step("__fail__", error="Trigger timeout")

    assert sandbox.calls == []


def _ended(sandbox: Sandbox, deferral: Any) -> Any:
    sandbox.finish(sandbox.calls[0]["id"])
    return deferral
