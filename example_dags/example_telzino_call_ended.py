"""Run for each call that ends, whoever placed it: event-driven, on Airflow 3.

A watcher in the triggerer polls the agent's calls and emits an event for each that ends. Airflow starts
this DAG for it, with several events in one run if they come close together. The web interface shows the
mapped tasks by the id of their call.

- **Needs** Airflow 3 and the connection `telzino_default`, with an agent. It calls nobody.
- **Start it** by unpausing it: Airflow stops the watcher of a paused DAG.
- **Change** `handle`. It may see a call twice.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_provider_telzino.models import Call
from airflow_provider_telzino.operators.call import TelzinoGetCallOperator
from airflow_provider_telzino.triggers.ended_calls import TelzinoCallEndedTrigger

ended_calls = Asset(
    name="telzino_ended_calls",
    uri="telzino://ended_calls",
    watchers=[AssetWatcher(name="telzino_ended_calls", trigger=TelzinoCallEndedTrigger())],
)


@dag(
    schedule=[ended_calls],
    is_paused_upon_creation=True,  # its watcher polls as soon as it is switched on
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["example", "telzino"],
    doc_md=__doc__,  # the web interface shows it
)
def example_telzino_call_ended() -> None:
    """Get the record of each call that has ended, and work with it."""

    @task
    def calls(triggering_asset_events: Any = None) -> list[dict[str, str]]:
        """Return the calls of all events of this run, each once: an event may come twice."""
        payloads = [event.extra["payload"] for events in triggering_asset_events.values() for event in events]
        agents = {payload["call_id"]: payload["agent_id"] for payload in payloads}
        return [{"id": call_id, "agent_id": agent_id} for call_id, agent_id in agents.items()]

    record = TelzinoGetCallOperator.partial(
        task_id="record",
        fail_on=[],  # a call that failed is an outcome like any other here
        retries=3,
        map_index_template="call {{ task.call_id['id'] }}",
    ).expand(call_id=calls())

    @task(
        show_return_value_in_logs=False,  # a summary is personal data: not for logs
        map_index_template="call {{ task.op_kwargs['record']['id'] }}",
    )
    def handle(record: dict[str, Any]) -> dict[str, Any]:
        """Work with the call. It may come again after a restart: what you write should bear that."""
        call = Call.from_record(record)
        print(f"Call {call.id} ended with {call.status}.")
        return {"call_id": call.id, "headline": (call.summary_text or "").partition("\n")[0]}

    handle.expand(record=record.output)


example_telzino_call_ended()
