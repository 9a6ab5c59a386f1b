"""Literal arguments are checked when the DAG is parsed, those of mapped tasks, too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import pytest
from airflow.providers.common.compat.sdk import DAG, TaskGroup

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from tests.conftest import AGENT_ID, CALL_ID
from tests.support.waits import Run

WAITING = pytest.mark.parametrize("kind", [TelzinoCallSensor, TelzinoGetCallOperator])
ALL_KINDS = pytest.mark.parametrize(
    "kind",
    [TelzinoCallSensor, TelzinoGetCallOperator, TelzinoPlaceCallOperator, TelzinoGetTranscriptOperator],
)
MAPPED_ARGUMENT: dict[Any, dict[str, list[str]]] = {
    TelzinoCallSensor: {"call_id": [CALL_ID]},
    TelzinoGetCallOperator: {"call_id": [CALL_ID]},
    TelzinoPlaceCallOperator: {"to_number": ["+15005550100"]},
    TelzinoGetTranscriptOperator: {"transcript_id": [CALL_ID]},
}
"""What each kind of task is expanded over."""

INVALID_CALLS = [
    ("nonsense", "`call_id` should be a UUID, but is text of 8 characters"),
    (5, "`call_id` should be a UUID, but is of type int"),
    (None, "`call_id` should be a UUID, but is of type NoneType"),
    ([CALL_ID], "`call_id` should be a UUID, but is of type list"),
    ({"id": "SECRET"}, "`call_id` should be a UUID, but is text of 6 characters"),
    ({"status": "completed"}, "`call_id` should be a UUID"),
    (f'{{"id": "{CALL_ID}"}}', "Jinja turned a record into text"),
]


@pytest.fixture
def dag() -> Iterator[DAG]:
    """A DAG that tasks join."""
    with DAG("calls", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        yield dag


def placing() -> TelzinoPlaceCallOperator:
    """Create a task whose output is a call."""
    return TelzinoPlaceCallOperator(task_id="place", to_number="+15005550100")


@WAITING
@pytest.mark.parametrize(("call_id", "words"), INVALID_CALLS)
def test_an_invalid_call_is_refused(kind: Any, call_id: object, words: str) -> None:
    """The message names the argument and the task, and quotes nothing."""
    with pytest.raises(TelzinoConfigurationError, match=re.escape(words)) as caught:
        kind(task_id="the_task", call_id=call_id)

    assert "[task the_task]" in str(caught.value)
    assert "SECRET" not in str(caught.value)


@WAITING
@pytest.mark.parametrize("arguments", [{}, {"start_from_trigger": True}])
def test_an_invalid_agent_is_refused(kind: Any, arguments: dict[str, Any]) -> None:
    """Wherever the task begins."""
    with pytest.raises(TelzinoConfigurationError, match=r"`agent_id` should be a UUID.*\[task the_task\]"):
        kind(task_id="the_task", call_id=CALL_ID, agent_id="nonsense", **arguments)


@pytest.mark.parametrize("transcript_id", ["nonsense", 5, None, [CALL_ID]])
def test_an_invalid_transcript_is_refused(transcript_id: Any) -> None:
    """As an invalid call is."""
    with pytest.raises(TelzinoConfigurationError, match=r"`transcript_id` should be a UUID.*\[task text\]"):
        TelzinoGetTranscriptOperator(task_id="text", transcript_id=transcript_id)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"id": CALL_ID, "status": "dialing", "transcript_id": None}, "not final: its status is dialing"),
        ({"id": CALL_ID}, "no `status` and no `transcript_id`"),
        ({"id": CALL_ID, "status": "completed", "transcript_id": "nonsense"}, "`transcript_id` should be"),
    ],
)
def test_a_record_without_a_transcript_is_refused(record: dict[str, Any], words: str) -> None:
    """A record that is a literal is complete when the DAG is parsed."""
    with pytest.raises(TelzinoConfigurationError, match=words) as caught:
        TelzinoGetTranscriptOperator(task_id="text", transcript_id=record)

    assert "task text" in str(caught.value)


@pytest.mark.parametrize("status", ["completed", "busy"])
def test_a_record_that_may_have_no_transcript_is_no_mistake(status: str) -> None:
    """Whether there is one is found when the task runs."""
    record = {"id": CALL_ID, "status": status, "transcript_id": None}

    assert TelzinoGetTranscriptOperator(task_id="text", transcript_id=record).transcript_id == record


@WAITING
@pytest.mark.parametrize(
    "call_id",
    [
        UUID(CALL_ID),
        {"id": CALL_ID, "agent_id": AGENT_ID},
        "{{ params.call_id }}",
        "{% if params.a %}a{% endif %}",
        {"id": "{{ params.call_id }}"},
        lambda place: place.output,
        lambda place: place.output["id"],
        lambda place: {"id": place.output["id"]},
    ],
)
def test_what_is_valid_or_not_known_yet_is_accepted(dag: DAG, kind: Any, call_id: Any) -> None:
    """Templates and outputs are checked when the task runs."""
    place = placing()

    task = kind(task_id="wait", call_id=call_id(place) if callable(call_id) else call_id, agent_id="")

    assert task.task_id in dag.task_ids


@WAITING
def test_a_template_is_checked_when_the_task_runs(connected: None, kind: Any) -> None:
    """As before: nothing is sent."""
    task = kind(task_id="wait", call_id="{{ params.call_id }}")
    task.call_id = "nonsense"  # as rendered

    with pytest.raises(TelzinoConfigurationError, match="`call_id` should be a UUID"):
        Run(task).to_the_end()


def test_a_subclass_may_have_template_fields_of_its_own() -> None:
    """It sets them after the sensor's own ``__init__``."""

    class Sensor(TelzinoCallSensor):
        template_fields = (*TelzinoCallSensor.template_fields, "campaign")

        def __init__(self, *, campaign: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.campaign = campaign

    assert Sensor(task_id="wait", call_id=CALL_ID, campaign="spring").campaign == "spring"


class TestMappedTasks:
    """Airflow creates them only when they run."""

    @ALL_KINDS
    def test_an_invalid_agent_is_refused(self, dag: DAG, kind: Any) -> None:
        """In ``.partial()``, before anything is added to the DAG."""
        with pytest.raises(TelzinoConfigurationError, match=r"`agent_id` should be .*\[task the_task\]"):
            kind.partial(task_id="the_task", agent_id="nonsense")

        assert dag.task_ids == []

    @pytest.mark.parametrize("kind", [TelzinoCallSensor, TelzinoGetCallOperator, TelzinoPlaceCallOperator])
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"fail_on": ["no-answer"]}, "`fail_on` has 'no-answer'"),
            ({"fail_on": "failed"}, "`fail_on` should be a list or tuple"),
            ({"fail_on": None}, "`fail_on` should be a list or tuple"),
            ({"skip_on": ["dialing"]}, "`skip_on` has 'dialing'"),
            ({"fail_on": ["busy"], "skip_on": ["busy"]}, "busy is in both"),
            ({"record_fields": "id"}, "`record_fields` should be a list or tuple"),
            ({"timeout": "1h"}, "`timeout` should be seconds"),
            ({"deferrable": "False"}, "`deferrable` should be True or False"),
            ({"end_from_trigger": "yes"}, "`end_from_trigger` should be True or False"),
            ({"start_from_trigger": 1}, "`start_from_trigger` should be True or False"),
            ({"soft_fail": "False"}, "`soft_fail` should be True or False"),
        ],
    )
    def test_an_invalid_parameter_of_a_wait_is_refused(
        self, kind: Any, arguments: dict[str, Any], words: str
    ) -> None:
        """With the message that an ordinary task has."""
        with pytest.raises(TelzinoConfigurationError, match=words) as caught:
            kind.partial(task_id="the_task", **arguments)

        assert "[task the_task]" in str(caught.value)

    @pytest.mark.parametrize(
        ("kind", "arguments", "words"),
        [
            (TelzinoCallSensor, {"call_id": "nonsense"}, "`call_id`"),
            (TelzinoCallSensor, {"poke_interval": -1}, "`poke_interval`"),
            (TelzinoGetCallOperator, {"call_id": {"id": 5}}, "`call_id`"),
            (TelzinoGetCallOperator, {"poll_interval": "10"}, "`poll_interval`"),
            (TelzinoGetCallOperator, {"wait_for_completion": "no"}, "`wait_for_completion`"),
            (TelzinoGetTranscriptOperator, {"transcript_id": "nonsense"}, "`transcript_id`"),
            (TelzinoGetTranscriptOperator, {"content": "json"}, "`content`"),
            (TelzinoGetTranscriptOperator, {"timeout": -1}, "`timeout`"),
            (TelzinoGetTranscriptOperator, {"poll_interval": "10"}, "`poll_interval`"),
            (TelzinoGetTranscriptOperator, {"skip_on_missing": "yes"}, "`skip_on_missing`"),
            (TelzinoGetTranscriptOperator, {"include_partial": "yes"}, "`include_partial`"),
        ],
    )
    def test_what_only_one_kind_has(self, kind: Any, arguments: dict[str, Any], words: str) -> None:
        """Is checked likewise."""
        with pytest.raises(TelzinoConfigurationError, match=rf"{words} should .*\[task the_task\]"):
            kind.partial(task_id="the_task", **arguments)

    @ALL_KINDS
    def test_templates_are_accepted(self, dag: DAG, kind: Any) -> None:
        """They are checked when the tasks run."""
        partial = kind.partial(task_id="mapped", agent_id="{{ params.agent_id }}", telzino_conn_id="other")

        mapped = partial.expand(**MAPPED_ARGUMENT[kind])

        assert mapped.partial_kwargs["agent_id"] == "{{ params.agent_id }}"
        assert dag.task_ids == ["mapped"]

    @WAITING
    def test_one_list_of_statuses_may_come_from_elsewhere(self, dag: DAG, kind: Any) -> None:
        """``skip_on`` doesn't contradict a ``fail_on`` that the tasks are expanded over."""
        mapped = kind.partial(task_id="mapped", call_id=CALL_ID, skip_on=["failed"]).expand(
            fail_on=[["busy"]]
        )

        assert mapped.unmap({"fail_on": ["busy"]}).policy.skip_on == {"failed"}

    @WAITING
    def test_what_they_are_expanded_over_is_checked_when_they_run(
        self, dag: DAG, connected: None, kind: Any
    ) -> None:
        """The copy that runs is created without an error, so that ``soft_fail`` applies to it, too."""
        mapped = kind.partial(task_id="mapped").expand(call_id=["nonsense"])

        task = mapped.unmap({"call_id": "nonsense"})

        with pytest.raises(TelzinoConfigurationError, match="`call_id` should be a UUID"):
            Run(task).to_the_end()

    def test_in_a_group(self, dag: DAG) -> None:
        """A mapped task joins its group as any other, and its mistakes are found there, too."""
        with TaskGroup("group"):
            TelzinoCallSensor.partial(task_id="wait").expand(call_id=[CALL_ID])
            with pytest.raises(TelzinoConfigurationError, match=r"\[task other\]"):
                TelzinoCallSensor.partial(task_id="other", timeout=-1)

        assert dag.task_ids == ["group.wait"]
