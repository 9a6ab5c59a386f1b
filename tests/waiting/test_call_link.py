"""A task links to its call, if the connection says where people can look at one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from airflow_provider_telzino.waiting.call_link import TelzinoCallLink
from tests.conftest import ConnectionSetter
from tests.support.installed_airflow import INSTALLED
from tests.support.placed_calls import runs

CALL_URL = "https://calls.example.com/{call_id}"


def links(task: Any) -> list[str]:
    """Return what Airflow 3 stores when a task has run."""
    return [link.get_link(task, ti_key=None) for link in task.operator_extra_links]


@pytest.mark.parametrize("kind", [TelzinoCallSensor, TelzinoGetCallOperator])
@pytest.mark.parametrize("as_record", [True, False])
def test_a_task_that_waits_links_to_its_call(
    sandbox: Sandbox, connect: ConnectionSetter, kind: Any, as_record: bool
) -> None:
    """Given its id or its record, as soon as the task has run once."""
    connect(sandbox, extra={"call_url": CALL_URL})
    call = sandbox.add_call("in_progress")
    task = kind(task_id="wait", call_id=call if as_record else call["id"].upper())

    with pytest.raises(TaskDeferred):
        task.execute({})

    assert links(task) == [f"https://calls.example.com/{call['id']}"]


def test_a_task_that_dials_links_to_the_call_that_it_placed(
    sandbox: Sandbox, connect: ConnectionSetter
) -> None:
    """While it waits for that."""
    connect(sandbox, extra={"call_url": CALL_URL})
    run = runs().next_try()
    assert isinstance(run.task, TelzinoPlaceCallOperator)

    run.step("execute")

    (call,) = sandbox.calls
    assert links(run.task) == [f"https://calls.example.com/{call['id']}"]


def test_without_an_address_there_is_no_link(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """Airflow would store an empty one with each run of each task."""
    connect(sandbox)
    task = TelzinoCallSensor(task_id="wait", call_id=sandbox.add_call("completed")["id"])

    task.execute({})

    assert links(task) == []


def test_a_call_that_is_unknown_has_no_link(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """A task that failed before it knew its call."""
    connect(sandbox, extra={"call_url": CALL_URL})
    task = TelzinoCallSensor(task_id="wait", call_id="{{ nothing }}")
    task.settings_in_use = task.hook().settings

    assert links(task) == [""]


@pytest.mark.skipif(INSTALLED >= (3, 0), reason="Airflow 3 asks for links on the worker only")
def test_the_web_server_of_airflow_2_finds_the_call_in_the_xcoms(
    sandbox: Sandbox, connect: ConnectionSetter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows the task's arguments only, so the XComs say which call it was."""
    from airflow.models import XCom

    connect(sandbox, extra={"call_url": CALL_URL})
    old, new = sandbox.add_call("busy"), sandbox.add_call("completed")
    pushed: dict[str, Any] = {"attempts": [old, new], "return_value": new}
    monkeypatch.setattr(XCom, "get_value", lambda ti_key, key: pushed.get(key))
    operator: Any = SimpleNamespace(telzino_conn_id="telzino_default")

    assert TelzinoCallLink().get_link(operator, ti_key=None) == CALL_URL.replace("{call_id}", new["id"])


def test_a_link_of_the_sandbox_opens_the_call(sandbox: Sandbox) -> None:
    """The connection that the sandbox prints leads to its page."""
    from airflow_provider_telzino.sandbox.__main__ import parser, welcome

    text = welcome(sandbox, parser().parse_args([]), 1)

    assert f'"call_url": "{sandbox.url}/#call={{call_id}}"' in text
    assert MAGIC_NUMBERS["busy"] in text
