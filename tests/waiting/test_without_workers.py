"""Tasks that begin or end in the triggerer: what is decided when the DAG is parsed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    Asset,
    TaskDeferred,
)

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.rules.waiting import DEFERRAL_MARGIN
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from tests.conftest import AGENT_ID, CALL_ID
from tests.support.triggerer import BEFORE_3_3, BOTH, END, FROM_3_3
from tests.support.waits import Run

pytestmark = pytest.mark.usefixtures("connected")


@pytest.fixture
def dag() -> Iterator[DAG]:
    """A DAG for the tasks of a test."""
    with DAG("calls", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        yield dag


def placing() -> Any:
    """Create an upstream task."""
    return TelzinoPlaceCallOperator(task_id="place", to_number="+15005550100", wait_for_completion=False)


@pytest.mark.parametrize(
    "make_call_id",
    [
        lambda _: "{{ ti.xcom_pull('place')['id'] }}",
        lambda _: {"id": "{{ task_instance.xcom_pull(task_ids='place', key='id') }}"},
        lambda place: place.output.map(lambda record: record["id"]),
        lambda place: {"id": place.output},
    ],
)
def test_what_a_trigger_cannot_read_is_refused(dag: DAG, make_call_id: Any) -> None:
    """On every Airflow, so that a DAG doesn't break by an upgrade; the message has the working form."""
    call_id = make_call_id(placing())

    with pytest.raises(TelzinoConfigurationError, match=r"`call_id` of task wait .*call_id=place\.output"):
        TelzinoCallSensor(task_id="wait", call_id=call_id, start_from_trigger=True)

    TelzinoCallSensor(task_id="ordinary", call_id=call_id, end_from_trigger=True)


@pytest.mark.parametrize("call_id", [["{{ ti.xcom_pull('place') }}"], {"id": ["{{ params.call_id }}"]}])
def test_what_is_not_text_is_refused(dag: DAG, call_id: Any) -> None:
    """A list could contain a template that a trigger can't read, or personal data."""
    with pytest.raises(TelzinoConfigurationError, match=r"`call_id` of task wait is of type .*template"):
        TelzinoCallSensor(task_id="wait", call_id=call_id, start_from_trigger=True)


def test_the_output_of_a_mapped_task_is_refused(dag: DAG) -> None:
    """It is a list of outputs."""
    mapped: Any = TelzinoGetCallOperator.partial(task_id="get").expand(call_id=[CALL_ID])

    with pytest.raises(TelzinoConfigurationError, match="mapped output"):
        TelzinoCallSensor(task_id="wait", call_id=mapped.output, start_from_trigger=True)


@FROM_3_3
def test_what_airflow_passes_to_the_trigger(dag: DAG) -> None:
    """Literals and templates as they are, outputs by task and key, and the time that the task has."""
    place = placing()
    task = TelzinoCallSensor(
        task_id="wait",
        call_id=place.output,
        agent_id=place.output["agent_id"],
        telzino_conn_id="{{ params.conn }}",
        timeout=600,
        execution_timeout=timedelta(seconds=90),
        **BOTH,
    )

    start: Any = task.start_trigger_args

    assert task.start_from_trigger
    assert task.upstream_task_ids == {"place"}
    assert start.next_method == "execute_complete"
    assert start.timeout == timedelta(seconds=600 + 10 + DEFERRAL_MARGIN)
    assert start.trigger_kwargs == {
        "call_id": None,
        "agent_id": None,
        "telzino_conn_id": "{{ params.conn }}",
        "outputs": {"call_id": ["place", "return_value"], "agent_id": ["place", "agent_id"]},
        "poll_interval": 10,
        "timeout": 600,
        "airflow_timeout": 90,
        "end": END | {"skip_on": []},
    }


@FROM_3_3
def test_what_is_changed_after_a_task_is_made_counts(dag: DAG) -> None:
    """A cluster policy, the return of a DAG function, and mapped tasks that read the output come later."""
    task = TelzinoCallSensor(task_id="wait", call_id=CALL_ID, timeout=600, **BOTH)
    task.execution_timeout = timedelta(seconds=60)
    task.returns_dag_result = True
    start: Any = task.start_trigger_args

    assert start.trigger_kwargs["airflow_timeout"] == 60
    assert start.trigger_kwargs["end"]["is_dag_result"]

    TelzinoGetCallOperator.partial(task_id="each").expand(call_id=task.output)
    start = task.start_trigger_args

    assert start.trigger_kwargs["end"] is None


