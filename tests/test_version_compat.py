"""What each supported version of Airflow gives: one table, of which the row of the installed one is checked.

The version matrix (``make test-matrix``) checks all rows.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_telzino import version_compat
from airflow_provider_telzino.get_provider_info import CONN_FIELDS
from tests.support.installed_airflow import INSTALLED

CONN_ID = "telzino_default"


class Row(NamedTuple):
    """What depends on the version."""

    trigger_timeout: str
    """The reason with which Airflow resumes a task whose trigger it stopped at its timeout."""
    triggers_run_tasks: bool
    """Whether a trigger can begin and end a task; with it came the DAG's own result."""
    keeps_task_state: bool
    """Whether Airflow keeps a task's state between its tries."""
    asynchronous_connections: bool
    """Whether Airflow has an asynchronous function for connections, which ``dag.test()`` can't serve."""
    form_comes_from: str
    """Where Airflow takes the connection form's extra fields from: the hook, or the provider info."""
    dag_run_is_due_at: str
    """The attribute of a DAG run with the time at which it was due."""
    masks_in: str
    """The module with the function that masks a secret."""
    metrics_in: str
    """The top-level package with Airflow's metrics, as the ``common.compat`` of that time finds them."""
    values_resolve_in: str
    """The module with the base class of values that Airflow resolves when a task runs."""


TABLE = {
    (2, 11): Row(
        "Trigger/execution timeout",
        triggers_run_tasks=False,
        keeps_task_state=False,
        asynchronous_connections=False,
        form_comes_from="hook",
        dag_run_is_due_at="data_interval_end",
        masks_in="airflow.utils.log.secrets_masker",
        metrics_in="airflow.stats",
        values_resolve_in="airflow.utils.mixins",
    ),
    (3, 0): Row(
        "Trigger timeout",
        triggers_run_tasks=False,
        keeps_task_state=False,
        asynchronous_connections=False,
        form_comes_from="hook",
        dag_run_is_due_at="run_after",
        masks_in="airflow.sdk.log",
        metrics_in="airflow.stats",
        values_resolve_in="airflow.sdk.definitions._internal.mixins",
    ),
    (3, 1): Row(
        "Trigger timeout",
        triggers_run_tasks=False,
        keeps_task_state=False,
        asynchronous_connections=True,
        form_comes_from="hook",
        dag_run_is_due_at="run_after",
        masks_in="airflow.sdk.log",
        metrics_in="airflow.stats",
        values_resolve_in="airflow.sdk.definitions._internal.mixins",
    ),
    (3, 2): Row(
        "Trigger timeout",
        triggers_run_tasks=False,
        keeps_task_state=False,
        asynchronous_connections=True,
        form_comes_from="provider info",
        dag_run_is_due_at="run_after",
        masks_in="airflow.sdk.log",
        metrics_in="airflow.sdk",
        values_resolve_in="airflow.sdk.definitions._internal.mixins",
    ),
    (3, 3): Row(
        "Trigger timeout",
        triggers_run_tasks=True,
        keeps_task_state=True,
        asynchronous_connections=True,
        form_comes_from="provider info",
        dag_run_is_due_at="run_after",
        masks_in="airflow.sdk.log",
        metrics_in="airflow.sdk",
        values_resolve_in="airflow.sdk.definitions._internal.mixins",
    ),
    (3, 4): Row(  # seen on 3.4.0b2
        "Trigger timeout",
        triggers_run_tasks=True,
        keeps_task_state=True,
        asynchronous_connections=True,
        form_comes_from="provider info",
        dag_run_is_due_at="run_after",
        masks_in="airflow.sdk.log",
        metrics_in="airflow.sdk",
        values_resolve_in="airflow.sdk.definitions._internal.mixins",
    ),
}


@pytest.fixture
def row() -> Row:
    """The row of the installed version."""
    assert INSTALLED in TABLE, f"Airflow {INSTALLED} has no row yet"
    return TABLE[INSTALLED]


def source_of(module: str) -> str:
    """Read the source of one of Airflow's modules; empty if this version has no such module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return ""
    return Path(spec.origin).read_text() if spec and spec.origin else ""


def test_a_trigger_that_airflow_stopped_is_recognised(row: Row) -> None:
    """By the reason that Airflow's scheduler gives, which its own source still has."""
    sources = source_of("airflow.jobs.scheduler_job_runner") + source_of("airflow.models.trigger")

    assert f'"{row.trigger_timeout}"' in sources
    assert f'"{version_compat.TRIGGER_FAILED}"' in sources + source_of("airflow.sdk.bases.operator")
    assert version_compat.is_trigger_timeout({"error": row.trigger_timeout})


@pytest.mark.parametrize("next_kwargs", [None, {}, {"error": "Trigger failure", "traceback": []}])
def test_a_trigger_that_broke_is_not_taken_for_a_timeout(next_kwargs: Any) -> None:
    """On no version."""
    assert not version_compat.is_trigger_timeout(next_kwargs)


def test_triggers_can_run_tasks(row: Row) -> None:
    """Otherwise whole modules of tests would be skipped without notice."""
    assert version_compat.triggers_can_run_tasks() is row.triggers_run_tasks


@pytest.mark.parametrize("is_result", [True, False])
def test_the_result_of_a_dag(row: Row, is_result: bool) -> None:
    """Came together with triggers that run tasks; an older Airflow's tasks lack the attribute."""
    task = BaseOperator(task_id="any")
    if row.triggers_run_tasks:
        task.returns_dag_result = is_result

    assert version_compat.returns_dag_result(task) is (is_result and row.triggers_run_tasks)


