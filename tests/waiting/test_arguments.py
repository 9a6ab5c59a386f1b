"""The parameters of a wait: what a DAG author may give, and what is refused when the DAG is parsed."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, TaskGroup

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from airflow_provider_telzino.waiting.arguments import WaitArguments, WaitingOperator, WaitingTask
from tests.conftest import CALL_ID
from tests.support.waiting_tasks import ALL, DEFERRABLE, MakeTask, operator, sensor

REFUSED = (TypeError, AirflowException)
"""What Airflow raises for an unknown parameter: from 3.0, and 2.11."""

EVERYWHERE: dict[str, Any] = {
    "agent_id": "00000000-0000-4000-8000-000000000001",
    "telzino_conn_id": "telzino_other",
    "fail_on": ["busy"],
    "skip_on": ["no_answer"],
    "record_fields": ["id"],
    "deferrable": False,
    "timeout": timedelta(minutes=5),
    "end_from_trigger": True,
    "start_from_trigger": True,
}
"""A value for each parameter that all waits share, other than its default."""


@pytest.fixture
def dag() -> Iterator[DAG]:
    """A DAG whose ``default_args`` has all parameters that waits share."""
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with DAG("calls", schedule=None, start_date=start, default_args=EVERYWHERE) as dag:
        yield dag


def settings(task: Any) -> dict[str, Any]:
    """Return what a task has made of the parameters in ``EVERYWHERE``."""
    return {
        "agent_id": task.agent_id,
        "telzino_conn_id": task.telzino_conn_id,
        "fail_on": sorted(task.policy.fail_on),
        "skip_on": sorted(task.policy.skip_on),
        "record_fields": list(task.policy.record_fields),
        "deferrable": task.deferrable,
        "timeout": timedelta(seconds=task.wait_timeout),
    }


def expected() -> dict[str, Any]:
    """Return what each task should make of ``EVERYWHERE``: flags for the triggerer need ``deferrable``."""
    return {name: value for name, value in EVERYWHERE.items() if not name.endswith("from_trigger")}


def test_the_parameters_of_all_waits_are_declared_once() -> None:
    """In one signature, with a line in its documentation for each."""
    bases = (WaitArguments, WaitingTask)
    declared = {name for base in bases for name in inspect.signature(base).parameters} - {"kwargs"}
    docs = "\n".join(inspect.getdoc(base) or "" for base in bases)
    documented = set(re.findall(r"^ {4}(\w+):", docs, re.MULTILINE)) - {"kwargs"}
    repeated = [
        kind.__name__
        for kind in (WaitingOperator, TelzinoCallSensor, TelzinoGetCallOperator, TelzinoPlaceCallOperator)
        if declared & set(inspect.signature(kind).parameters)
    ]

    assert declared == set(EVERYWHERE)
    assert documented - {"TelzinoConfigurationError"} == declared
    assert repeated == []


@DEFERRABLE
def test_parameters_given_to_a_task(make: MakeTask) -> None:
    """Sensor and operator understand them alike."""
    task = make(call_id=CALL_ID, **EVERYWHERE)

    assert settings(task) == expected()


def test_parameters_from_default_args(dag: DAG) -> None:
    """A DAG sets them for all of its tasks."""
    tasks = [
        TelzinoCallSensor(task_id="wait", call_id=CALL_ID),
        TelzinoGetCallOperator(task_id="get", call_id=CALL_ID),
        TelzinoPlaceCallOperator(task_id="place", to_number="+15005550100"),
    ]

    assert [settings(task) for task in tasks] == [expected()] * 3


@pytest.mark.parametrize("interval", [("poke_interval", sensor), ("poll_interval", operator)])
def test_the_parameters_of_a_mapped_task(dag: DAG, interval: tuple[str, MakeTask]) -> None:
    """``.partial()`` accepts each of them, and the copies that run have them."""
    name, make = interval
    kind: Any = type(make(call_id=CALL_ID))

    mapped = kind.partial(task_id="mapped", **EVERYWHERE, **{name: 30}).expand(call_id=[CALL_ID])
    task = mapped.unmap({"call_id": CALL_ID})

    assert settings(task) == expected()
    assert task.wait_interval == 30
    assert task.call_id == CALL_ID


@pytest.mark.parametrize("kind", [TelzinoCallSensor, TelzinoGetCallOperator])
def test_an_unknown_parameter_is_refused(kind: Any) -> None:
    """By Airflow, mapped or not, so that a typo is found when the DAG is parsed."""
    with pytest.raises(REFUSED, match="fails_on"):
        kind(task_id="wait", call_id=CALL_ID, fails_on=["busy"])
    with pytest.raises(REFUSED, match="fails_on"):
        kind.partial(task_id="wait", fails_on=["busy"])


@DEFERRABLE
def test_the_defaults(make: MakeTask) -> None:
    """As the documentation states them."""
    given = make(call_id=CALL_ID)
    task = type(given)(task_id="wait", call_id=CALL_ID)

    assert task.deferrable
    assert task.wait_timeout == 7_200
    assert task.wait_interval == 10
    assert task.policy == ({"failed"}, set(), None)
    assert (task.telzino_conn_id, task.agent_id) == ("telzino_default", None)
    assert (task.soft_fail, task.end_from_trigger, task.start_from_trigger) == (False, False, False)


@DEFERRABLE
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fail_on": ["no-answer"]}, "`fail_on`"),
        ({"fail_on": "failed"}, "`fail_on` should be a list or tuple of statuses"),
        ({"skip_on": ["failed"]}, "`skip_on`"),
        ({"record_fields": []}, "`record_fields`"),
        ({"record_fields": "status"}, r"`record_fields` should be a list or tuple of field names.*'id'"),
        ({"timeout": float("inf")}, "`timeout`"),
        ({"timeout": 1e300}, "`timeout`"),
        ({"timeout": "1h"}, "`timeout`"),
        ({"deferrable": "False"}, "`deferrable` should be True or False, but is of type str"),
        ({"deferrable": 0}, "`deferrable` should be True or False, but is of type int"),
        ({"end_from_trigger": "yes"}, "`end_from_trigger` should be True or False"),
        ({"start_from_trigger": "no"}, "`start_from_trigger` should be True or False"),
        ({"soft_fail": "False"}, "`soft_fail` should be True or False"),
    ],
)
def test_mistakes_are_found_when_the_dag_is_parsed(
    make: MakeTask, arguments: dict[str, Any], words: str
) -> None:
    """A wrong argument is an import error of the DAG, which names the argument and the task."""
    with pytest.raises(exceptions.TelzinoConfigurationError, match=words) as caught:
        make(call_id=CALL_ID, **arguments)

    assert re.search(r"\[task (wait|get)\]$", caught.value.sentence)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (sensor, {"poke_interval": -1}),
        (operator, {"poll_interval": "10"}),
        (operator, {"wait_for_completion": "False"}),
    ],
)
def test_mistakes_in_what_differs(make: MakeTask, arguments: dict[str, Any]) -> None:
    """The same for parameters that only sensors or only operators have."""
    (name,) = arguments

    with pytest.raises(exceptions.TelzinoConfigurationError, match=rf"`{name}` should .* \[task \w+\]"):
        make(call_id=CALL_ID, **arguments)


def test_a_task_in_a_group_is_named_in_full() -> None:
    """As Airflow shows it."""
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with (
        DAG("calls", schedule=None, start_date=start),
        TaskGroup("group"),
        pytest.raises(exceptions.TelzinoConfigurationError, match=r"\[task group\.wait\]"),
    ):
        sensor(call_id=CALL_ID, timeout=-1)


@pytest.mark.parametrize("mode", ["reschedule", "poke"])
@pytest.mark.parametrize("where", ["argument", "default_args"])
def test_a_mode_that_is_ignored_is_warned_of(mode: str, where: str) -> None:
    """A sensor that defers ignores Airflow's ``mode``: the warning names the task, its file and the fix."""
    arguments = {"mode": mode} if where == "argument" else {"default_args": {"mode": mode}}

    with pytest.warns(UserWarning, match=rf"Task wait has `mode='{mode}'`.*`deferrable=False`") as caught:
        sensor(call_id=CALL_ID, **arguments)

    assert [each.filename for each in caught] == [sensor.__code__.co_filename]


@pytest.mark.parametrize("arguments", [{}, {"mode": "reschedule", "deferrable": False}])
def test_a_mode_that_counts_is_no_reason_for_a_warning(arguments: dict[str, Any]) -> None:
    """Nor is none at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        task = sensor(call_id=CALL_ID, **arguments)

    assert task.mode == arguments.get("mode", "poke")


@ALL
def test_ids_and_connection_are_templated(make: MakeTask) -> None:
    """A DAG author may compute the ids and the connection."""
    assert set(make(call_id=CALL_ID).template_fields) >= {"call_id", "agent_id", "telzino_conn_id"}
