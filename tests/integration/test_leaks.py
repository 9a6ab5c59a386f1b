"""Nothing that a run writes contains a secret, and only XCom and rendered fields contain personal data."""

from __future__ import annotations

from tests.support.integration.finished_run import (
    ACCESS_TOKEN,
    CLIENT_SECRET,
    DEFERRED_UNTIL_THE_END,
    PERSONAL_WORDS,
    WRONG_SECRET,
    FinishedRun,
)
from tests.support.integration.leaks import places_with

GET_RECORDS = (
    *("seen", "by_record"),
    *("choose_deferred", "talked_deferred", "choose_got", "call_again_got"),
)
"""The tasks that get records as arguments, which Airflow stores as rendered fields."""


def test_secrets_are_nowhere(finished_run: FinishedRun) -> None:
    """No table, file or XCom has the secrets of the connections or the tokens fetched with them."""
    tokens = finished_run.sandbox.tokens

    assert ACCESS_TOKEN in tokens
    assert len(tokens) > 2  # fetched by several processes
    assert places_with({*tokens, CLIENT_SECRET, WRONG_SECRET}, finished_run.written()) == {}


def test_personal_data_is_where_users_put_it(finished_run: FinishedRun) -> None:
    """It is in XCom, and in the rendered fields of tasks that get a record; nowhere else."""
    found = places_with(PERSONAL_WORDS.values(), finished_run.written())

    xcoms = {place for place in found if place.startswith("xcom of ")}
    assert found["xcom of deferred"] == set(PERSONAL_WORDS.values())
    assert found.keys() - xcoms == {
        "variable",
        "rendered_task_instance_fields of placed",
        *(f"rendered_task_instance_fields of {task}" for task in GET_RECORDS),
    }
    assert "xcom of cut" not in found


def test_the_search_covers_what_it_should(finished_run: FinishedRun) -> None:
    """The places that were searched have what belongs there: ids, statuses, triggers, events, log lines."""
    written = finished_run.written()
    call_id = finished_run.calls["completed"]
    logs = {name: text for name, text in written.items() if name.startswith("logs/")}

    assert call_id in written["trigger"]
    assert "TelzinoCallTrigger" in written["trigger"]
    assert "gAAAAA" not in written["trigger"]
    assert "telzino_default" in written["connection"]
    assert call_id in written["rendered_task_instance_fields of deferred"]
    for task in DEFERRED_UNTIL_THE_END:
        assert "execute_complete" in written[f"task_instance of {task}"]
    assert "'outcome': 'ended'" in written["task_instance of deferred"].replace('"', "'")
    assert any(call_id in text for name, text in logs.items() if "task_id=deferred" in name)
    for component in ("api-server", "scheduler", "triggerer", "dag-processor"):
        assert logs[f"logs/{component}.log"]
