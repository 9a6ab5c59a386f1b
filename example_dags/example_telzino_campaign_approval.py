"""Plan a campaign, let a person approve the plan, and call. If something has changed since, nobody is called.

A DAG run takes all contacts that no other has taken, so that new ones don't change what is approved. The
web interface shows the plan under *Required Actions*. After a rejection, set `dag_run` of the contacts to
NULL to have the next run plan them.

- **Needs** Airflow 3.1 or newer, the connection `telzino_default`, `apache-airflow-providers-sqlite`, and a
  connection `contacts_db` to a database with the table below.
- **Start it** when there are new contacts. It calls real people, unless `telzino_default` leads to a
  sandbox.
- **Change** the statements to fit your table, what is planned (`CAMPAIGN`), and what the person reads
  (`PLAN`).

The table:

    CREATE TABLE contacts (
        id INTEGER PRIMARY KEY, to_number TEXT NOT NULL, name TEXT, timezone TEXT, dag_run TEXT
    )
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.sqlite.hooks.sqlite import SqliteHook
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, task

from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator

TAKE = "UPDATE contacts SET dag_run = ? WHERE dag_run IS NULL"
READ = "SELECT id, to_number, name, timezone FROM contacts WHERE dag_run = ? ORDER BY id"

PLAN = """
{%- set plan = ti.xcom_pull(task_ids="plan") -%}
**{{ "{:,}".format(plan.contacts) }} contacts** get {{ "{:,}".format(plan.calls_at_most) }} calls at most
{%- if plan.first_dial %}, from **{{ plan.first_dial }}** to **{{ plan.last_dial }}** if you approve now
{%- endif %}.

| time zone | contacts |
|---|--:|
{% for zone, contacts in plan.time_zones.items() -%}
| {{ zone }} | {{ "{:,}".format(contacts) }} |
{% endfor %}
{% if plan.not_in_time -%}
**{{ plan.not_in_time }} contacts won't be called**: their calling hours don't begin in time.

{% endif %}
{%- if plan.rejects -%}
**{{ plan.rejects | length }} contacts are invalid.** Reject the plan and correct them, else nobody is called:

{% for reject in plan.rejects[:20] -%}
- position {{ reject.position }}: {{ reject.reason }}
{% endfor %}
{%- endif %}
"""


def read_contacts(run_id: str) -> list[dict[str, Any]]:
    """Return the contacts of this run. It runs on the worker: they don't enter Airflow's database."""
    columns = ("id", "to_number", "name", "timezone")
    rows = SqliteHook("contacts_db").get_records(READ, (run_id,))
    return [dict(zip(columns, row, strict=True)) for row in rows]


CAMPAIGN: dict[str, Any] = {
    "contacts": read_contacts,
    "call_context": "You are calling {{ contact.name | default('a customer', true) }} to renew a contract.",
    "max_attempts": 3,
    "redial_delay": timedelta(hours=2),
    "calling_hours": ("09:00", "20:00"),  # of each contact's own time
    "record_fields": ["id", "status", "ended_at"],  # no personal data in XCom
}
"""What is planned is what is approved, and what is done."""


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["example", "telzino"],
    doc_md=__doc__,  # the web interface shows it
)
def example_telzino_campaign_approval() -> None:
    """Take the new contacts, plan, ask, call."""

    @task(retries=2)
    def take(run_id: str | None = None) -> None:
        """Take the new contacts for this run."""
        SqliteHook("contacts_db").run(TAKE, parameters=(run_id,))

    plan = TelzinoCampaignOperator(task_id="plan", dry_run=True, **CAMPAIGN)
    approve = ApprovalOperator(task_id="approve", subject="Call these contacts?", body=PLAN)
    call = TelzinoCampaignOperator(task_id="call", approved_plan=plan.output, retries=3, **CAMPAIGN)

    take() >> plan >> approve >> call


example_telzino_campaign_approval()
