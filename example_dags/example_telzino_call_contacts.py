"""Call all contacts that a task gives, and get the transcripts of those who answered.

One mapped task for each contact: each calls within the calling hours of its contact, and once more if
nobody answers. The web interface shows the mapped tasks by row and call, never by number.

- **Needs** the connection `telzino_default` only. It calls real people, unless that leads to a sandbox.
- **Start it** as it is to call two numbers of the sandbox, or with numbers of your own.
- **Change** `contacts`, to read yours from wherever they are, `count_words`, and when to call again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator
from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["example", "telzino"],
    doc_md=__doc__,  # the web interface shows it
    params={
        "to_numbers": Param(
            default=["+15005550100", "+15005550102"],
            type="array",
            items={"type": "string", "pattern": "^[+][1-9][0-9]{1,14}$"},
            description="E.164. The defaults are numbers of the sandbox.",
        ),
        "timezone": Param("America/New_York", type="string", description="Of all contacts."),
    },
)
def example_telzino_call_contacts() -> None:
    """Call each contact, and read what those who answered said."""

    @task(show_return_value_in_logs=False)  # phone numbers are personal data: not for logs
    def contacts(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return whom to call, and what the agent should know. Yours come from a database."""
        given = params or {}
        return [
            {
                "to_number": number,
                "timezone": given["timezone"],
                "call_context": "Ask how they liked our service.",
                "metadata": {"row": row},
            }
            for row, number in enumerate(given["to_numbers"])
        ]

    call = TelzinoPlaceCallOperator.partial(
        task_id="call",
        redial_on=["no_answer"],
        max_attempts=2,
        redial_delay=timedelta(hours=3),
        calling_hours=("09:00", "20:00"),
        fail_on=[],  # one who isn't reached must not stop the tasks that come next
        record_fields=["id", "agent_id", "status", "ended_at", "transcript_id"],  # no personal data in XCom
        poll_interval=5,
        retries=2,
        retry_delay=timedelta(minutes=1),
        max_active_tis_per_dagrun=20,
        map_index_template="row {{ task.metadata['row'] }}",  # never the number: everybody sees it
    ).expand_kwargs(contacts())

    @task
    def answered(records: Any) -> list[dict[str, Any]]:
        """Choose the calls that somebody answered."""
        return [record for record in records if record["status"] == "completed"]

    transcript = TelzinoGetTranscriptOperator.partial(
        task_id="transcript", map_index_template="call {{ task.transcript_id['id'] }}"
    ).expand(transcript_id=answered(call.output))

    @task
    def count_words(transcripts: Any) -> int:
        """Work with what was said: here, count the words."""
        return sum(len(text.split()) for text in transcripts)

    count_words(transcript.output)


example_telzino_call_contacts()
