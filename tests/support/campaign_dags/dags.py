"""Run campaigns with ``dag.test()`` against a sandbox, in a process of its own; print the results.

Airflow reads once in each process where the folder of DAGs is, and this DAG isn't in that of the tests.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import chain

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator as Campaign
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS
from tests.support.dag_test_run import RESULT_MARK, run_dag, scripted

try:
    from airflow.sdk import task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task  # type: ignore[no-redef, attr-defined]

BUSY_ONCE = MAGIC_NUMBERS["busy_then_completed"]


def numbers(kind: int, count: int = 5) -> list[str]:
    """Return phone numbers; each kind of campaign has its own. One of the first kind is busy at first."""
    given = [f"+1813{kind:03d}{position:04d}" for position in range(count)]
    return [BUSY_ONCE, *given[1:]] if kind == 0 else given


CONTACTS: dict[str, list[str]] = {
    name: numbers(kind) for kind, name in enumerate(("literal", "from_a_function", "from_a_task"))
}
MAPPED: dict[str, list[list[str]]] = {
    "mapped": [numbers(3, 2), numbers(4, 3)],
    "mapped_over_a_task": [numbers(5, 3), numbers(6, 2)],
}


@task
def contacts() -> list[str]:
    """Return the contacts of a campaign."""
    return CONTACTS["from_a_task"]


@task
def lists() -> list[list[str]]:
    """Return those of a mapped one."""
    return MAPPED["mapped_over_a_task"]


def contacts_of_the_run() -> list[str]:
    """Return those that the worker reads."""
    return CONTACTS["from_a_function"]


with DAG("campaigns", schedule=None) as dag:
    Campaign(task_id="literal", contacts=CONTACTS["literal"])
    Campaign(task_id="from_a_function", contacts=contacts_of_the_run, max_active_calls=2)
    Campaign(task_id="from_a_task", contacts=contacts())
    Campaign.partial(task_id="mapped").expand(contacts=MAPPED["mapped"])
    Campaign.partial(task_id="mapped_over_a_task").expand(contacts=lists())


def main() -> None:
    """Run the DAG."""
    lists = [*CONTACTS.values(), *(each for lists in MAPPED.values() for each in lists)]
    outcomes = {number: ["completed"] for number in chain(*lists)} | {BUSY_ONCE: ["busy", "completed"]}
    with scripted(outcomes) as telzino:
        result = asdict(run_dag(dag)) | {"calls": telzino.calls}
    print(RESULT_MARK + json.dumps(result, default=str))


if __name__ == "__main__":
    main()
