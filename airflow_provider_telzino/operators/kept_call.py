"""The call that a task placed, kept by Airflow 3.3 between the task's tries; older Airflows keep nothing.

It spares an ordinary retry the search in the agent's list. The list stays the truth: what can't be read here
is looked for there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.checks import checked_agent_id, checked_call_id
from airflow_provider_telzino.exceptions import TelzinoConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

STATE_KEY = "telzino_call"  # never rename it: running tasks would forget their calls


class UnreadableError(Exception):
    """Airflow can't tell now whether it has kept a call. That is not the same as that it hasn't."""


class KeptCall:
    """The id of the task's last call and of its agent, in Airflow's task state.

    Args:
        context: Airflow's context.
        log: Where to tell what can't be kept.
    """

    def __init__(self, context: Context, log: Any) -> None:
        # The one place that knows which Airflow has a task state: from 3.3.
        self._store: Any = context.get("task_state_store")
        self._log = log

    def recall(self) -> tuple[str, str] | None:
        """Return the ids of call and agent, if they were kept.

        Raises:
            UnreadableError: Airflow can't tell.
        """
        if self._store is None:
            return None
        try:
            kept = self._store.get(STATE_KEY)
        except Exception as error:  # what it raises when Airflow's API is away isn't documented
            raise UnreadableError(type(error).__name__) from error
        if kept is None:
            return None
        if not isinstance(kept, Mapping):
            raise UnreadableError(f"it is of type {type(kept).__name__}")
        try:
            return checked_call_id(kept), checked_agent_id(kept.get("agent_id"))
        except TelzinoConfigurationError as error:
            raise UnreadableError(str(error)) from error

    def keep(self, call_id: str, agent_id: str) -> None:
        """Keep a call for the task's next tries, however late they come."""
        if self._store is None:
            return
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # its stub lacks it

        try:
            self._store.set(STATE_KEY, {"id": call_id, "agent_id": agent_id}, retention=NEVER_EXPIRE)
        except Exception as error:  # the call is placed: the task goes on
            self._log.warning(
                "Airflow could not keep call %s in the task's state (%s). A retry will look for it in the "
                "agent's list.",
                call_id,
                type(error).__name__,
            )
