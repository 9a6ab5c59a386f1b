"""``CallStatus`` and ``Call``."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
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
    """Whatever ``ended_at`` says."""
    assert not has_ended(seed_record | {"status": "in_progress"})
    assert has_ended(seed_record | {"status": "failed", "ended_at": None})


def test_unknown_fields_are_kept(seed_record: dict[str, Any]) -> None:
    """A field that Telzino adds one day is not lost."""
    call = Call.from_record(seed_record | {"recording_url": None, "extra": 3})

    assert call.extra == {"recording_url": None, "extra": 3}


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
    """A record that was cut to a few fields still has the talk time."""
    call = Call.from_record({"id": "x", "status": "completed", "duration": 251})

    assert call.talk_time == pendulum.duration(seconds=251)
    assert call.ring_time is None


def test_a_call_is_frozen(seed_record: dict[str, Any]) -> None:
    """A call is a value, which a later change of the record doesn't change, either."""
    call = Call.from_record(seed_record | {"new": {"a": [1]}})
    before = copy.deepcopy(call)

    seed_record["request_metadata"]["crm_id"] = "other"

    with pytest.raises(dataclasses.FrozenInstanceError):
        call.status = CallStatus.BUSY  # type: ignore[misc]  # that it can't be assigned is the point
    assert call == before


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        dataclasses.replace,
        lambda call: pickle.loads(pickle.dumps(call)),  # noqa: S301  # it's our own
    ],
)
def test_a_call_can_be_copied_and_hashed(
    seed_record: dict[str, Any], duplicate: Callable[[Call], Call]
) -> None:
    """Also with metadata and unknown fields, which are mappings."""
    call = Call.from_record(seed_record | {"status": "voicemail", "new": {"a": [1]}})

    again = duplicate(call)

    assert again == call
    assert hash(again) == hash(call)
    assert {call, again} == {call}


@pytest.mark.parametrize(
    "change",
    [
        {"status": "busy"},
        {"duration": 252},
        {"request_metadata": {"crm_id": "124"}},
        {"request_metadata": None},
        {"new": {"a": [2]}},
        {"ended_at": "2026-06-11T12:54:15.354245+00:00"},
    ],
)
def test_calls_are_equal_if_all_fields_are(seed_record: dict[str, Any], change: dict[str, Any]) -> None:
    """The mappings, too, although they don't count for the hash."""
    record = seed_record | {"new": {"a": [1]}}
    call = Call.from_record(record)

    assert Call.from_record(record) == call
    assert Call.from_record(record | change) != call


def test_a_call_can_be_turned_into_a_dict(seed_record: dict[str, Any]) -> None:
    """A plain one, independent of the call."""
    call = Call.from_record(seed_record | {"new": {"a": [1]}})

    fields = dataclasses.asdict(call)

    assert fields["status"] == "completed"
    assert fields["request_metadata"] == {"crm_id": "123"}
    assert fields["extra"] == {"new": {"a": [1]}}
    assert fields["created_at"] == call.created_at
    fields["request_metadata"]["crm_id"] = "other"
    assert call.request_metadata == {"crm_id": "123"}


@pytest.mark.parametrize("nothing", [None, [], "completed"])
def test_a_record_has_to_be_a_mapping(nothing: Any) -> None:
    """Such as an XCom that isn't there."""
    with pytest.raises(ValueError, match="A call record is a mapping"):
        Call.from_record(nothing)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 5),
        ("id", b"x"),
        ("status", ["completed"]),
        ("agent_id", 5),
        ("to_number", 18135551234),
        ("call_context", {}),
        ("request_metadata", ["crm"]),
        ("request_metadata", "{}"),
        ("callback_url", False),
        ("callback_delivered", "true"),
        ("callback_delivered", 1),
        ("transcript_id", 7),
        ("summary_text", ["a"]),
        ("error", {"code": 1}),
        ("sip_status_code", "486"),
        ("sip_status_code", True),
        ("duration", "251"),
        ("duration", "4 minutes"),
        ("duration", 251.5),
        ("duration", True),
        ("duration", [251]),
        ("created_at", 1781179200),
        ("answered_at", ["2026-06-11T12:50:03+00:00"]),
        ("ended_at", True),
    ],
)
def test_a_field_of_a_wrong_type_is_refused_by_name(
    seed_record: dict[str, Any], field: str, value: object
) -> None:
    """Found here, not later where the field is used; the value isn't repeated."""
    with pytest.raises(ValueError, match=f"`{field}`") as caught:
        Call.from_record(seed_record | {field: value})

    assert str(value) not in str(caught.value)


@pytest.mark.parametrize("field", sorted(set(Call.__dataclass_fields__) - {"id", "status", "extra"}))
def test_every_other_field_may_be_null_or_missing(seed_record: dict[str, Any], field: str) -> None:
    """The API has null in most of them, and ``record_fields`` leaves some out."""
    without = {name: value for name, value in seed_record.items() if name != field}

    assert getattr(Call.from_record(seed_record | {field: None}), field) is None
    assert getattr(Call.from_record(without), field) is None


@pytest.mark.parametrize("field", ["id", "status"])
def test_a_record_without_id_or_status_is_refused(seed_record: dict[str, Any], field: str) -> None:
    """The error names the field, and what to do when ``record_fields`` cut it."""
    del seed_record[field]

    with pytest.raises(ValueError, match=rf"`{field}`.*record_fields"):
        Call.from_record(seed_record)


@pytest.mark.parametrize("value", ["yesterday", "", "12:30", 5, "P1D", "2026-06-11T12:00:00/P1D"])
def test_an_invalid_time_is_refused_by_name(seed_record: dict[str, Any], value: object) -> None:
    """An unreadable time is an error that names its field, not a silent ``None``."""
    with pytest.raises(ValueError, match="`ended_at`"):
        Call.from_record(seed_record | {"ended_at": value})
