"""Airflow's task state (3.3 on): which calls the task has placed, and whether one is being placed.

It is one record, written in two steps: before a POST that the task is about to dial, and after it the call.
So one read says which dial is unaccounted for. The first step is also a fence: Airflow accepts it only from
the process that currently runs the task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_telzino.api.arguments import checked_agent_id, checked_call_id
from airflow_provider_telzino.exceptions import (
    TelzinoConfigurationError,
    TelzinoError,
    TelzinoUnknownPlacementError,
)
from airflow_provider_telzino.models import parsed_time
from airflow_provider_telzino.version_compat import current_state, task_state_retention, task_state_store

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

KEY = "telzino_call"
"""Never rename it: running tasks would forget their calls."""

TAKEN = frozenset(
    ("success", "failed", "skipped", "upstream_failed", "removed", "restarting", "up_for_retry")
)
"""The states of a task that isn't this process's any more. Under ``dag.test()``, one may be ``scheduled``
or ``queued`` while it runs."""


class UnreadableError(Exception):
    """The task state cannot be read now, or holds something that we did not write. It may not be empty."""


class UnwritableError(Exception):
    """The task state was not written: Airflow is unavailable, or another process runs the task now."""


class CallId(NamedTuple):
    """What it takes to request a call."""

    id: str
    agent_id: str

    @classmethod
    def of(cls, call: Mapping[str, Any]) -> CallId:
        """Read it from a call, or from what was stored of one; ``ValueError`` if it is something else."""
        try:
            return cls(checked_call_id(call), checked_agent_id(call.get("agent_id")))
        except (AttributeError, TelzinoConfigurationError) as error:
            raise ValueError("a call has no valid id") from error


@dataclass(frozen=True)
class StoredCalls:
    """What the task has stored."""

    started: datetime
    """When the task first started since its last clear."""
    generation: int | str | None
    """The task's generation at that time."""
    calls: tuple[CallId, ...] = ()
    """The calls that it has placed, oldest first."""
    dialling_since: datetime | None = None
    """When it was about to dial, if it has not stored since what became of that."""
    dialling_agent: str | None = None
    """The agent with which it was about to dial."""
    expanded_at: datetime | None = None
    """When Airflow created the mapped task instance. Its later tries can't know that from Airflow."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        dialling = self.dialling_since and {
            "since": self.dialling_since.isoformat(),
            "agent_id": self.dialling_agent,
        }
        return {
            "started": self.started.isoformat(),
            "generation": self.generation,
            "calls": [call._asdict() for call in self.calls],
            "dialling": dialling,
            "expanded_at": self.expanded_at and self.expanded_at.isoformat(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> StoredCalls:
        """Read it again; ``ValueError`` if it is something else."""
        started = parsed_time("started", stored.get("started"))
        calls, dialling = stored.get("calls"), stored.get("dialling")
        if started is None or not isinstance(calls, list):
            raise ValueError("`started` or `calls` is missing")
        known = cls(
            started,
            stored.get("generation"),
            tuple(map(CallId.of, calls)),
            expanded_at=parsed_time("expanded_at", stored.get("expanded_at")),
        )
        if dialling is None:
            return known
        if not isinstance(dialling, Mapping) or dialling.get("since") is None:
            raise ValueError("`dialling` is invalid")
        since, agent_id = parsed_time("since", dialling["since"]), dialling.get("agent_id")
        return replace(known, dialling_since=since, dialling_agent=agent_id)


class TaskState:
    """Reads and writes the task's state. Before Airflow 3.3 nothing is stored, and nothing read.

    Args:
        context: Airflow's context.
        log: The task's logger.
    """

    def __init__(self, context: Context, log: Any) -> None:
        self._context = context
        self._store: Any = task_state_store(context)
        self._log = log
        self._stored: StoredCalls | None = None

    @property
    def is_supported(self) -> bool:
        """Whether this Airflow has a task state."""
        return self._store is not None

    def read(self) -> StoredCalls | None:
        """Read what the task has stored.

        Raises:
            UnreadableError: It may have stored something, but that could not be read.
        """
        if self._store is None:
            return None
        try:
            stored = self._store.get(KEY)
        except Exception as error:  # Airflow does not document what it raises when its API is unavailable
            raise UnreadableError(type(error).__name__) from error
        if stored is None:
            return None
        if not isinstance(stored, Mapping):
            raise UnreadableError(f"{KEY} is of type {type(stored).__name__}")
        try:
            self._stored = StoredCalls.from_json(stored)
        except ValueError as error:
            raise UnreadableError(f"{KEY}: {error}") from error
        return self._stored

    def is_running(self) -> bool:
        """Whether the task is still this process's. Airflow also stores the state of one that was marked.

        Raises:
            UnreadableError: It can't be asked now.
        """
        try:
            return current_state(self._context) not in TAKEN
        except Exception as error:  # as in `read`
            raise UnreadableError(type(error).__name__) from error

    def store_start(
        self, started: datetime, generation: int | str | None, expanded_at: datetime | None
    ) -> None:
        """Store when the task first started. If that fails, the limit for dialling may begin later."""
        known = self._stored or StoredCalls(started, generation)
        stored = replace(known, started=started, generation=generation, expanded_at=expanded_at)
        self._try_to_write(stored, "when this task started")

    def confirm_dialling(
        self, agent_id: str, started: datetime, generation: int | str | None, *, conn_id: str
    ) -> None:
        """Store that the task is about to dial, and make sure that it still may.

        Raises:
            TelzinoUnknownPlacementError: It could not be stored, or Airflow can't be asked.
            TelzinoError: A person has marked or cleared the task.
        """
        try:
            self.store_dialling(agent_id, started, generation)
            is_running = self.is_running()
        except (UnreadableError, UnwritableError) as error:
            raise TelzinoUnknownPlacementError(
                f"Could not record in Airflow that this task is about to dial ({error}): Airflow's API is "
                "unavailable, or another process is running the task. So that nobody is called twice, the "
                "task no longer dials. A retry searches again.",
                conn_id=conn_id,
            ) from error
        if not is_running:
            raise TelzinoError("The task was marked or cleared, so it no longer dials.", conn_id=conn_id)

    def store_dialling(self, agent_id: str, started: datetime, generation: int | str | None) -> None:
        """Store that the task is about to dial.

        Raises:
            UnwritableError: It was not stored, so the task must not dial.
        """
        if self._store is None:
            return
        known = self._stored or StoredCalls(started, generation)
        # After several POSTs in a row without an answer, a search has to go back to the first.
        since = known.dialling_since or datetime.now(timezone.utc)
        try:
            self._write(replace(known, dialling_since=since, dialling_agent=agent_id))
        except Exception as error:  # as in `read`
            raise UnwritableError(type(error).__name__) from error

    def forget_dialling(self) -> None:
        """Let the next dial count from then on, since all earlier ones are known. What is stored stays."""
        if self._stored is not None:
            self._stored = replace(self._stored, dialling_since=None)

    def store_calls(self, calls: Iterable[CallId], started: datetime, generation: int | str | None) -> None:
        """Store the task's calls, now that all are known. If that fails, a retry searches for them."""
        known = self._stored or StoredCalls(started, generation)
        stored = replace(known, calls=tuple(calls), dialling_since=None, dialling_agent=None)
        if stored != self._stored:
            self._try_to_write(stored, "the calls of this task")

    def _try_to_write(self, stored: StoredCalls, what: str) -> None:
        if self._store is None:
            return
        try:
            self._write(stored)
        except Exception as error:  # as in `read`; the task continues
            self._log.warning("Could not store %s in its task state (%s).", what, type(error).__name__)

    def _write(self, stored: StoredCalls) -> None:
        # The entry never expires, however late a retry or a clear comes.
        self._store.set(KEY, stored.to_json(), retention=task_state_retention())
        self._stored = stored
