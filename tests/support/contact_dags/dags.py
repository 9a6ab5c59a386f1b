"""Tasks whose contacts come from everywhere they can: print their DAG as Airflow serializes it, or run it.

Airflow reads once in each process where the folder of DAGs is, and these aren't in that of the tests.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from typing import Any

from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_telzino.placing.contact_source import ContactSource, TakesContacts
from airflow_provider_telzino.placing.contacts import contacts_error, read_contacts

RESULT_MARK = "RESULT "
"""Begins the line with the results. Airflow may print more after it, when the process ends."""
SECRET = "SECRET"
"""In all contacts that may not be stored with the DAG or with a rendered field."""
NAME = "{{ 1 / 0 }} " + SECRET
"""A contact's field that would fail the task if it were rendered."""
FIRST = {"to_number": "+18135551234", "name": NAME}
SECOND = {"to_number": "+18135551235", "name": NAME}


class Source(BaseOperator):
    """Pushes what it is given, which isn't a template."""

    def __init__(self, *, pushes: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pushes = pushes

    def execute(self, context: Any) -> Any:
        """Push it."""
        return self.pushes


class Campaign(TakesContacts, BaseOperator):
    """Reads its contacts as a campaign does, and pushes what it has read."""

    template_fields = ("contacts", "note")

    def __init__(self, *, contacts: Any, note: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.contacts = ContactSource.of(contacts)
        self.note = note

    def execute(self, context: Any) -> Any:
        """Push numbers and names."""
        contacts, rejects = read_contacts(self.contacts.read(context))
        if rejects:
            raise contacts_error(contacts, rejects)
        return [[each.to_number, each.fields.get("name")] for each in contacts]


def contacts_of_the_run(params: Any) -> list[dict[str, str]]:
    """What a function of a DAG file returns, which Airflow never sees."""
    return [FIRST, {**SECOND, "to_number": params["to_number"]}]


def build() -> tuple[DAG, DAG]:
    """Create the DAGs. Literal contacts have no secrets: they stand in the DAG file."""
    pull = "{{ ti.xcom_pull(task_ids='source') | tojson }}"
    arguments: dict[str, Any] = {"start_date": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    with DAG("contacts", schedule=None, params={"to_number": SECOND["to_number"]}, **arguments) as dag:
        source = Source(task_id="source", pushes=[FIRST, SECOND])
        lists = Source(task_id="lists", pushes=[[FIRST], [FIRST, SECOND]])
        texts = Source(task_id="texts", pushes=[json.dumps([FIRST]), json.dumps([SECOND])])
        Campaign(task_id="literal", contacts=[FIRST, SECOND])
        Campaign(task_id="output", contacts=source.output)
        source >> Campaign(task_id="template", contacts=pull)
        Campaign(task_id="function", contacts=contacts_of_the_run)
        Campaign.partial(task_id="mapped_output").expand(contacts=lists.output)
        Campaign.partial(task_id="mapped_texts").expand(contacts=texts.output)
        Campaign.partial(task_id="mapped_literals").expand(
            contacts=[[FIRST["to_number"]], [SECOND["to_number"]]]
        )
        for name, contacts in {
            "partial_literal": [FIRST, SECOND],
            "partial_output": source.output,
            "partial_template": pull,
            "partial_function": contacts_of_the_run,
        }.items():
            task = Campaign.partial(task_id=name, contacts=contacts).expand(note=["a", "b"])
            if name == "partial_template":
                source >> task
    with DAG("native_contacts", schedule=None, render_template_as_native_obj=True, **arguments) as native:
        source = Source(task_id="source", pushes=[FIRST, SECOND])
        source >> Campaign(task_id="template", contacts="{{ ti.xcom_pull(task_ids='source') }}")
    return dag, native


DAGS = CONTACTS, NATIVE = build()  # where Airflow finds them


def serialized(dag: DAG) -> Any:
    """The DAG as Airflow stores it."""
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    except ImportError:  # before 3.2
        from airflow.serialization.serialized_objects import (  # type: ignore[assignment, attr-defined]
            SerializedDAG as Serialization,
        )
    return Serialization.to_dict(dag)


def run(dag: DAG) -> dict[str, Any]:
    """Run it; return what each task pushed and what Airflow shows of its contacts."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session

    tasks = dag.test().get_task_instances()
    with create_session() as session:
        shown = [RenderedTaskInstanceFields.get_templated_fields(ti, session=session) or {} for ti in tasks]
    return {
        f"{ti.task_id}[{ti.map_index}]": {
            "state": ti.state,
            "pushed": ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index),
            "shown": fields.get("contacts"),
        }
        for ti, fields in zip(tasks, shown, strict=True)
    }


def main() -> None:
    """Print what the argument asks for."""
    if sys.argv[1] == "serialize":
        results = {dag.dag_id: serialized(dag) for dag in DAGS}
    else:
        results = {dag.dag_id: run(dag) for dag in DAGS}
    print(RESULT_MARK + json.dumps(results, default=str))


if __name__ == "__main__":
    main()