@FROM_3_3
def test_of_a_record_only_the_ids_are_kept(dag: DAG) -> None:
    """Airflow stores what a trigger is given, and a record has personal data."""
    record = {"id": CALL_ID, "agent_id": AGENT_ID, "to_number": "+15005550100", "at": datetime.max}
    task = TelzinoCallSensor(task_id="wait", call_id=record, **BOTH)
    start: Any = task.start_trigger_args

    assert start.trigger_kwargs["call_id"] == {"id": CALL_ID, "agent_id": AGENT_ID}


@pytest.mark.parametrize(
    "task",
    [
        lambda: TelzinoCallSensor(task_id="wait", call_id=CALL_ID, deferrable=False, **BOTH),
        lambda: TelzinoGetCallOperator(task_id="get", call_id=CALL_ID, wait_for_completion=False, **BOTH),
        lambda: TelzinoCallSensor(task_id="wait", call_id=CALL_ID),
        lambda: TelzinoPlaceCallOperator(task_id="place", to_number="+15005550100", **BOTH),
    ],
)
def test_what_cannot_start_in_the_triggerer_starts_on_a_worker(dag: DAG, task: Any) -> None:
    """The flags, perhaps from ``default_args``, change nothing for it."""
    made = task()

    assert not made.start_from_trigger
    assert made.start_trigger_args is None


def test_mapped_tasks_start_on_a_worker(dag: DAG) -> None:
    """Airflow can't start them in the triggerer; so any template is allowed."""
    template = "{{ ti.xcom_pull('x') }}"
    mapped = TelzinoCallSensor.partial(task_id="wait", agent_id=template, **BOTH).expand(call_id=[CALL_ID])

    assert mapped.start_trigger_args is None


@FROM_3_3
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"outlets": [Asset("calls")]}, "has `outlets`"),
        ({"on_success_callback": print}, "has `on_success_callback`"),
    ],
)
def test_what_airflow_omits_is_warned_of(dag: DAG, arguments: Any, words: str) -> None:
    """Airflow emits no asset event and calls no callback for a task that ends in the triggerer."""
    with pytest.warns(UserWarning, match=words):
        TelzinoCallSensor(task_id="wait", call_id=CALL_ID, end_from_trigger=True, **arguments)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TelzinoCallSensor(task_id="ordinary", call_id=CALL_ID, start_from_trigger=True, **arguments)


@FROM_3_3
def test_a_mapped_task_warns_in_its_log(
    dag: DAG, sandbox: Sandbox, task_log: pytest.LogCaptureFixture
) -> None:
    """Airflow doesn't create it when the DAG is parsed."""
    call = sandbox.add_call("in_progress")
    mapped = TelzinoCallSensor.partial(task_id="wait", outlets=[Asset("calls")], **BOTH).expand(
        call_id=[call["id"]]
    )

    Run(mapped.unmap({"call_id": call["id"]})).step("execute")

    assert "has `outlets`" in task_log.text
    assert "`start_from_trigger` does not apply to mapped tasks" in task_log.text


@BEFORE_3_3
def test_on_an_older_airflow_a_worker_does_it(
    dag: DAG, sandbox: Sandbox, task_log: pytest.LogCaptureFixture
) -> None:
    """The task runs the ordinary way, and logs so once."""
    call = sandbox.add_call("in_progress")
    run = Run(TelzinoCallSensor(task_id="wait", call_id=call["id"], poke_interval=0.1, **BOTH))
    deferral = run.step("execute")
    record = sandbox.finish(call["id"])

    result = run.step("execute_complete", event=run.fire(deferral))

    assert result == record
    assert not run.task.start_from_trigger
    for flag in BOTH:
        assert task_log.text.count(f"`{flag}` needs Airflow 3.3") == 1


@pytest.mark.parametrize("status", ["dialing", "completed"])
@FROM_3_3
def test_a_task_that_the_trigger_ends_leaves_the_first_poll_to_it(sandbox: Sandbox, status: str) -> None:
    """It needs no other worker even if the call has already ended."""
    call = sandbox.add_call(status)

    deferral = Run(TelzinoCallSensor(task_id="wait", call_id=call["id"], end_from_trigger=True)).step(
        "execute"
    )

    assert isinstance(deferral, TaskDeferred)
    assert deferral.trigger.agent_id == AGENT_ID  # whatever becomes of the connection
    assert sandbox.requests == []
