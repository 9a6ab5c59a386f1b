"""``soft_fail`` skips instead of failing, alike in all modes."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowSkipException,
)

from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import CALL_ID, ConnectionSetter
from tests.support.waiting_tasks import (
    ALL,
    MakeTask,
)
from tests.support.waits import Run

pytestmark = pytest.mark.usefixtures("moving_clock", "connected", "quick_retries")


@ALL
def test_a_bad_outcome_skips(sandbox: Sandbox, make: MakeTask) -> None:
    """A status of ``fail_on`` skips; the record was pushed."""
    record = sandbox.add_call(status="failed")
    run = Run(make(call_id=record["id"], soft_fail=True))

    with pytest.raises(AirflowSkipException, match="failed"):
        run.to_the_end()

    assert run.ti.xcoms == {"return_value": record}


@ALL
def test_a_timeout_skips(live: dict[str, Any], make: MakeTask) -> None:
    """A timeout skips, with the same message."""
    with pytest.raises(AirflowSkipException, match=r"timeout of 1 s.*dialing"):
        Run(make(call_id=live["id"], timeout=1, soft_fail=True)).to_the_end()


@ALL
def test_an_error_skips(connect: ConnectionSetter, sandbox: Sandbox, make: MakeTask) -> None:
    """Refused credentials skip, too, in whichever mode they are noticed."""
    connect(sandbox, password="wrong")

    with pytest.raises(AirflowSkipException, match="401"):
        Run(make(call_id=CALL_ID, soft_fail=True)).to_the_end()


@ALL
def test_an_invalid_argument_skips(make: MakeTask) -> None:
    """Even a task that can't start skips, if it is a template that gave the argument."""
    task = make(call_id="{{ params.call_id }}", soft_fail=True)
    task.call_id = "nonsense"  # as rendered

    with pytest.raises(AirflowSkipException, match="`call_id`"):
        Run(task).to_the_end()
