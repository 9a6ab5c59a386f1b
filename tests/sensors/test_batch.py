"""The sensor for many calls: its arguments, its templates, and Airflow's own modes."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, BaseOperator

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sensors.batch import TelzinoCallBatchSensor
from tests.conftest import AGENT_ID, CALL_ID, ConnectionSetter
from tests.support.polling import requests
from tests.support.waiting_tasks import (
    AIRFLOW_3,
    BOTH_BATCHES,
    Later,
    MakeTask,
    batch_sensor,
    poking_batch_sensor,
)
from tests.support.waits import Run

NO_LIST = "`call_ids` should be a list of call ids (UUIDs)"


# --- Arguments ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"call_ids": [CALL_ID, "SECRET", 5]}, "`call_ids` has no valid call id at positions 2 to 3"),
        ({"call_ids": [{"id": CALL_ID, "agent_id": "SECRET"}]}, "no valid agent id at position 1"),
        ({"call_ids": "SECRET"}, "is text, but not that of a list"),
        ({"call_ids": {"id": CALL_ID}}, "Put the record into a list"),
        ({"call_ids": None}, NO_LIST),
        ({"agent_id": "SECRET"}, "`agent_id` should be a UUID"),
        ({"fail_on": ["SECRET?"]}, "`fail_on`"),
        ({"poke_interval": -1}, "`poke_interval` should be seconds"),
        ({"timeout": "long"}, "`timeout` should be seconds"),
        ({"soft_fail": "False"}, "`soft_fail` should be True or False"),
        ({"end_from_trigger": True}, "`end_from_trigger` doesn't apply to a batch"),
        ({"start_from_trigger": True}, "`start_from_trigger` doesn't apply to a batch"),
        ({"multiple_outputs": True}, "`multiple_outputs` doesn't apply to a batch"),
    ],
)
@pytest.mark.parametrize("is_mapped", [False, True])
def test_wrong_arguments_are_import_errors(arguments: dict[str, Any], words: str, is_mapped: bool) -> None:
    """The message names the argument and the task, in ``.partial()``, too."""
    make = TelzinoCallBatchSensor.partial if is_mapped else TelzinoCallBatchSensor

    with pytest.raises(exceptions.TelzinoConfigurationError, match=re.escape(words)) as caught:
        make(task_id="the_task", **({"call_ids": [CALL_ID]} | arguments))

    assert "the_task" in str(caught.value)
    assert "SECRET " not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        "{{ params.call_ids }}",
        [CALL_ID, "{{ params.call_id }}"],
        lambda place: place.output,
        lambda place: [place.output, CALL_ID],
    ],
)
def test_what_is_known_later_is_checked_later(given: Any) -> None:
    """Templates, and the outputs of other tasks."""
    with DAG("calls", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        place = BaseOperator(task_id="place")

        task = TelzinoCallBatchSensor(
            task_id="wait", call_ids=given(place) if callable(given) else given, agent_id="{{ params.agent }}"
        )

    assert set(task.template_fields) >= {"call_ids", "agent_id", "telzino_conn_id"}


def test_mistakes_in_templates_are_found_before_a_request(
    sandbox: Sandbox, connect: ConnectionSetter
) -> None:
    """When the task runs, and without retries."""
    connect(sandbox)
    task = batch_sensor(call_ids="{{ params.call_ids }}")
    task.call_ids = [CALL_ID, "nonsense"]

    with pytest.raises(exceptions.TelzinoArgumentError, match=r"position 2 .*telzino_default"):
        Run(task).to_the_end()

    assert sandbox.requests == []


def test_calls_without_any_agent_are_refused(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """The API has no default agent."""
    connect(sandbox, extra={"agent_id": ""})

    with pytest.raises(exceptions.TelzinoArgumentError, match="There is no `agent_id`"):
        Run(batch_sensor(call_ids=[CALL_ID])).to_the_end()


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("is_native", [False, True])
def test_a_template_of_a_list(sandbox: Sandbox, is_native: bool) -> None:
    """Jinja makes text of it, unless the DAG renders native objects: both are understood."""
    calls = [sandbox.add_call("completed") for _ in range(2)]
    with DAG(
        "calls",
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        render_template_as_native_obj=is_native,
    ) as dag:
        task = batch_sensor(call_ids="{{ given }}")
    task.render_template_fields({"given": calls}, dag.get_template_env())  # type: ignore[typeddict-unknown-key]

    assert isinstance(task.call_ids, list if is_native else str)
    assert Run(task).to_the_end() == calls


# --- Airflow's own modes ---


@pytest.mark.usefixtures("connected", "quick_retries")
def test_a_poke_takes_list_pages_and_one_session(
    sandbox: Sandbox, connect: ConnectionSetter, later: Later
) -> None:
    """Not a request for each call; and one token for all pokes."""
    connect(sandbox, oauth=True)
    calls = [sandbox.add_call("dialing") for _ in range(150)]
    later.after_requests(sandbox, 7, lambda: [sandbox.finish(call["id"]) for call in calls])

    Run(poking_batch_sensor(call_ids=calls)).to_the_end()

    assert requests(sandbox)["single"] == 150  # the final records
    assert requests(sandbox)["page"] >= 6
    assert len([each for each in sandbox.requests if "/oauth/token" in each.path]) == 1


@AIRFLOW_3
@pytest.mark.usefixtures("connected")
def test_reschedule_frees_the_worker(sandbox: Sandbox) -> None:
    """In mode ``reschedule`` each poll is a run of its own, and the last one returns the records."""
    calls = [sandbox.add_call("dialing") for _ in range(12)]
    run = Run(poking_batch_sensor(call_ids=calls, mode="reschedule"))

    with pytest.raises(AirflowException) as caught:
        run.step("execute")
    finished = [sandbox.finish(call["id"]) for call in calls]

    assert type(caught.value).__name__ == "AirflowRescheduleException"
    assert run.step("execute") == finished


@AIRFLOW_3
@pytest.mark.usefixtures("connected")
def test_a_reschedule_timeout_has_the_counts(sandbox: Sandbox) -> None:
    """And the records that are there are pushed."""
    calls = [sandbox.add_call("completed"), sandbox.add_call("dialing")]
    run = Run(poking_batch_sensor(call_ids=calls, mode="reschedule", timeout=1))
    run.ti.first_reschedule_date = pendulum.now().subtract(seconds=30)

    with pytest.raises(exceptions.TelzinoSensorTimeoutError, match=r"1 of 2 ended: 1 completed"):
        run.step("execute")

    assert run.ti.xcoms == {"return_value": [calls[0], None]}


@AIRFLOW_3
@pytest.mark.usefixtures("connected")
def test_no_poke_comes_before_the_api_allows_it(sandbox: Sandbox) -> None:
    """After a ``Retry-After`` that is too long for the poke itself, the next one waits for it."""
    sandbox.faults.next("GET", "outbound-calls", status=429, retry_after="300")
    task = poking_batch_sensor(
        call_ids=[sandbox.add_call("dialing")], mode="reschedule", poke_interval=1, timeout=3_600
    )
    before = pendulum.now("UTC")

    with pytest.raises(AirflowException) as caught:
        Run(task).step("execute")

    reschedule_date = caught.value.reschedule_date  # type: ignore[attr-defined]
    assert (reschedule_date - before).total_seconds() >= 300


@BOTH_BATCHES
def test_a_mode_that_is_ignored_is_warned_of(make: MakeTask) -> None:
    """As for a single call."""
    if make is batch_sensor:
        with pytest.warns(UserWarning, match="Task wait has `mode='poke'`") as caught:
            make(call_ids=[CALL_ID], mode="poke")
        assert [each.filename for each in caught] == [batch_sensor.__code__.co_filename]
    else:
        assert make(call_ids=[CALL_ID], mode="reschedule").mode == "reschedule"


@pytest.mark.usefixtures("connected")
def test_the_tasks_agent_counts_for_all(sandbox: Sandbox) -> None:
    """Before those of the records, and before the connection's."""
    call = sandbox.add_call("completed")

    records = Run(batch_sensor(call_ids=[call | {"agent_id": str(uuid4())}], agent_id=AGENT_ID)).to_the_end()

    assert records == [call]
