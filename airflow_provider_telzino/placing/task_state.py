"""Airflow's task state (3.3 on): it stores the task's last call, and since when the task dials.

The stored call saves an ordinary retry the search in the agent's list. The list remains the source of truth:
what cannot be read here is searched for there. The entry that is written before each POST is also a fence:
Airflow accepts it only from the process that currently runs the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.api.arguments import checked_agent_id, checked_call_id
from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.models import parsed_time
from airflow_provider_telzino.version_compat import task_state_retention, task_state_store

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

# Never rename these keys: running tasks would forget their calls.
CALL_KEY = "telzino_call"
DIALLING_KEY = "telzino_dialling"


class UnreadableError(Exception):
    """The task state cannot be read now, or holds something that we did not write. It may not be empty."""


class UnwritableError(Exception):
    """The task state was not written: Airflow is unavailable, or another process runs the task now."""


class StoredState:
    """Reads and writes the task's state. Before Airflow 3.3 nothing is stored, and nothing read.

    Args:
        context: Airflow's context.
        log: The task's logger.
    """

    def __init__(self, context: Context, log: Any) -> None:
        self._store: Any = task_state_store(context)
        self._log = log
        self._dialling_since: str | None = None

    @property
    def is_supported(self) -> bool:
        """Whether this Airflow has a task state."""
        return self._store is not None

    def call(self) -> tuple[str, str] | None:
        """Read the ids of the task's last call and of its agent, if they were stored.

        Raises:
            UnreadableError: They may have been stored, but could not be read.
        """
        stored = self._read(CALL_KEY)
        if stored is None:
            return None
        try:
            return checked_call_id(stored), checked_agent_id(stored.get("agent_id"))
        except TelzinoConfigurationError as error:
            raise UnreadableError(str(error)) from error

    def dialling_since(self) -> datetime | None:
        """Read when the task was first about to dial, if it ever was.

        Raises:
            UnreadableError: It may have been stored, but could not be read.
        """
        stored = self._read(DIALLING_KEY)
        if stored is None:
            return None
        try:
            since = parsed_time("since", stored.get("since"))
        except ValueError as error:
            raise UnreadableError(f"`since` of {DIALLING_KEY} is not a time") from error
        if since is None:
            raise UnreadableError(f"{DIALLING_KEY} has no `since`")
        self._dialling_since = since.isoformat()
        return since

    def store_dialling(self) -> None:
        """Store that the task is about to dial.

        Raises:
            UnwritableError: It was not stored, so the task must not dial.
        """
        if self._store is None:
            return
        # The first time is kept: a later search has to go back that far.
        self._dialling_since = self._dialling_since or datetime.now(timezone.utc).isoformat()
        try:
            self._write(DIALLING_KEY, {"since": self._dialling_since})
        except Exception as error:  # as in `_read`
            raise UnwritableError(type(error).__name__) from error

    def store_call(self, call_id: str, agent_id: str) -> None:
        """Store a call for the next tries of the task. If that fails, they will search for it."""
        if self._store is None:
            return
        try:
            self._write(CALL_KEY, {"id": call_id, "agent_id": agent_id})
        except Exception as error:  # the call is placed, so the task continues
            self._log.warning(
                "Could not store call %s in the task's state (%s). A retry will search for it in the agent's "
                "list.",
                call_id,
                type(error).__name__,
            )

    def _read(self, key: str) -> Mapping[str, Any] | None:
        if self._store is None:
            return None
        try:
            stored = self._store.get(key)
        except Exception as error:  # Airflow does not document what it raises when its API is unavailable
            raise UnreadableError(type(error).__name__) from error
        if stored is not None and not isinstance(stored, Mapping):
            raise UnreadableError(f"{key} is of type {type(stored).__name__}")
        return stored

    def _write(self, key: str, value: dict[str, str]) -> None:
        # These entries never expire, however late a retry or a clear comes.
        self._store.set(key, value, retention=task_state_retention())
