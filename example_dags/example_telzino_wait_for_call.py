"""Wait for a phone call and work with its outcome.

The call's status decides what comes next: `read_summary` if somebody answered, or `call_again_later`.

- **Needs** the connection `telzino_default` only. It calls nobody.
- **Start it** with the id of a call that was already placed.
- **Change** what follows the call: `read_summary`, `call_again_later`.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_telzino.models import Call, CallStatus
from airflow_provider_telzino.sensors.call import TelzinoCallSensor


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["example", "telzino"],
    doc_md=__doc__,  # the web interface shows it
    params={
        "call_id": Param(type="string", format="uuid", description="The call to wait for."),
        "agent_id": Param(
            default=None,
            type=["null", "string"],
            format="uuid",
            description="The agent that made it; empty means the connection's.",
        ),
    },
)
def example_telzino_wait_for_call() -> None:
    """Wait for a call, branch on its status, and use its record."""
    wait_for_call = TelzinoCallSensor(
        task_id="wait_for_call",
        call_id="{{ params.call_id }}",
        agent_id="{{ params.agent_id or '' }}",
        poke_interval=5,
        timeout=60 * 60,
    )

    @task.branch
    def choose(record: dict[str, Any]) -> str:
        """Say which task comes next: the call's status decides."""
        if Call.from_record(record).status == CallStatus.COMPLETED:
            return "read_summary"
        return "call_again_later"

    @task(show_return_value_in_logs=False)  # a summary is personal data: not for logs
    def read_summary(record: dict[str, Any]) -> dict[str, Any]:
        """Take from the record what is of use later on."""
        call = Call.from_record(record)
        talk_time = call.talk_time.total_seconds() if call.talk_time else 0.0
        first_line = (call.summary_text or "").partition("\n")[0]
        print(f"Talked for {talk_time:.0f} s. Summary: {len(call.summary_text or '')} characters.")
        return {"call_id": call.id, "talk_seconds": round(talk_time), "headline": first_line}

    @task
    def call_again_later(record: dict[str, Any]) -> str:
        """Handle a call that reached nobody: here you'd plan another one."""
        call = Call.from_record(record)
        print(f"Nobody was reached ({call.status}, SIP code {call.sip_status_code}).")
        return str(call.status)

    record = wait_for_call.output
    choose(record) >> [read_summary(record), call_again_later(record)]  # type: ignore[arg-type]  # a task's output stands for what it returns


example_telzino_wait_for_call()
