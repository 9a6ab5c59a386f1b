"""Placing a call without any trouble."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from tests.conftest import AGENT_ID, ConnectionSetter
from tests.support.placed_calls import NUMBER, ends_meanwhile, marked, methods, runs
from tests.support.waits import Run

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_final_record_is_pushed(sandbox: Sandbox, deferrable: bool) -> None:
    """The call is placed as asked, and its record is the API's own."""
    asked = {"call_context": "Call John.", "callback_url": "https://example.com/result"}
    run = runs(**asked, metadata={"crm_id": "123"}, deferrable=deferrable).next_try()
    thread = ends_meanwhile(sandbox)

    record = run.to_the_end()

    thread.join()
    (call,) = sandbox.calls
    assert record == call
    assert record["status"] == "completed"
    assert {name: record[name] for name in asked} == asked
    assert record["to_number"] == NUMBER
    assert record["request_metadata"] == {"crm_id": "123", **marked()}


def test_it_costs_two_requests_and_one_deferral(sandbox: Sandbox) -> None:
    """One page of the list and the POST: the answer makes a first poll of the call unnecessary."""
    run = runs().next_try()

    deferral = run.step("execute")

    assert isinstance(deferral, TaskDeferred)
    assert methods(sandbox) == ["GET outbound-calls", "POST outbound-calls"]
    trigger = deferral.trigger.serialize()[1]
    assert (trigger["call_id"], trigger["status"]) == (sandbox.calls[0]["id"], "queued")
    assert trigger["agent_id"] == AGENT_ID


def test_without_waiting_the_answer_is_pushed(sandbox: Sandbox) -> None:
    """It has the agent's id, so that a sensor needs nothing else; ``record_fields`` applies to it."""
    answer = runs(wait_for_completion=False).next_try().to_the_end()
    cut = runs(wait_for_completion=False, record_fields=["id"]).next_try().to_the_end()

    first, second = sandbox.calls
    assert answer == {
        "id": first["id"],
        "status": "queued",
        "room_name": f"outbound-{first['id']}",
        "created_at": first["created_at"],
        "agent_id": AGENT_ID,
    }
    assert cut == {"id": second["id"]}


def test_a_sensor_can_wait_for_the_call(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """``TelzinoCallSensor(call_id=place.output)``, even if the connection names no agent."""
    connect(sandbox, extra={"agent_id": None})
    answer = runs(wait_for_completion=False, agent_id=AGENT_ID).next_try().to_the_end()
    sandbox.finish(answer["id"])

    record = Run(TelzinoCallSensor(task_id="wait", call_id=answer)).to_the_end()

    assert record == sandbox.calls[0]


@pytest.mark.parametrize("index", [None, -1, 7])
def test_a_mapped_task_has_its_own_identity(sandbox: Sandbox, index: int | None) -> None:
    """The map index is part of it; without one it is -1, as in Airflow's database."""
    runs(wait_for_completion=False, map_index=index).next_try().to_the_end()

    (call,) = sandbox.calls
    assert call["request_metadata"] == marked(map_index=-1 if index is None else index)


def test_the_template_fields() -> None:
    """Everything that a DAG may compute: whom to call, what is said and sent, by which agent."""
    assert set(TelzinoPlaceCallOperator.template_fields) == {
        "to_number",
        "call_context",
        "metadata",
        "callback_url",
        "timezone",
        "agent_id",
        "telzino_conn_id",
    }


def test_default_args_reach_the_shared_arguments() -> None:
    """As in Airflow's own operators, though a base class declares them."""
    task = TelzinoPlaceCallOperator(
        task_id="place",
        to_number=NUMBER,
        default_args={"telzino_conn_id": "other", "poll_interval": 3, "max_attempts": 2},
    )

    assert (task.telzino_conn_id, task.poll_interval, task.redialling.max_attempts) == ("other", 3, 2)
