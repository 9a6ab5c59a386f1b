"""Nothing that a run writes holds a secret, and only XCom and rendered fields hold personal data."""

from __future__ import annotations

import re

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, CLIENT_SECRET
from tests.integration.conftest import CALL_CONTEXT, NUMBERS, FinishedRun
from tests.integration.leaks import written_files

FETCHED_TOKEN = re.compile(r"(?<![\w.-])eyJ[\w-]{43}(?![\w.-])")
"""What the sandbox gives for client credentials. Airflow's own tokens have dots."""

USERS_OWN_PLACES = {"xcom", "rendered_task_instance_fields"}
"""The tables where personal data may be: the record that a task pushed, and what a user templated."""


def test_nothing_leaks(finished_run: FinishedRun) -> None:
    """All tables, the rows that were there for a while only, and all files have been searched."""
    summary = finished_run.record("completed")["summary_text"]
    tables = finished_run.watcher.tables()
    passing = {f"passing {name}": "\n".join(rows) for name, rows in finished_run.watcher.seen.items()}
    files = written_files(finished_run.airflow.home)
    everything = {**tables, **passing, **files}
    del everything["logs/sandbox.log"]

    secrets = [
        (place, secret)
        for place, text in everything.items()
        for secret in (ACCESS_TOKEN, CLIENT_SECRET, *FETCHED_TOKEN.findall(text))
        if secret in text
    ]
    personal = [
        (place, text)
        for place, text_there in everything.items()
        if place not in USERS_OWN_PLACES
        for text in (CALL_CONTEXT, *NUMBERS.values(), summary, *summary.splitlines())
        if text and text in text_there
    ]

    assert secrets == []
    assert personal == []


def test_the_search_is_no_sham(finished_run: FinishedRun) -> None:
    """Each place that was searched has what it should have: ids and statuses."""
    call_id = finished_run.calls["completed"]
    seen = finished_run.watcher.seen
    files = written_files(finished_run.airflow.home)

    assert any(call_id in row and "TelzinoCallTrigger" in row for row in seen["trigger"])
    assert any("execute_complete" in row for row in seen["task_instance"])
    assert (
        finished_run.record("completed")["summary_text"].splitlines()[0]
        in finished_run.watcher.tables()["xcom"]
    )
    assert any(
        call_id in text and "completed" in text for name, text in files.items() if "task_id=deferred" in name
    )
    assert any("triggerer" in name and text for name, text in files.items())
