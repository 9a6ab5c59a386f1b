"""What only the get operator does."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
)

from airflow_provider_telzino.sandbox import Sandbox
from tests.support.waiting_tasks import (
    operator,
)
from tests.support.waits import Run

pytestmark = pytest.mark.usefixtures("connected")


def test_multiple_outputs_with_a_bad_outcome(sandbox: Sandbox) -> None:
    """With ``multiple_outputs`` each field is an XCom of its own, as for a task that returns."""
    record = sandbox.add_call(status="failed")
    run = Run(operator(call_id=record["id"], multiple_outputs=True))

    with pytest.raises(AirflowFailException):
        run.to_the_end()

    assert run.ti.xcoms == record | {"return_value": record}


def test_without_waiting_the_record_is_pushed_as_it_is(sandbox: Sandbox, live: dict[str, Any]) -> None:
    """``wait_for_completion=False`` pushes what there is, and no policy applies."""
    failed = sandbox.add_call(status="failed")

    assert Run(operator(call_id=live["id"], wait_for_completion=False)).to_the_end()["status"] == "dialing"
    assert Run(operator(call_id=failed["id"], wait_for_completion=False)).to_the_end() == failed
