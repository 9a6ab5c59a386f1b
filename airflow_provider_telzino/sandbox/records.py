"""A call, and the JSON that the API returns for it: record, list item, call log."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from airflow_provider_telzino.sandbox.clock import timestamp
from airflow_provider_telzino.sandbox.conversation import Conversation, conversation_of, entries
from airflow_provider_telzino.sandbox.lifecycle import Outcome, Schedule

Record = dict[str, Any]

NOT_IN_LISTS = frozenset({"call_context", "callback_url", "callback_delivered", "summary_text"})

RUN_FIELDS = ("dag_id", "task_id", "run_id", "map_index", "contact")
"""What the page shows and finds of the task that placed a call."""


@dataclass(eq=False)
class PlacedCall:
    """A call as it was requested, and its course."""

    id: str
    agent_id: str
    to_number: str
    created_at: datetime
    outcome: Outcome
    schedule: Schedule
    transcript_id: str
    seed: str
    call_context: str | None = None
    request_metadata: dict[str, Any] | None = None
    callback_url: str | None = None
    pinned: bool = False
    """Whether a test has changed its course: then it doesn't wait for other calls to end."""
    overrides: Record = field(default_factory=dict)
    """Fields of the record that replace those of the schedule."""
    final_record: Record | None = None
    """The record of a call that has ended: it no longer changes."""
    undelayed: Schedule = field(init=False)
    """Its course if it need not wait for other calls to end."""

    def __post_init__(self) -> None:
        self.undelayed = self.schedule

    @property
    def room_name(self) -> str:
        """The room of the conversation."""
        return f"outbound-{self.id}"

    @property
    def identity(self) -> Record:
        """What Airflow's provider says of the task that placed the call: ``dag_id``, ``run_id`` and so on."""
        metadata = self.overrides.get("request_metadata", self.request_metadata)
        identity = metadata.get("airflow") if isinstance(metadata, dict) else None
        return identity if isinstance(identity, dict) else {}

    @cached_property
    def run_text(self) -> str:
        """What a search for the run finds: the ids of DAG, task, run and contact, in lower case."""
        return "\n".join(str(self.identity.get(name, "")) for name in RUN_FIELDS).casefold()

    @property
    def will_complete(self) -> bool:
        """Whether the call ends with a conversation, or has done so."""
        return self.ends is not None and self.schedule.steps[-1].status == "completed"

    def elapsed(self, now: datetime) -> float:
        """Return the seconds since the call was placed."""
        return (now - self.created_at).total_seconds()

    def status(self, now: datetime) -> str:
        """Return the status at this time."""
        if self.final_record is not None:
            return str(self.final_record["status"])
        return str(self.overrides.get("status") or self.schedule.status_at(self.elapsed(now)))

    def has_ended(self, now: datetime) -> bool:
        """Whether the call is over at this time."""
        if "ended_at" in self.overrides:
            return self.overrides["ended_at"] is not None
        return self.schedule.has_ended(self.elapsed(now))

    @property
    def ends(self) -> datetime | None:
        """The time of its end, if that is known."""
        ended_after = self.schedule.ended_after
        return None if ended_after is None else self.after(ended_after)

    def next_change(self, now: datetime) -> datetime | None:
        """Return the time of the next change of its status."""
        step = self.schedule.next_step(self.elapsed(now))
        return None if step is None else self.after(step.after)

    def after(self, seconds: float) -> datetime:
        """Return the time so many seconds after the call was placed."""
        return self.created_at + timedelta(seconds=seconds)


def call_record(call: PlacedCall, now: datetime) -> Record:
    """Return the record as it is now (``GET /v1/agents/{agentId}/outbound-calls/{callId}``)."""
    if call.final_record is not None:
        return call.final_record
    schedule, elapsed = call.schedule, call.elapsed(now)
    status, ended = schedule.status_at(elapsed), schedule.has_ended(elapsed)
    answered = schedule.answered_after is not None and schedule.answered_after <= elapsed
    completed = ended and status == "completed"
    record = {
        "id": call.id,
        "agent_id": call.agent_id,
        "to_number": call.to_number,
        "status": status,
        "call_context": call.call_context,
        "request_metadata": call.request_metadata,
        "callback_url": call.callback_url,
        # The body of the webhook is not documented, so the sandbox doesn't send one.
        "callback_delivered": False if ended and call.callback_url is not None else None,
        "transcript_id": call.transcript_id if completed else None,
        "summary_text": _conversation(call).summary_text if completed else None,
        "error": schedule.error if ended else None,
        "sip_status_code": schedule.sip_status_code if ended else None,
        "created_at": timestamp(call.created_at),
        "answered_at": timestamp(call.after(schedule.answered_after or 0)) if answered else None,
        "ended_at": timestamp(call.after(schedule.ended_after or 0)) if ended else None,
        "duration": int(_talk_time(call)) if ended and answered else None,
        **call.overrides,
    }
    if ended:
        call.final_record = record
    return record


def list_item(call: PlacedCall, now: datetime) -> Record:
    """Return the call as an item of a list (``GET /v1/agents/{agentId}/outbound-calls``)."""
    return {name: value for name, value in call_record(call, now).items() if name not in NOT_IN_LISTS}


def call_log(call: PlacedCall, now: datetime) -> Record:
    """Return the transcript of a completed call (``GET /v1/agents/{agentId}/call-logs``)."""
    record = call_record(call, now)
    started = call.after(call.schedule.answered_after or 0)
    said = entries(_conversation(call).turns, _talk_time(call))
    final = [entry for entry in said if not entry["is_partial"]]
    return {
        "id": record["transcript_id"],
        "agent_id": record["agent_id"],
        "room_name": call.room_name,
        "transcript_text": "\n".join(
            f"[{entry['timestamp']:.2f}s] {entry['speaker']}: {entry['text']}" for entry in final
        ),
        "transcript_json": [
            {**entry, "created_at": timestamp(started + timedelta(seconds=entry["timestamp"]))}
            for entry in said
        ],
        "entry_count": len(said),
        "call_duration": record["duration"],
        "call_started_at": record["answered_at"],
        "call_ended_at": record["ended_at"],
        "session_data": {
            "caller_id": record["to_number"],
            "total_entries": len(said),
            "final_entries": len(final),
        },
        "summary_text": record["summary_text"],
        "recording_url": None,
        "created_at": record["ended_at"],
        "updated_at": record["ended_at"],
    }


def _talk_time(call: PlacedCall) -> float:
    return (call.schedule.ended_after or 0) - (call.schedule.answered_after or 0)


def _conversation(call: PlacedCall) -> Conversation:
    """Return what was scripted; the rest is invented."""
    invented = conversation_of(call.seed, _talk_time(call))
    summary_text, turns = call.outcome.summary_text, call.outcome.turns
    return Conversation(
        invented.summary_text if summary_text is None else summary_text,
        invented.turns if turns is None else turns,
    )