def test_an_unmapped_copy_is_recognised() -> None:
    """Airflow passes a private argument to the copies that a worker makes of a mapped task."""
    plain = BaseOperator(task_id="any")
    copy = BaseOperator(task_id="any", _airflow_from_mapped=True)

    assert not version_compat.is_unmapped_copy(plain)
    assert version_compat.is_unmapped_copy(copy)


def test_an_argument_that_was_given_is_told_from_a_default() -> None:
    """Airflow keeps what each task was given."""
    task = BaseOperator(task_id="any", doc_md=None)

    assert version_compat.was_given(task, "doc_md")
    assert not version_compat.was_given(task, "doc_rst")


def test_the_state_of_a_task(row: Row) -> None:
    """Comes with the context, and is kept for good."""
    store = object()

    assert version_compat.task_state_store({"task_state_store": store}) is store
    assert version_compat.task_state_store({}) is None
    if row.keeps_task_state:
        assert version_compat.task_state_retention() is not None
    else:
        with pytest.raises(ImportError):
            version_compat.task_state_retention()


def test_the_base_class_of_watchers() -> None:
    """Airflow 2 has none, and only there another one stands in for it."""
    base = version_compat.event_trigger_base()

    assert base.__name__ == ("BaseTrigger" if INSTALLED < (3, 0) else "BaseEventTrigger")


def test_the_states_of_assets(row: Row) -> None:
    """A watcher has one for each of its assets, on an Airflow that keeps the state of assets and tasks."""
    if not row.keeps_task_state:
        assert version_compat.asset_state_stores(SimpleNamespace()) == []
        return
    from airflow.sdk import Asset
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

    accessors = AssetStateStoreAccessors(inlets=[Asset("one"), Asset("two")])

    assert len(version_compat.asset_state_stores(SimpleNamespace(asset_state_store=accessors))) == 2
    assert version_compat.asset_state_stores(SimpleNamespace(asset_state_store=None)) == []


def test_a_connection_is_given_by_the_asynchronous_way(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way this version has, if the supervisor is a triggerer's, or if there is none."""
    monkeypatch.setenv("AIRFLOW_CONN_TELZINO_DEFAULT", json.dumps({"conn_type": "telzino", "host": "a"}))

    connection = asyncio.run(version_compat.get_connection(CONN_ID))

    assert connection.host == "a"
    asynchronous = "async def aget_connection" in source_of("airflow.sdk.bases.hook")
    assert asynchronous is row.asynchronous_connections


def test_the_form_comes_from(row: Row) -> None:
    """Only an Airflow that reads no form from the provider info needs the widgets."""
    reads_provider_info = "conn-fields" in source_of("airflow.providers_manager")

    assert reads_provider_info is (row.form_comes_from == "provider info")
    if not reads_provider_info and importlib.util.find_spec("flask_appbuilder"):
        assert set(version_compat.form_widgets(CONN_FIELDS)) == set(CONN_FIELDS)


def test_when_a_dag_run_was_due(row: Row) -> None:
    """By the attribute that this version has; a run that is triggered may have no data interval."""
    due = datetime(2026, 6, 11, tzinfo=timezone.utc)
    has_run_after = "run_after:" in source_of("airflow.models.dagrun")

    assert has_run_after is (row.dag_run_is_due_at == "run_after")
    assert version_compat.due_date(SimpleNamespace(**{row.dag_run_is_due_at: due})) == due
    assert version_compat.due_date(None) is None


def test_secrets_are_masked_in(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function of that module is called."""
    masked: list[str] = []
    monkeypatch.setattr(f"{row.masks_in}.mask_secret", masked.append)

    version_compat.mask_secret("s3cret")

    assert masked == ["s3cret"]


def test_metrics_are_airflows_own(row: Row) -> None:
    """So that they go where the user has Airflow's go."""
    assert version_compat.stats.__module__.startswith(row.metrics_in)
    assert callable(version_compat.stats.incr)


@pytest.mark.parametrize(("supervisor", "synchronous"), [("answers", True), ("asks", False), (None, False)])
def test_a_supervisor_in_the_same_process_is_recognised(
    supervisor: str | None, synchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``dag.test()`` has one that answers synchronously only; a triggerer's has both ways."""
    ways: dict[str | None, Any] = {
        "answers": SimpleNamespace(send=print),
        "asks": SimpleNamespace(send=print, asend=print),
        None: None,
    }
    task_runner = SimpleNamespace(SUPERVISOR_COMMS=ways[supervisor])
    monkeypatch.setitem(sys.modules, "airflow.sdk.execution_time.task_runner", task_runner)

    assert version_compat._has_synchronous_supervisor() is synchronous


def test_values_that_airflow_resolves(row: Row) -> None:
    """Have a base class, by which Airflow finds the tasks that a value refers to."""
    from airflow.providers.common.compat.sdk import XComArg

    assert version_compat.ResolveMixin.__module__ == row.values_resolve_in
    assert issubclass(XComArg, version_compat.ResolveMixin)


@pytest.mark.skipif(INSTALLED < (3, 0), reason="Airflow 2 runs tasks without an API server")
def test_tasks_of_a_dag_test_share_an_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether Airflow itself shares it, or makes another one for each run of a task."""
    supervisor = importlib.import_module("airflow.sdk.execution_time.supervisor")
    create = supervisor.in_process_api_server
    monkeypatch.setattr(supervisor, "in_process_api_server", getattr(create, "__wrapped__", create))

    version_compat.share_api_of_dag_tests()
    version_compat.share_api_of_dag_tests()

    assert supervisor.in_process_api_server() is supervisor.in_process_api_server()
