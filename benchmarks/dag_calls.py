"""The calls that each contender's DAG waits for, or places, from the JSON file that ``BENCH`` names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG

BENCH = json.loads(Path(os.environ["BENCH"]).read_text())
TELZINO = "bench_telzino"
SHARED: dict[str, Any] = {"poke_interval": BENCH["interval"], "timeout": 1800}
OURS: dict[str, Any] = SHARED | {"telzino_conn_id": TELZINO}


def dags_of(contender: str) -> Iterator[list[dict[str, Any]]]:
    """Open a contender's DAGs one by one; yield the calls that each waits for.

    Each contender has a DAG file of its own: a worker run parses one file, and imports what that imports.
    """
    for dag_id, calls in BENCH.get("calls", {}).items():
        if dag_id.removeprefix("warm_up_") == contender:
            with DAG(dag_id, schedule=None, max_active_tasks=len(calls)):
                yield [{"agent_id": agent_id, "call_id": call_id} for agent_id, call_id, _ in calls]


def placing_dags_of(contender: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Open a contender's DAGs one by one; yield how many contacts each has, and the arguments."""
    for dag_id, placing in BENCH.get("placing", {}).items():
        if placing["contender"] == contender:
            shared = {"telzino_conn_id": TELZINO, "poll_interval": BENCH["interval"]}
            with DAG(dag_id, schedule=None, max_active_tasks=placing["contacts"]):
                yield placing["contacts"], shared | placing["arguments"]


def contacts(count: int) -> list[dict[str, str]]:
    """Return contacts to call."""
    return [
        {"to_number": f"+1813{number:07d}", "name": f"Person {number}"}
        for number in range(2_000_000, 2_000_000 + count)
    ]


def endpoints(calls: list[dict[str, Any]]) -> list[str]:
    """Return the server's pages that answer 404 until the calls have ended."""
    return [f"ended/{call['agent_id']}/{call['call_id']}" for call in calls]
