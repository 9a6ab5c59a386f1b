"""Somebody kills the task."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_telzino.sandbox import Sandbox
from tests.support.placed_calls import methods, runs

pytestmark = pytest.mark.usefixtures("surroundings")


def test_the_log_says_that_the_call_continues(sandbox: Sandbox, task_log: pytest.LogCaptureFixture) -> None:
    """Telzino documents no way to hang up."""
    run = runs(deferrable=True).next_try()
    run.step("execute")

    run.task.on_kill()

    assert f"Call {sandbox.calls[0]['id']} continues" in task_log.text


def test_a_task_that_was_killed_does_not_dial(sandbox: Sandbox, task_log: pytest.LogCaptureFixture) -> None:
    """Airflow 3 lets it run for some more seconds: it reads the list, and then stops."""
    run = runs().next_try()
    run.task.on_kill()

    with pytest.raises(AirflowException, match="killed before it dialled"):
        run.step("execute")

    assert sandbox.calls == []
    assert "A call, if one was placed, continues" in task_log.text


def test_a_task_that_is_killed_between_two_posts(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one had no effect for certain, and there is no second."""
    sandbox.faults.next("POST", "outbound-calls$", status=429, times=9)
    run = runs().next_try()
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _seconds: run.task.on_kill()))

    with pytest.raises(AirflowException, match="killed before it dialled"):
        run.step("execute")

    assert methods(sandbox) == ["GET outbound-calls", "POST outbound-calls"]
