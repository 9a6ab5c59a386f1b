"""Outcomes of ``fail_on`` fail the task, so that its retry dials again."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.placed_calls import LIST_LAG, NUMBER, OURS, ends, placed, runs
from tests.support.placing_runs import STATES, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("no_answer", exceptions.TelzinoNoAnswerError),
        ("busy", exceptions.TelzinoBusyError),
        ("failed", exceptions.TelzinoCallFailedError),
        ("completed", exceptions.TelzinoOutcomeError),
    ],
)
def test_each_outcome_has_its_error(
    sandbox: Sandbox, status: str, error: type[exceptions.TelzinoOutcomeError]
) -> None:
    """Airflow may retry it; the record was pushed first."""
    run = runs(fail_on=[status]).next_try()

    with pytest.raises(exceptions.TelzinoOutcomeError) as caught:
        ends(run, sandbox, status)

    assert type(caught.value) is error
    assert not isinstance(caught.value, (AirflowFailException, AirflowSensorTimeout))
    assert run.ti.xcoms == {"return_value": sandbox.calls[0]}
    assert caught.value.call_id == sandbox.calls[0]["id"]


@STATES
def test_a_retry_dials_again_and_only_then(sandbox: Sandbox, state: str | None) -> None:
    """Busy, no answer, then somebody is there: three calls, one after the other."""
    task = runs(fail_on=["no_answer", "busy"], retries=3, state=TaskStateStore() if state else None)

    with pytest.raises(exceptions.TelzinoBusyError):
        ends(task.next_try(), sandbox, "busy")
    with pytest.raises(exceptions.TelzinoNoAnswerError):
        ends(task.next_try(), sandbox, "no_answer")
    record = ends(task.next_try(), sandbox)
    again = task.next_try().step("execute")

    assert [call["status"] for call in sandbox.calls] == ["busy", "no_answer", "completed"]
    assert record == again == sandbox.calls[-1]


@STATES
def test_a_crash_while_it_dials_again(sandbox: Sandbox, state: str | None) -> None:
    """The process has placed the second call and died: the third try continues with that one."""
    task = runs(fail_on=["busy"], retries=3, state=TaskStateStore() if state else None)
    with pytest.raises(exceptions.TelzinoBusyError):
        ends(task.next_try(), sandbox, "busy")
    task.tries += 1
    second = sandbox.place(NUMBER, metadata=OURS)

    record = ends(task.next_try(), sandbox)

    assert record["id"] == second["id"]
    assert len(sandbox.calls) == 2


def test_a_timeout_can_be_retried_and_the_retry_continues_to_wait(sandbox: Sandbox) -> None:
    """It is not a sensor's timeout, which Airflow would not retry."""
    task = runs(timeout=0.2, retries=1)

    with pytest.raises(exceptions.TelzinoTimeoutError, match="a retry of the task continues") as caught:
        task.next_try().to_the_end()
    task.arguments["timeout"] = 30
    record = ends(task.next_try(), sandbox)

    assert not isinstance(caught.value, (AirflowFailException, AirflowSensorTimeout))
    assert [record] == sandbox.calls


@STATES
def test_a_list_with_an_outdated_status(sandbox: Sandbox, state: str | None) -> None:
    """It says that the call still rings, though its end was the reason for the retry."""
    task = runs(fail_on=["no_answer"], retries=1, state=TaskStateStore() if state else None)
    with pytest.raises(exceptions.TelzinoNoAnswerError):
        ends(task.next_try(), sandbox, "no_answer")
    stale = sandbox.calls[0] | {"status": "dialing", "ended_at": None}
    page = {"data": [stale], "pagination": {"hasNext": False}}
    sandbox.faults.next("GET", "outbound-calls$", raw_body=json.dumps(page).encode())

    record = ends(task.next_try(), sandbox)

    assert [call["status"] for call in sandbox.calls] == ["no_answer", "completed"]
    assert record == sandbox.calls[1]


def test_a_record_that_lags_behind_the_list(sandbox: Sandbox) -> None:
    """The list already has the call, so the task continues with it."""
    placed(sandbox, "dialing")
    sandbox.clock.advance(LIST_LAG)
    sandbox.faults.next("GET", "outbound-calls/", status=404)
    task = runs(tries=1)

    record = ends(task.next_try(), sandbox)

    assert [record] == sandbox.calls


def test_skip_on(sandbox: Sandbox) -> None:
    """As in the sensor and the get operator."""
    run = runs(skip_on=["no_answer"]).next_try()

    with pytest.raises(AirflowSkipException, match="no_answer"):
        ends(run, sandbox, "no_answer")

    assert run.ti.xcoms == {"return_value": sandbox.calls[0]}
