"""Call everybody who is new in a table, write the outcomes back, and report them, every night.

Each contact is called from 9:00 to 20:00 of their time, at most three times. A contact belongs to the DAG
run that has taken it, so that no other run calls it, whatever goes wrong. To have it called by the next
run, set its `dag_run` to NULL. The web interface shows the mapped tasks by the contact's id, never by
number.

- **Needs** the connection `telzino_default`, `apache-airflow-providers-sqlite` (for PostgreSQL its own
  provider and hook, and `%s` for `?`), and a connection `contacts_db` to a database with the table below.
- **Start it** by unpausing it: it calls people from then on, real ones unless `telzino_default` leads to a
  sandbox.
- **Change** the `schedule`, the statements to fit your table, and `report`.

The table:

    CREATE TABLE contacts (
        id INTEGER PRIMARY KEY, to_number TEXT NOT NULL, timezone TEXT, call_context TEXT,
        dag_run TEXT, call_id TEXT, outcome TEXT, ended_at TEXT
    )
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.sqlite.hooks.sqlite import SqliteHook
from airflow.sdk import dag, task

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator

TAKE = """
    UPDATE contacts SET dag_run = ? WHERE id IN
    (SELECT id FROM contacts WHERE dag_run IS NULL OR dag_run = ? ORDER BY dag_run IS NULL, id LIMIT 1000)
"""  # a task can be mapped over 1,024 contacts, by default ([core] max_map_length)
READ = "SELECT id, to_number, timezone, call_context FROM contacts WHERE dag_run = ? ORDER BY id"
WRITE = "UPDATE contacts SET call_id = ?, outcome = ?, ended_at = ? WHERE id = ?"
COUNT = "SELECT coalesce(outcome, 'no outcome'), count(*) FROM contacts WHERE dag_run = ? GROUP BY outcome"


@dag(
    schedule="@daily",
    is_paused_upon_creation=True,  # it calls people as soon as it is switched on
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["example", "telzino"],
    doc_md=__doc__,  # the web interface shows it
)
def example_telzino_nightly_calls() -> None:
    """Take the new contacts, call them, write the outcomes back, and count them."""

    @task(retries=2, show_return_value_in_logs=False)  # phone numbers are personal data: not for logs
    def contacts(run_id: str | None = None) -> list[dict[str, Any]]:
        """Take new contacts for this run. A retried or cleared task takes those that it has taken already."""
        database = SqliteHook("contacts_db")
        database.run(TAKE, parameters=(run_id, run_id))
        return [
            {
                "to_number": to_number,
                "timezone": timezone,
                "call_context": call_context,
                "metadata": {"contact_id": contact_id},
            }
            for contact_id, to_number, timezone, call_context in database.get_records(READ, (run_id,))
        ]

    call = TelzinoPlaceCallOperator.partial(
        task_id="call",
        redial_on=["no_answer", "busy"],
        max_attempts=3,
        redial_delay=timedelta(hours=2),
        calling_hours=("09:00", "20:00"),
        fail_on=[],  # an outcome isn't an error: it goes into the table
        record_fields=["id", "status", "ended_at", "request_metadata"],  # no personal data in XCom
        map_index_template="contact {{ task.metadata['contact_id'] }}",
        retries=3,
    ).expand_kwargs(contacts())

    @task(trigger_rule="all_done", retries=3)  # also if the task of a contact has failed
    def write_back(records: Any) -> None:
        """Write each outcome to its contact, however often this runs."""
        database = SqliteHook("contacts_db")
        for record in records or []:  # None if nobody was to be called
            outcome = (record["id"], record["status"], record["ended_at"])
            database.run(WRITE, parameters=(*outcome, record["request_metadata"]["contact_id"]))

    @task
    def report(run_id: str | None = None) -> dict[str, int]:
        """Count the outcomes. A contact without one has a failed task: its log says why."""
        return dict(SqliteHook("contacts_db").get_records(COUNT, (run_id,)))

    @task
    def all_called() -> None:
        """Let the DAG run fail if the task of a contact has failed; without this it would succeed."""

    write_back(call.output) >> report()
    call >> all_called()


example_telzino_nightly_calls()
