"""Place a phone call, wait for its end and work with its outcome.

However often the task is retried, the person is called once. The call's status decides what comes next: the
transcript of a call that somebody answered, or `not_reached`.

- **Needs** the connection `telzino_default` only. It calls a real person, unless that leads to a sandbox.
- **Start it** with a phone number.
- **Change** what the agent should know (`call_context`), and what follows the call: `count_turns`,
  `not_reached`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_telzino.models import Call, CallStatus
from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator
from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["example", "telzino"],
    doc_md=__doc__,  # the web interface shows it
    params={
        "to_number": Param(type="string", pattern="^[+][1-9][0-9]{1,14}$", description="E.164."),
        "call_context": Param(
            default="You are calling to confirm an appointment tomorrow at 2pm.",
            type="string",
            maxLength=4000,
            description="What the agent shall know of this call.",
        ),
        "crm_id": Param(default="", type="string", description="Comes back in the record's metadata."),
    },
)
def example_telzino_place_call() -> None:
    """Call somebody, branch on the status, and get the transcript."""
    place_call = TelzinoPlaceCallOperator(
        task_id="place_call",
        to_number="{{ params.to_number }}",
        call_context="{{ params.call_context }}",
        metadata={"crm_id": "{{ params.crm_id }}"},
        poll_interval=5,
        timeout=60 * 60,
        retries=2,  # for crashes and outages: they never lead to a second call
        retry_delay=timedelta(minutes=1),
    )

    @task.branch
    def choose(record: dict[str, Any]) -> str:
        """Say which task comes next: the call's status decides."""
        return "transcript" if Call.from_record(record).status == CallStatus.COMPLETED else "not_reached"

    transcript = TelzinoGetTranscriptOperator(
        task_id="transcript",
        transcript_id=place_call.output,  # type: ignore[arg-type]  # a task's output stands for what it returns
        content="entries",
    )

    @task
    def count_turns(entries: list[dict[str, Any]]) -> dict[str, int]:
        """Work with what was said: here, count who spoke how often."""
        speakers = [entry["speaker"] for entry in entries]
        return {speaker: speakers.count(speaker) for speaker in set(speakers)}

    @task
    def not_reached(record: dict[str, Any]) -> str:
        """Handle a call that reached nobody."""
        return f"Nobody was reached ({record['status']}, SIP code {record['sip_status_code']})."

    record = place_call.output
    choose(record) >> [transcript, not_reached(record)]  # type: ignore[arg-type]  # as above
    count_turns(transcript.output)  # type: ignore[arg-type]  # as above


example_telzino_place_call()
