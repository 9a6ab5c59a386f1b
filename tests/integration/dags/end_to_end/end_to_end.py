"""Every way to wait and every way to end, in one DAG run.

The run's ``conf`` has the ids of calls that were already placed, by how each will end.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.sensors.call import TelzinoCallSensor

CALLS = ("completed", "no_answer", "busy", "failed", "early", "long", "refused")


def call(ending: str) -> str:
    """Return the template for the id of the call that ends so."""
    return "{{ params.%s }}" % ending  # noqa: UP031  # braces


@task(trigger_rule="all_done", show_return_value_in_logs=False)
def seen(records: dict[str, Any]) -> dict[str, Any]:
    """Return what a downstream task gets from XCom, also of tasks that failed or were skipped."""
    return records


@task
def ids(params: dict[str, Any] | None = None) -> list[str]:
    """Return the calls to wait for in mapped tasks."""
    return list((params or {})["mapped"])


@task(show_return_value_in_logs=False)
def collect(records: Any) -> list[dict[str, Any]]:
    """Collect what the mapped tasks pushed."""
    return list(records)


def branch_on(name: str, record: Any) -> None:
    """Branch on a record's status, and follow up."""
    follow_ups = {"completed": f"talked_{name}", "no_answer": f"call_again_{name}"}

    @task.branch(task_id=f"choose_{name}")
    def choose(record: Any) -> str:
        return follow_ups[record["status"]]

    @task(task_id=follow_ups["completed"], show_return_value_in_logs=False)
    def talked(record: Any) -> str:
        return str(record["summary_text"])

    @task(task_id=follow_ups["no_answer"])
    def call_again(record: Any) -> int:
        return int(record["sip_status_code"])

    choose(record) >> [talked(record), call_again(record)]


def only_with_all(name: str, record: Any) -> None:
    """Work with a record, if the wait has succeeded."""

    @task(task_id=name)
    def work(record: Any) -> str:
        return str(record["id"])

    work(record)


@dag(
    schedule=None,
    params={
        **{name: Param(None, type=["null", "string"]) for name in CALLS},
        "mapped": Param([], type="array"),
    },
)
def end_to_end() -> None:
    """Wait in all modes, for all outcomes; place a call with personal data from Airflow's variables."""
    quick: dict[str, Any] = {"poke_interval": 1}
    poked: dict[str, Any] = {"poke_interval": 1, "deferrable": False}
    # Airflow fails a task that is queued again before its executor has reported the end of its previous run.
    rescheduled: dict[str, Any] = {"poke_interval": 15, "deferrable": False, "mode": "reschedule"}
    retried: dict[str, Any] = {"retries": 2, "retry_delay": 1}
    skip: dict[str, Any] = {"skip_on": ["busy"]}

    waits = [
        TelzinoCallSensor(task_id="deferred", call_id=call("completed"), **quick),
        TelzinoCallSensor(task_id="poked", call_id=call("completed"), **poked),
        TelzinoCallSensor(task_id="rescheduled", call_id=call("completed"), **rescheduled),
        TelzinoCallSensor(
            task_id="cut",
            call_id=call("completed"),
            telzino_conn_id="telzino_pasted",
            record_fields=["id", "status", "duration"],
            **quick,
        ),
        TelzinoGetCallOperator(task_id="got", call_id=call("no_answer"), poll_interval=1),
        TelzinoGetCallOperator(task_id="got_early", call_id=call("early")),
        got_now := TelzinoGetCallOperator(
            task_id="got_now", call_id=call("no_answer"), wait_for_completion=False
        ),
        TelzinoCallSensor(
            task_id="by_record",
            call_id=got_now.output,  # type: ignore[arg-type]  # an XComArg
            **quick,
        ),
        TelzinoCallSensor(task_id="fails", call_id=call("failed"), **retried, **quick),
        TelzinoCallSensor(task_id="fails_poked", call_id=call("failed"), **retried, **poked),
        TelzinoCallSensor(task_id="fails_rescheduled", call_id=call("failed"), **retried, **rescheduled),
        TelzinoCallSensor(task_id="fails_softly", call_id=call("failed"), soft_fail=True, **quick),
        TelzinoCallSensor(task_id="skips", call_id=call("busy"), **skip, **quick),
        TelzinoCallSensor(task_id="skips_poked", call_id=call("busy"), **skip, **poked),
        TelzinoCallSensor(task_id="skips_rescheduled", call_id=call("busy"), **skip, **rescheduled),
        TelzinoGetCallOperator(
            task_id="got_poked", call_id=call("completed"), deferrable=False, poll_interval=1
        ),
        TelzinoGetCallOperator(task_id="got_fails", call_id=call("failed"), **retried, poll_interval=1),
        TelzinoGetCallOperator(task_id="got_skips", call_id=call("busy"), **skip, poll_interval=1),
        TelzinoPlaceCallOperator(
            task_id="placed",
            to_number="{{ var.value.to_number }}",
            call_context="{{ var.value.call_context }}",
            metadata={"name": "{{ var.value.request_metadata }}"},
            poll_interval=1,
        ),
    ]
    records = {wait.task_id: wait.output for wait in waits}
    seen(records)
    branch_on("deferred", records["deferred"])
    branch_on("got", records["got"])

    only_with_all("after_a_failed_wait", records["fails"])
    only_with_all("after_a_skipped_wait", records["skips"])

    late: dict[str, Any] = {"call_id": call("long"), "timeout": 6}
    TelzinoCallSensor(task_id="late", **late, **retried, **quick)
    TelzinoCallSensor(task_id="late_softly", soft_fail=True, **late, **quick)
    TelzinoGetCallOperator(task_id="got_late", **late, poll_interval=1)
    TelzinoGetCallOperator(task_id="got_late_softly", soft_fail=True, **late, poll_interval=1)
    TelzinoCallSensor(task_id="late_poked", **late, **retried, **poked)
    TelzinoCallSensor(task_id="late_rescheduled", **late, **retried, **rescheduled)

    TelzinoCallSensor(task_id="refused", call_id=call("refused"), telzino_conn_id="telzino_pasted")
    TelzinoCallSensor(task_id="wrong_secret", call_id=call("long"), telzino_conn_id="telzino_wrong")

    mapped = TelzinoCallSensor.partial(task_id="mapped", fail_on=(), **quick).expand(call_id=ids())
    collect(mapped.output)


end_to_end()
