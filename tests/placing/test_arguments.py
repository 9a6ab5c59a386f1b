"""Invalid arguments are an error before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ConnectionSetter
from tests.support.placed_calls import NUMBER, runs
from tests.support.placing_runs import PlacingRun

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"to_number": "555-SECRET"}, ["`to_number`", "E.164", "10 characters"]),
        ({"to_number": 18135551234}, ["`to_number`", "type int"]),
        ({"to_number": "+1813555123412345"}, ["at most 15", "17 characters"]),
        ({"call_context": "SECRET" * 1_000}, ["`call_context`", "6,000", "4,000"]),
        ({"call_context": 5}, ["`call_context`", "type int"]),
        ({"metadata": {"x": "SECRET" * 3_000}}, ["`metadata`", "18,0", "16,384"]),
        ({"metadata": {"x": "S" * 16_300}}, ["`metadata`", "16,384"]),  # too much with ours
        ({"metadata": {"x": {"SECRET"}}}, ["`metadata`", "JSON"]),
        ({"metadata": {1: "SECRET"}}, ["`metadata`", "text keys"]),
        ({"metadata": "SECRET"}, ["`metadata`", "6 characters"]),
        ({"metadata": {"airflow": "SECRET"}}, ["`metadata`", "'airflow'"]),
        ({"callback_url": "http://SECRET.example.com"}, ["`callback_url`", "https://", "25 characters"]),
        ({"agent_id": "SECRET"}, ["`agent_id`", "UUID", "6 characters"]),
    ],
)
def test_the_error_names_the_field_and_the_limit(
    sandbox: Sandbox, arguments: dict[str, Any], words: list[str]
) -> None:
    """And the size of the value, but never the value. Airflow has rendered it from a template."""
    run = runs().next_try()
    for name, value in arguments.items():
        setattr(run.task, name, value)

    with pytest.raises(exceptions.TelzinoConfigurationError) as caught:
        run.step("execute")

    message = str(caught.value)
    assert [word for word in words if word not in message] == []
    assert "SECRET" not in message
    assert "connection telzino_default" in message
    assert sandbox.requests == []


def test_templates_that_become_numbers(sandbox: Sandbox) -> None:
    """Airflow can evaluate rendered templates as Python values: the error says how to keep text."""
    with DAG("native", schedule=None, render_template_as_native_obj=True):
        plain, quoted = (
            TelzinoPlaceCallOperator(task_id=name, to_number=template)
            for name, template in [("plain", "{{ number }}"), ("quoted", "'{{ number }}'")]
        )
    context: Any = {"number": NUMBER}
    plain.render_template_fields(context)
    quoted.render_template_fields(context)

    with pytest.raises(exceptions.TelzinoConfigurationError, match="put quotes around it") as caught:
        PlacingRun(plain, runs().next_try().ti, runs=runs()).step("execute")

    assert NUMBER[1:] not in str(caught.value)
    assert quoted.to_number == NUMBER


def test_an_agent_is_required(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """From the task or from the connection."""
    connect(sandbox, extra={"agent_id": None})

    with pytest.raises(exceptions.TelzinoConfigurationError, match="`agent_id`"):
        runs().next_try().step("execute")

    assert sandbox.requests == []


INVALID_LITERALS = [
    {"fail_on": ["no-answer"]},
    {"timeout": "1h"},
    {"to_number": "555"},
    {"call_context": "x" * 4_001},
    {"metadata": {"x": float("nan")}},
    {"callback_url": "http://example.com"},
    {"agent_id": "agent"},
    {"timezone": "Berlin"},
    {"redial_on": ["completed"]},
    {"max_attempts": 0},
    {"redial_delay": 30},
    {"calling_hours": ("20:00", "09:00")},
    {"calling_days": ["monday"]},
    {"may_call": "never"},
    {"dial_timeout": 3_600},
    {"reattach": "no"},
]


@pytest.mark.parametrize("arguments", INVALID_LITERALS)
def test_literals_are_checked_when_the_dag_is_parsed(arguments: dict[str, Any]) -> None:
    """And the error names argument and task."""
    (name,) = arguments

    with pytest.raises(exceptions.TelzinoConfigurationError, match=rf"`{name}`.*\[task place"):
        runs(**arguments).next_try()


@pytest.mark.parametrize("arguments", INVALID_LITERALS)
def test_so_are_those_of_a_mapped_task(arguments: dict[str, Any]) -> None:
    """Airflow creates its instances only when the DAG runs."""
    (name,) = arguments

    with pytest.raises(exceptions.TelzinoConfigurationError, match=rf"`{name}`.*\[task place"):
        TelzinoPlaceCallOperator.partial(task_id="place", **arguments)


def test_soft_fail_skips() -> None:
    """As in the sensor and the get operator."""
    run = runs(soft_fail=True).next_try()
    run.task.to_number = "nonsense"

    with pytest.raises(AirflowSkipException, match="`to_number`"):
        run.step("execute")
