"""What the outcome of the last call does to the task. Airflow's retries never dial after an outcome."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.placed_calls import Clock, call_ends, ends, posts, resumes, runs
from tests.support.placing_runs import STATES, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")


def attempts_of(sandbox: Sandbox) -> list[dict[str, Any]]:
    """The XCom ``attempts`` that all calls make together."""
    return [{name: call[name] for name in ("id", "status", "created_at")} for call in sandbox.calls]


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
    """Airflow doesn't retry it, and no retry policy sees it; the record was pushed first."""
    run = runs(fail_on=[status]).next_try()

    with pytest.raises(exceptions.TelzinoOutcomeError) as caught:
        ends(run, sandbox, status)

    assert type(caught.value) is error
    assert isinstance(caught.value, AirflowFailException)
    assert run.ti.xcoms == {"return_value": sandbox.calls[0], "attempts": attempts_of(sandbox)}
    assert caught.value.call_id == sandbox.calls[0]["id"]


@STATES
@pytest.mark.parametrize(("soft_fail", "end"), [(False, AirflowFailException), (True, AirflowSkipException)])
@pytest.mark.parametrize("status", ["no_answer", "busy", "failed"])
def test_a_retry_after_an_outcome_does_not_dial(
    sandbox: Sandbox, status: str, soft_fail: bool, end: type[AirflowException], state: str | None
) -> None:
    """The process died when it resumed, so Airflow knows nothing of the outcome. The retry ends with it."""
    task = runs(fail_on=[status], soft_fail=soft_fail, retries=1, state=TaskStateStore() if state else None)
    run = task.next_try()
    call_ends(run.step("execute"), sandbox, status)
    sandbox.clock.advance(60)

    retry = task.next_try()
    with pytest.raises(end, match=status):
        retry.step("execute")

    assert posts(sandbox) == 1
    assert retry.ti.xcoms == {"return_value": sandbox.calls[0], "attempts": attempts_of(sandbox)}


def test_skip_on(sandbox: Sandbox) -> None:
    """As in the sensor and the get operator."""
    run = runs(skip_on=["no_answer"]).next_try()

    with pytest.raises(AirflowSkipException, match="no_answer"):
        ends(run, sandbox, "no_answer")

    assert run.ti.xcoms == {"return_value": sandbox.calls[0], "attempts": attempts_of(sandbox)}


def test_a_task_that_pushes_no_xcoms(sandbox: Sandbox) -> None:
    """``do_xcom_push=False`` is about all of them."""
    run = runs(fail_on=["busy"], do_xcom_push=False).next_try()

    with pytest.raises(exceptions.TelzinoBusyError):
        ends(run, sandbox, "busy")

    assert run.ti.xcoms == {}


def test_multiple_outputs(sandbox: Sandbox) -> None:
    """Each field is an XCom of its own, beside the attempts."""
    run = runs(fail_on=["busy"], multiple_outputs=True, record_fields=["id", "status"]).next_try()

    with pytest.raises(exceptions.TelzinoBusyError):
        ends(run, sandbox, "busy")

    record = {"id": sandbox.calls[0]["id"], "status": "busy"}
    assert run.ti.xcoms == {**record, "return_value": record, "attempts": attempts_of(sandbox)}


def test_a_task_that_does_not_wait_pushes_its_attempt(sandbox: Sandbox) -> None:
    """With the status that the API answered."""
    run = runs(wait_for_completion=False).next_try()

    answer = run.step("execute")

    assert run.ti.xcoms == {"attempts": [{name: answer[name] for name in ("id", "status", "created_at")}]}


def test_a_timeout_can_be_retried_and_the_retry_continues_to_wait(sandbox: Sandbox, clock: Clock) -> None:
    """It is not a sensor's timeout, which Airflow would not retry."""
    task = runs(timeout=30, retries=1)
    run = task.next_try()
    deferral = run.step("execute")

    clock.advance(60)
    with pytest.raises(exceptions.TelzinoTimeoutError, match="a retry of the task continues") as caught:
        resumes(run, deferral)
    record = ends(task.next_try(), sandbox)

    assert not isinstance(caught.value, (AirflowFailException, AirflowSensorTimeout))
    assert [record] == sandbox.calls
