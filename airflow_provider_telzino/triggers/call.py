"""``TelzinoCallTrigger``: waits in the triggerer until a call has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, TypedDict

from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_telzino.exceptions import TelzinoTimeoutError
from airflow_provider_telzino.hooks.telzino import DEFAULT_CONN_ID
from airflow_provider_telzino.triggers.poller import wait_until_ended
from airflow_provider_telzino.waiting import DEFAULT_POLL_INTERVAL, Wait


class CallEvent(TypedDict):
    """What the trigger tells the task: ids and statuses only, since Airflow logs and stores it in clear."""

    outcome: Literal["ended", "timeout", "refused"]
    """The call has ended; the deadline is over; or the API, or Airflow's connection, can't be used."""
    call_id: str
    status: str | None
    """The status that was last seen."""
    status_since: float
    """When it was first seen, in seconds since the epoch."""
    error: str | None
    """The class of the error, for ``refused``."""


class TelzinoCallTrigger(BaseTrigger):
    """Wait until a call has ended. It only reads, so it may safely run twice at the same time.

    Args:
        call_id: The call (UUID).
        deadline: When to give up, in seconds since the epoch.
        agent_id: The agent that made the call (UUID); by default the connection's.
        telzino_conn_id: The Airflow connection. Only its id travels, never the token.
        poll_interval: Seconds between two looks.
        status: The status that a worker saw last, and
        status_since: when it saw it first, in seconds since the epoch.
    """

    def __init__(
        self,
        call_id: str,
        deadline: float,
        agent_id: str | None = None,
        telzino_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        status: str | None = None,
        status_since: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's isn't typed
        self.call_id = call_id
        self.deadline = deadline
        self.agent_id = agent_id
        self.telzino_conn_id = telzino_conn_id
        self.poll_interval = poll_interval
        self.status = status
        self.status_since = status_since

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another process needs to run this trigger: ids, statuses and times."""
        names = (
            "call_id",
            "deadline",
            "agent_id",
            "telzino_conn_id",
            "poll_interval",
            "status",
            "status_since",
        )
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one :class:`CallEvent`."""
        wait = Wait(
            self.call_id,
            deadline=self.deadline,
            poll_interval=self.poll_interval,
            log=self.log,
            status=self.status,
            since=self.status_since,
        )
        outcome: Literal["ended", "timeout", "refused"] = "ended"
        error_class = None
        try:
            await wait_until_ended(wait, telzino_conn_id=self.telzino_conn_id, agent_id=self.agent_id)
        except TelzinoTimeoutError as error:
            outcome = "timeout"
            self.log.warning("Time is over for call %s: %s", self.call_id, error)
        except AirflowException as error:
            outcome, error_class = "refused", type(error).__name__
            self.log.warning("The wait for call %s ends: %s", self.call_id, error)
        yield TriggerEvent(
            CallEvent(
                outcome=outcome,
                call_id=self.call_id,
                status=wait.status,
                status_since=wait.since,
                error=error_class,
            )
        )
