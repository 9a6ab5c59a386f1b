"""Whose call is it? A task recognises its own calls by the identity in their metadata, and by the number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.models import parsed_time

METADATA_KEY = "airflow"  # the key of the task's identity in a call's metadata
MAP_INDEX = "map_index"
LOOP_INDEX = "loop_index"  # only in a task loop
ATTEMPT = "attempt"  # the number of the call among those of the task since its last clear, from 1
GENERATION = "generation"  # see `TaskRun.generation`
UNMAPPED = -1  # Airflow's map index of a task that is not mapped

Record = dict[str, Any]


@dataclass(frozen=True)
class TaskRun:
    """What placing a call needs to know about the task instance that runs."""

    identity: Mapping[str, Any]
    """Marks a call as this task's. It is the same in all tries of the task."""
    since: datetime | None
    """No call of this task is older; ``None`` if that is unknown."""
    is_first: bool
    """Whether this is the first try, according to Airflow, so that no earlier process can have dialled."""
    generation: int | str | None
    """Changes with each clear of the task and stays the same over its retries; ``None`` if unknown."""
    was_cleared: bool
    """Whether the task may have been cleared since its first try."""
    expanded_at: datetime | None = None
    """When Airflow created this mapped task instance, if it is known and this is its first try."""
    started: datetime | None = None
    """When the task first started since its last clear, if that is known."""

    @property
    def is_mapped(self) -> bool:
        """Whether this is one of several instances of the task, known by their position in a list."""
        return bool(self.identity[MAP_INDEX] != UNMAPPED)

    @property
    def may_have_another_contact(self) -> bool:
        """Whether this map index may have belonged to another contact before.

        The generation does not rule that out: Airflow doesn't change it if it clears a task that is running.
        """
        return self.is_mapped and self.was_cleared

    def is_same_task(self, call: Mapping[str, Any]) -> bool:
        """Whether a call is one of this task in this DAG run, whatever its map index."""
        found = identity_in(call)
        return all(found.get(name) == value for name, value in self.identity.items() if name != MAP_INDEX)

    def is_own_index(self, call: Mapping[str, Any]) -> bool:
        """Whether a call of this task has this map index."""
        return bool(identity_in(call).get(MAP_INDEX) == self.identity[MAP_INDEX])

    def placed_since_clear(self, call: Mapping[str, Any]) -> bool:
        """Whether this task instance has placed a call since it was last cleared."""
        return self.is_own_index(call) and bool(identity_in(call).get(GENERATION) == self.generation)

    def continued_after_clear(self, call: Mapping[str, Any]) -> bool:
        """Whether a call of an earlier round was in progress when this round began, and has ended since."""
        placed, ended = created_at(call), ended_at(call)
        if self.started is None or placed is None or ended is None:
            return False
        return placed < self.started <= ended

    def may_have_moved_here(self, call: Mapping[str, Any]) -> bool:
        """Whether a call of another map index may be to a contact that has this index now.

        A list of contacts changes only by a clear. A task instance that the clear has created is not cleared
        itself, but younger than the calls before the clear.
        """
        if self.was_cleared:
            return True
        placed_at = created_at(call)
        return self.expanded_at is not None and placed_at is not None and placed_at < self.expanded_at


@dataclass(frozen=True)
class History:
    """The calls that a task has placed so far. A round is what it does between two clears."""

    current: tuple[Record, ...] = ()
    """Those of this round, newest first."""
    earlier: tuple[Record, ...] = ()
    """Those of earlier rounds: first those of this map index, then those of others, each newest first."""

    @classmethod
    def of(cls, calls: Iterable[Record], run: TaskRun, to_number: str) -> History:
        """Choose the task's own calls among all that may be.

        A call is the task's own if identity and number match, with two exceptions:

        - The number of an uncleared task has changed. A retry continues with the call that was placed.
        - The contact has moved to another map index. Its calls keep belonging to it.

        A call that was in progress when the task was cleared, so that the task continued with it, belongs to
        the new round: its outcome is the answer to the clear.
        """
        current: list[Record] = []
        earlier: list[Record] = []
        moved: list[Record] = []
        for call in sorted(calls, key=_timestamp, reverse=True):
            if not run.is_same_task(call):
                continue
            is_own = run.is_own_index(call)
            # Of another map index, a call that doesn't say to whom it went may be to anybody.
            is_same_number = (call.get("to_number") or (to_number if is_own else None)) == to_number
            if run.placed_since_clear(call):
                if is_same_number or not run.may_have_another_contact:
                    current.append(call)
            elif is_same_number and (is_own or run.may_have_moved_here(call)):
                if run.continued_after_clear(call):
                    current.append(call)
                else:
                    (earlier if is_own else moved).append(call)
        return cls(tuple(current), (*earlier, *moved))

    @property
    def attempts(self) -> tuple[Record, ...]:
        """The calls of this round, oldest first; if there are none, those of all earlier rounds."""
        return self.current[::-1] or tuple(sorted(self.earlier, key=_timestamp))

    def attempts_with(self, call: Record) -> tuple[Record, ...]:
        """Return the calls of the round that one of them belongs to, oldest first."""
        if any(each["id"] == call["id"] for each in self.current):
            return self.current[::-1]
        return tuple(each for each in self.attempts if _round(each) == _round(call))


def with_identity(metadata: Mapping[str, Any], run: TaskRun, attempt: int) -> Record:
    """Add the task's identity to the metadata that the DAG author gave.

    Args:
        metadata: The author's.
        run: The task instance that dials.
        attempt: The number of the call, from 1.

    Raises:
        TelzinoArgumentError: The author's metadata already has our key.
    """
    if METADATA_KEY in metadata:
        raise TelzinoArgumentError(
            f"`metadata` has the key {METADATA_KEY!r}, which is reserved for the task's identity. Choose "
            "another key."
        )
    mark = {**run.identity, ATTEMPT: attempt, GENERATION: run.generation}
    return {**metadata, METADATA_KEY: mark}


def identity_in(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the task identity in a call's metadata; empty if no task has placed it."""
    metadata = call.get("request_metadata")
    identity = metadata.get(METADATA_KEY) if isinstance(metadata, Mapping) else None
    return identity if isinstance(identity, Mapping) else {}


def attempt_of(call: Mapping[str, Any]) -> int:
    """Return the number of a call among the task's; 1 if its metadata doesn't say."""
    attempt = identity_in(call).get(ATTEMPT)
    return attempt if isinstance(attempt, int) and attempt > 0 else 1


def created_at(call: Mapping[str, Any]) -> datetime | None:
    """Return when a call was placed; ``None`` if its record does not say."""
    return _time_in(call, "created_at")


def ended_at(call: Mapping[str, Any]) -> datetime | None:
    """Return when a call has ended; ``None`` if its record does not say."""
    return _time_in(call, "ended_at")


def _time_in(call: Mapping[str, Any], field: str) -> datetime | None:
    try:
        return parsed_time(field, call.get(field))
    except ValueError:
        return None


def _round(call: Record) -> tuple[Any, Any]:
    identity = identity_in(call)
    return identity.get(MAP_INDEX), identity.get(GENERATION)


def _timestamp(call: Record) -> float:
    placed_at = created_at(call)
    return placed_at.timestamp() if placed_at is not None else 0.0
