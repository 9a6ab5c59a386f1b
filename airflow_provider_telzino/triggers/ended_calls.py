"""``TelzinoCallEndedTrigger``: an event for each call of an agent that ends, for an ``AssetWatcher``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import aclosing
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_telzino.api.arguments import checked_optional_agent_id
from airflow_provider_telzino.exceptions import TelzinoError
from airflow_provider_telzino.hooks.telzino import DEFAULT_CONN_ID
from airflow_provider_telzino.polling.call_list import ListPoll, agent_name, ended_in, list_polls
from airflow_provider_telzino.polling.channel import ConnectionUnusableError
from airflow_provider_telzino.rules.ended_calls import Checkpoint, Cursor, EndedCalls
from airflow_provider_telzino.rules.waiting import MIN_POLL_INTERVAL, seconds
from airflow_provider_telzino.triggers.base import KeptArguments
from airflow_provider_telzino.version_compat import asset_state_stores, event_trigger_base

if TYPE_CHECKING:
    from airflow.triggers.base import BaseEventTrigger
else:
    BaseEventTrigger = event_trigger_base()

DEFAULT_WATCH_INTERVAL = 30.0  # seconds between two polls
STORE_PAUSE = 10.0  # seconds until the cursor is requested again


class TelzinoCallEndedTrigger(KeptArguments, BaseEventTrigger):
    """Emit an event for each call of an agent that ends: ``call_id``, ``agent_id`` and ``status``.

    It runs for ever, as an asset's watcher, and survives restarts: each call is reported **at least** once.
    From Airflow 3.3 on it continues from a cursor in the asset's state. Without one it begins with the calls
    that ended within the last ``LOOK_BACK`` of :mod:`~airflow_provider_telzino.rules.ended_calls`.

    Watchers with the same arguments share their polls from Airflow 3.3 on.

    Args:
        agent_id: The agent (UUID); by default the connection's.
        telzino_conn_id: The Airflow connection. Only its id is stored, never the token.
        poll_interval: Seconds between two polls, or a ``timedelta``.
    """

    def __init__(
        self,
        agent_id: str | None = None,
        telzino_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float | timedelta = DEFAULT_WATCH_INTERVAL,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's isn't typed
        self.agent_id = checked_optional_agent_id(agent_id)
        self.telzino_conn_id = telzino_conn_id
        self.poll_interval = max(seconds("poll_interval", poll_interval), MIN_POLL_INTERVAL)

    def shared_stream_key(self) -> Hashable | None:
        """Return what watchers have in common that share their polls (from Airflow 3.3)."""
        return (type(self).__name__, self.telzino_conn_id, self.agent_id, self.poll_interval)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[ListPoll, None]:
        """Poll the agent's list, for all watchers that share it (from Airflow 3.3)."""
        trigger = cls(**kwargs)
        polls = list_polls(trigger.telzino_conn_id, trigger.agent_id, trigger.poll_interval)
        async with aclosing(polls):
            async for poll in polls:
                yield poll

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[ListPoll]
    ) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each call that the polls show to have ended."""
        now = asyncio.get_running_loop().time
        cursor = await self._stored_cursor()
        if cursor is None:
            cursor = Cursor.at_start(datetime.now(timezone.utc))
            await self._store(cursor)
        watch, checkpoint = EndedCalls(cursor), Checkpoint(cursor)
        self.log.info(
            "Watching the calls of %s that were placed after %s, and %s older ones that are live.",
            *(agent_name(self.agent_id), cursor.placed_since, len(cursor.live)),
        )
        async for poll in shared_stream:
            try:
                async for call in ended_in(poll, watch):
                    yield TriggerEvent(
                        {
                            "call_id": call.call_id,
                            "agent_id": call.agent_id or self.agent_id,
                            "status": call.status,
                        }
                    )
            except (TelzinoError, ConnectionUnusableError) as error:
                self.log.error("A poll of the calls of %s broke off: %s", agent_name(self.agent_id), error)
            if due := checkpoint.due(watch.cursor, now()):
                await self._store(due)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each call that ends, with polls of its own (before Airflow 3.3)."""
        stream = type(self).open_shared_stream(self.serialize()[1])
        async with aclosing(stream):
            async for event in self.filter_shared_stream(stream):
                yield event

    @property
    def _key(self) -> str:
        """The name of the cursor in the asset's state. Other arguments of the trigger don't change it."""
        return f"telzino_ended_calls:{self.telzino_conn_id}:{self.agent_id or 'default'}"

    async def _stored_cursor(self) -> Cursor | None:
        """Return the cursor to continue from, if there is one: the earliest of the assets' cursors."""
        while True:
            try:
                stored = [await store.aget(self._key) for store in asset_state_stores(self)]
                break
            # What Airflow raises differs by version. To start without the cursor would lose calls.
            except Exception as error:
                self.log.warning(
                    "The cursor can't be read from the asset's state (%s). Trying again in %.0f s.",
                    *(type(error).__name__, STORE_PAUSE),
                )
                await asyncio.sleep(STORE_PAUSE)
        try:
            cursors = [Cursor.from_json(each) for each in stored if each is not None]
        except ValueError:
            self.log.error(
                "What the asset's state has under %s is not a cursor. It is ignored: the watch starts as if "
                "there were none.",
                self._key,
            )
            return None
        return min(cursors, key=lambda cursor: cursor.placed_since, default=None)

    async def _store(self, cursor: Cursor) -> None:
        """Store a cursor in the state of each asset. If that fails, a restart repeats more events."""
        try:
            for store in asset_state_stores(self):
                await store.aset(self._key, cursor.to_json())
        except Exception as error:  # What Airflow raises differs by version.
            self.log.warning(
                "The cursor can't be stored in the asset's state (%s). After a restart, events since the "
                "last one that could be stored come again.",
                type(error).__name__,
            )
