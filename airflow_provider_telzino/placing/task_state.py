"""What Airflow 3.3 keeps between a task's tries: its last call, and since when it dials. Older ones don't.

The call spares an ordinary retry the search in the agent's list. The list stays the truth: what can't be read
here is looked for there. The mark that precedes each POST is a fence besides: Airflow takes it only from the
process that has the task.
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

# Never rename them: running tasks would forget their calls.
STATE_KEY = "telzino_call"
DIALLING_KEY = "telzino_dialling"


class UnreadableError(Exception):
    """Airflow can't tell now what it has kept. That is not the same as that it has kept nothing."""


class UnwritableError(Exception):
    """Airflow doesn't take the mark: it is away, or the task has been given to another process."""


class KeptCall:
    """The id of the task's last call and of its agent, and since when it dials, in Airflow's task state.

    Args:
        context: Airflow's context.
        log: Where to tell what can't be kept.
    """

    def __init__(self, context: Context, log: Any) -> None:
        self._store: Any = task_state_store(context)
        self._log = log
        self._dialled_since: str | None = None

    @property
    def is_possible(self) -> bool:
        """Whether this Airflow keeps anything."""
        return self._store is not None

    def recall(self) -> tuple[str, str] | None:
        """Return the ids of call and agent, if they were kept.

        Raises:
            UnreadableError: Airflow can't tell.
        """
        kept = self._read(STATE_KEY)
        if kept is None:
            return None
        try:
            return checked_call_id(kept), checked_agent_id(kept.get("agent_id"))
        except TelzinoConfigurationError as error:
            raise UnreadableError(str(error)) from error

    def dialled_since(self) -> datetime | None:
        """Return when the task began to dial for the first time, if it ever did.

        Raises:
            UnreadableError: Airflow can't tell.
        """
        mark = self._read(DIALLING_KEY)
        if mark is None:
            return None
        try:
            since = parsed_time("since", mark.get("since"))
        except ValueError as error:
            raise UnreadableError("its `since` is no time") from error
        if since is None:
            raise UnreadableError("it has no `since`")
        self._dialled_since = since.isoformat()
        return since

    def mark_dialling(self) -> None:
        """Mark that the task dials now, directly before it does.

        Raises:
            UnwritableError: Airflow can't keep that, or doesn't take it from this process any more.
        """
        if self._store is None:
            return
        # The first time stays: a search has to go back to there.
        self._dialled_since = self._dialled_since or datetime.now(timezone.utc).isoformat()
        try:
            self._write(DIALLING_KEY, {"since": self._dialled_since})
        except Exception as error:  # undocumented, as below
            raise UnwritableError(type(error).__name__) from error

    def keep(self, call_id: str, agent_id: str) -> None:
        """Keep a call for the task's next tries, however late they come."""
        if self._store is None:
            return
        try:
            self._write(STATE_KEY, {"id": call_id, "agent_id": agent_id})
        except Exception as error:  # the call is placed: the task goes on
            self._log.warning(
                "Airflow could not keep call %s in the task's state (%s). A retry will look for it in the "
                "agent's list.",
                call_id,
                type(error).__name__,
            )

    def _read(self, key: str) -> Mapping[str, Any] | None:
        if self._store is None:
            return None
        try:
            kept = self._store.get(key)
        except Exception as error:  # what it raises when Airflow's API is away isn't documented
            raise UnreadableError(type(error).__name__) from error
        if kept is not None and not isinstance(kept, Mapping):
            raise UnreadableError(f"it is of type {type(kept).__name__}")
        return kept

    def _write(self, key: str, value: dict[str, str]) -> None:
        self._store.set(key, value, retention=task_state_retention())
