"""``CallStatus`` and ``Call``."""

from __future__ import annotations

import dataclasses
from typing import Any

import pendulum
import pytest

from airflow_provider_telzino.models import Call, CallStatus, has_ended


def test_the_documented_record_is_read(seed_record: dict[str, Any]) -> None:
    """Every field of the documented record has its meaning as a Python type."""
    call = Call.from_record(seed_record)

    assert call.id == seed_record["id"]
    assert call.status is CallStatus.COMPLETED
    assert call.created_at == pendulum.datetime(2026, 6, 11, 12, 49, 28, 898751)
    assert isinstance(call.answered_at, pendulum.DateTime)
    assert call.ring_time is not None
    assert call.ring_time.total_seconds() == pytest.approx(34.945209)
    assert call.talk_time is not None
    assert call.talk_time.total_seconds() == pytest.approx(251.510394)
    assert call.request_metadata == {"crm_id": "123"}
    assert call.is_terminal
    assert call.extra == {}


def test_the_nine_statuses_are_the_documented_ones() -> None:
    """Four statuses are terminal, five are not; a status is its text."""
    terminal = {status.value for status in CallStatus if status.is_terminal}

    assert len(CallStatus) == 9
    assert terminal == {"completed", "no_answer", "busy", "failed"}
    assert CallStatus("busy") in ["busy"]
    assert f"{CallStatus.BUSY}" == "busy"


@pytest.mark.parametrize(("ended_at", "ended"), [(None, False), ("2026-06-11T12:54:15.354244+00:00", True)])
def test_an_unknown_status_survives(seed_record: dict[str, Any], ended_at: str | None, ended: bool) -> None:
    """A status that isn't documented stays text, and is terminal when ``ended_at`` is set."""
    record = seed_record | {"status": "voicemail", "ended_at": ended_at}

    call = Call.from_record(record)

    assert call.status == "voicemail"
    assert not isinstance(call.status, CallStatus)
    assert call.is_terminal is ended
    assert has_ended(record) is ended


def test_a_documented_status_decides_alone(seed_record: dict[str, Any]) -> None:
    """A documented status is believed whatever ``ended_at`` says."""
    assert not has_ended(seed_record | {"status": "in_progress"})
    assert has_ended(seed_record | {"status": "failed", "ended_at": None})


def test_unknown_fields_are_kept(seed_record: dict[str, Any]) -> None:
    """What Telzino adds to the record some day is not lost."""
    call = Call.from_record(seed_record | {"recording_url": None, "cost": 3})

    assert call.extra == {"recording_url": None, "cost": 3}


def test_an_unanswered_call_rang_but_had_no_talk(seed_record: dict[str, Any]) -> None:
    """Without an answer, ring time lasts until the end, and there is no talk time."""
    call = Call.from_record(
        seed_record
        | {
            "status": "no_answer",
            "created_at": "2026-06-11T12:00:00+00:00",
            "answered_at": None,
            "ended_at": "2026-06-11T12:00:45+00:00",
            "duration": None,
        }
    )

    assert call.ring_time == pendulum.duration(seconds=45)
    assert call.talk_time is None


def test_talk_time_falls_back_to_the_duration() -> None:
    """A record cut to a few fields still tells the talk time."""
    call = Call.from_record({"id": "x", "status": "completed", "duration": 251})

    assert call.talk_time == pendulum.duration(seconds=251)
    assert call.ring_time is None


def test_a_call_is_frozen(seed_record: dict[str, Any]) -> None:
    """A call is a value."""
    call = Call.from_record(seed_record)

    with pytest.raises(dataclasses.FrozenInstanceError):
        call.status = CallStatus.BUSY  # type: ignore[misc]  # that it can't be assigned is the point


@pytest.mark.parametrize("field", ["id", "status"])
def test_a_record_without_id_or_status_is_refused(seed_record: dict[str, Any], field: str) -> None:
    """The error names the field, and what to do when ``record_fields`` cut it."""
    del seed_record[field]

    with pytest.raises(ValueError, match=rf"`{field}`.*record_fields"):
        Call.from_record(seed_record)


@pytest.mark.parametrize("value", ["yesterday", "", "12:30", 5, "P1D", "2026-06-11T12:00:00/P1D"])
def test_a_time_that_is_none_is_refused_by_name(seed_record: dict[str, Any], value: object) -> None:
    """An unreadable time is an error that names its field, not a silent ``None``."""
    with pytest.raises(ValueError, match="`ended_at`"):
        Call.from_record(seed_record | {"ended_at": value})
