"""Tasks that begin or end in the triggerer: with each outcome, and each way to pass the call.

The runs' ``conf`` has the ids of calls that were already placed, by how each will end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.sensors.call import TelzinoCallSensor

NAMES = ("completed", "no_answer", "busy", "failed", "long", "refused", "none")
QUICK: dict[str, Any] = {"poke_interval": 1}
FLAGS: dict[str, Any] = {"end_from_trigger": True, "start_from_trigger": True}
BOTH = FLAGS | QUICK
KILLED_WAITS = 12


def call(name: str) -> str:
    """Return the template for the id of the call that ends so."""
    return "{{ params.%s }}" % name  # noqa: UP031  # braces


def note_success(context: Any) -> None:
    """Leave a file that says that a task has succeeded."""
    ti = context["ti"]
    Path(context["params"]["folder"], f"success of {ti.task_id}").touch()


@task(show_return_value_in_logs=False)
def placed(params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a record, as a task does that places a call by other means."""
    given = params or {}
    return {"id": given["completed"], "agent_id": given["agent"], "to_number": given["to_number"]}


@task(multiple_outputs=True, show_return_value_in_logs=False)
def placed_in_pieces(params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a record whose fields are separate XComs."""
    given = params or {}
    return {"id": given["completed"], "agent_id": given["agent"]}


@task
def ids(params: dict[str, Any] | None = None) -> list[str]:
    """Return the calls to wait for in mapped tasks."""
    return list((params or {})["mapped"])


@task(trigger_rule="all_done", show_return_value_in_logs=False)
def seen(records: dict[str, Any]) -> dict[str, Any]:
    """Return what a downstream task gets from XCom, also of tasks that failed or were skipped."""
    return {name: list(each) if name == "mapped" else each for name, each in records.items()}


@task
def length_of(item: Any) -> int:
    """Map over a record."""
    return len(str(item))


@dag(
    schedule=None,
    params={
        **{name: Param(None, type=["null", "string"]) for name in (*NAMES, "folder", "agent", "to_number")},
        "mapped": Param([], type="array"),
    },
)
def without_workers() -> None:
    """Begin and end in the triggerer, wherever possible."""
    one: Any = placed()
    pieces: Any = placed_in_pieces()
    end_only: dict[str, Any] = {"end_from_trigger": True}
    start_only: dict[str, Any] = {"start_from_trigger": True}
    sensor: Any = TelzinoCallSensor  # it also accepts XComArgs
    waits = [
        sensor(task_id="by_param", call_id=call("completed"), on_success_callback=note_success, **BOTH),
        sensor(task_id="by_conf", call_id="{{ dag_run.conf['no_answer'] }}", **BOTH),
        sensor(task_id="by_variable", call_id="{{ var.value.the_call }}", **BOTH),
        sensor(task_id="by_output", call_id=one, **BOTH),
        sensor(task_id="by_keys", call_id=pieces["id"], agent_id=pieces["agent_id"], **BOTH),
        TelzinoGetCallOperator(
            task_id="got", call_id=call("completed"), multiple_outputs=True, poll_interval=1, **FLAGS
        ),
        sensor(task_id="cut", call_id=call("completed"), record_fields=["id", "status", "x"], **BOTH),
        sensor(task_id="silent", call_id=call("completed"), do_xcom_push=False, **BOTH),
        sensor(task_id="end_only", call_id=call("completed"), **end_only, **QUICK),
        sensor(task_id="start_only", call_id=call("completed"), **start_only, **QUICK),
        sensor(task_id="fails", call_id=call("failed"), retries=2, retry_delay=1, **BOTH),
        sensor(task_id="skips", call_id=call("busy"), skip_on=["busy"], **BOTH),
        sensor(task_id="late", call_id=call("long"), timeout=6, **BOTH),
        sensor(task_id="late_softly", call_id=call("long"), timeout=6, soft_fail=True, **BOTH),
        sensor(task_id="wrong_secret", call_id=call("long"), telzino_conn_id="telzino_wrong", **BOTH),
        sensor(task_id="bad_id", call_id=call("none"), **BOTH),
        mapped_over := sensor(task_id="mapped_over", call_id=call("completed"), **BOTH),
        sensor.partial(task_id="mapped", fail_on=(), **BOTH).expand(call_id=ids()),
        TelzinoPlaceCallOperator(
            task_id="place", to_number="{{ params.to_number }}", end_from_trigger=True, poll_interval=1
        ),
    ]
    length_of.expand(item=mapped_over.output)
    seen({wait.task_id: wait.output for wait in waits if wait.task_id != "silent"})


@dag(
    schedule=None,
    params={"calls": Param([], type="array")},
)
def killed_waits() -> None:
    """Wait for many calls, without workers; half of them mapped."""
    for index in range(KILLED_WAITS):
        TelzinoCallSensor(
            task_id=f"wait_{index}",
            call_id=f"{{{{ params.calls[{index}] }}}}",
            **BOTH,
        )

    @task
    def others(params: dict[str, Any] | None = None) -> list[str]:
        return list((params or {})["calls"][KILLED_WAITS:])

    TelzinoCallSensor.partial(task_id="mapped", **BOTH).expand(call_id=others())


without_workers()
killed_waits()
