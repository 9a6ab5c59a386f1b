"""The public interface as a typed DAG sees it: checked by ``make types``, and never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pendulum
import requests
from typing_extensions import assert_type

from airflow_provider_telzino.exceptions import TelzinoError, TelzinoOutcomeError, TelzinoTransientError
from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook, TelzinoHook
from airflow_provider_telzino.models import Call, CallStatus
from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator
from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator
from airflow_provider_telzino.sensors.batch import TelzinoCallBatchSensor
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from airflow_provider_telzino.testing.telzino import Telzino

Record = dict[str, Any]


def hook() -> None:
    """A task of one's own."""
    with TelzinoHook("telzino_eu", agent_id="agent") as hook:
        assert_type(hook, TelzinoHook)
        assert_type(hook.get_conn(), requests.Session)
        assert_type(hook.get_call("id", agent_id="agent"), Record)
        assert_type(hook.list_calls(status="completed"), Iterator[Record])
        assert_type(hook.list_calls(status=CallStatus.COMPLETED), Iterator[Record])
        assert_type(hook.place_call("+1", "context", {"key": [1]}, "https://example.com"), Record)
        assert_type(hook.get_transcript("id"), Record)
        assert_type(hook.test_connection(), tuple[bool, str])


async def async_hook() -> None:
    """A trigger of one's own."""
    async with TelzinoAsyncHook() as hook:
        assert_type(hook, TelzinoAsyncHook)
        assert_type(await hook.get_call("id"), Record)
        assert_type(hook.list_calls(), AsyncIterator[Record])
        assert_type(await hook.place_call("+1", metadata={}), Record)
        assert_type(await hook.get_transcript("id", agent_id="agent"), Record)


def call(record: Record) -> None:
    """A typed record."""
    call = Call.from_record(record)
    assert_type(call.status, CallStatus | str)
    assert_type(call.ended_at, pendulum.DateTime | None)
    assert_type(call.talk_time, pendulum.Duration | None)
    assert_type(call.is_terminal, bool)
    assert_type(CallStatus.BUSY.is_terminal, bool)


def may_call(contact: Any, now: pendulum.DateTime) -> bool | pendulum.DateTime:
    """Decide about a contact."""
    return now.add(days=1) if contact["to_number"] else False


def tasks(contacts: Sequence[Record], function: Any) -> None:
    """What the operators take."""
    place = TelzinoPlaceCallOperator(
        task_id="place",
        to_number="+1",
        redial_on=["busy", CallStatus.NO_ANSWER],
        redial_delay={"busy": timedelta(minutes=5)},
        calling_hours=("09:00", "20:00"),
        calling_days=("mon",),
        may_call=may_call,
        dial_timeout=timedelta(days=1),
    )
    assert_type(place.outcome_error("busy"), type[TelzinoOutcomeError])
    TelzinoCampaignOperator(task_id="a", contacts=contacts, redial_on={"busy"}, timeout=timedelta(hours=1))
    TelzinoCampaignOperator(task_id="b", contacts=function, max_active_calls=5, approved_plan="fingerprint")
    TelzinoGetCallOperator(task_id="c", call_id="id", wait_for_completion=False)
    TelzinoCallSensor(task_id="d", call_id={"id": "id"}, fail_on=["busy"], poke_interval=30)
    TelzinoCallBatchSensor(task_id="e", call_ids=["id", {"id": "id"}])
    TelzinoGetTranscriptOperator(task_id="f", transcript_id="id", content="entries")


def error(error: TelzinoError) -> None:
    """What can be caught."""
    assert_type(error.call_id, str | None)
    if isinstance(error, TelzinoTransientError):
        assert_type(error.maybe_received, bool)
        assert_type(error.retry_after, float | None)


def a_test(telzino: Telzino) -> None:
    """A test of a DAG."""
    telzino.script("+1", ["busy", "completed"], summary_text="a", transcript=[("agent", "a")], optional=True)
    assert_type(telzino.calls, list[Record])
    assert_type(telzino.assert_dialled_once("+1"), Record)
    telzino.clock.advance(timedelta(hours=1))
    telzino.clock.move_to(pendulum.datetime(2027, 1, 1))
