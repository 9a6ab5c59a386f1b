"""A running Airflow that calls people, and what goes wrong meanwhile, whatever kind of task calls them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, DEFAULT_AGENT_ID, Sandbox
from devtools.airflow_instance import AirflowInstance
from devtools.airflow_instance.environment import as_variables
from devtools.processes import ProcessFamily
from devtools.servers import postgres_server
from tests.support.integration.crashes.ledger import Ledger
from tests.support.integration.crashes.supervisor import SETTINGS, Supervisor
from tests.support.integration.running_airflow import running_airflow

REQUEST_TIMEOUT = 3  # seconds, so that a request that is never answered soon fails

LOST_ANSWERS: tuple[dict[str, Any], ...] = (
    {"reset": True, "after_commit": True},
    {"status": 500, "after_commit": True},
    {"hang": True, "after_commit": True},
    {"cut_off": True},
    {"reset": True},
    {"status": 503},
)
"""Of POSTs. The call is placed in the first four cases, and not in the others: the task can't know."""


class CallingSupervisor(Supervisor):
    """Crashes components of an Airflow that calls people, and lets answers get lost."""

    def __init__(self, airflow: AirflowInstance, sandbox: Sandbox, ledger: Ledger, seed: int) -> None:
        super().__init__(airflow, ledger, Random(seed))
        self.sandbox = sandbox
        self.done: Counter[str] = Counter()
        """How often something was killed, or an answer lost, by what it was."""

    def kill_component(self, name: str) -> None:
        """Crash a component, and start it again a little later."""
        self.kill(name)
        self.pause(0, 2)
        self.start_job(name)

    def lose_an_answer(self) -> None:
        """Let the next POST's answer get lost."""
        self.sandbox.faults.next("POST", "outbound-calls$", **self.random.choice(LOST_ANSWERS))


@contextlib.contextmanager
def calling_airflow(
    home: Path, dags: str, dag_id: str, sandbox: Sandbox, **settings: dict[str, Any]
) -> Iterator[tuple[AirflowInstance, Ledger]]:
    """Start Airflow on PostgreSQL, with a connection to the sandbox, and stop everything at the end.

    Args:
        home: Folder for everything that it writes.
        dags: The folder with its DAG files, below ``tests/integration/dags``.
        dag_id: The DAG that calls.
        sandbox: The Telzino.
        settings: Of Airflow, by section.
    """
    with (
        ProcessFamily() as family,
        postgres_server(family) as postgres,
        running_airflow(
            home,
            dags,
            family=family,
            sql_alchemy_conn=postgres.url,
            extra_env=as_variables({**SETTINGS, **settings}),
        ) as airflow,
    ):
        extra = f'{{"agent_id": "{DEFAULT_AGENT_ID}", "timeout": {REQUEST_TIMEOUT}}}'
        airflow.add_connection(
            "telzino_default", "telzino", host=sandbox.url, password=ACCESS_TOKEN, extra=extra
        )
        airflow.wait_for_dag(dag_id)
        yield airflow, Ledger(postgres.url)
