"""Run watchers of ended calls as a triggerer does, with a stand-in for what Airflow keeps of their assets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from airflow_provider_telzino.triggers.ended_calls import TelzinoCallEndedTrigger
from tests.support.polling import settled
from tests.support.waits import rebuilt


class AssetStates:
    """Answers the requests of triggers for their assets' states, as the triggerer's own process does."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str], Any] = {}
        self.fails = False

    async def asend(self, message: Any) -> Any:
        """Get or set a value."""
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import (
            AssetStateStoreResult,
            ErrorResponse,
            SetAssetStateStoreByName,
        )

        if self.fails:
            raise RuntimeError("no database")
        place = message.name, message.key
        if isinstance(message, SetAssetStateStoreByName):
            self.states[place] = json.loads(json.dumps(message.value))
            return None
        if place not in self.states:
            return ErrorResponse(error=ErrorType.ASSET_STORE_NOT_FOUND)
        return AssetStateStoreResult(value=self.states[place])


class Watch:
    """A running watcher, and the payloads of its events.

    Args:
        trigger: The watcher. It is recreated from what Airflow stores.
        assets: The names of its assets, whose state it keeps (from Airflow 3.3).
        streams: Airflow's manager of shared streams, if it takes part in them (from 3.3).
    """

    def __init__(self, trigger: TelzinoCallEndedTrigger, *assets: str, streams: Any = None) -> None:
        self.trigger: TelzinoCallEndedTrigger = rebuilt(trigger)
        self.events: list[dict[str, Any]] = []
        if assets:
            from airflow.sdk import Asset
            from airflow.sdk.execution_time.context import AssetStateStoreAccessors

            self.trigger.asset_state_store = AssetStateStoreAccessors(inlets=[*map(Asset, assets)])
        self._streams = streams
        self._task = asyncio.ensure_future(self._run())

    @property
    def ended(self) -> list[str]:
        """The calls of the events."""
        return [event["call_id"] for event in self.events]

    async def _run(self) -> None:
        async for event in self._event_stream():
            self.events.append(json.loads(json.dumps(event.payload)))

    def _event_stream(self) -> AsyncIterator[Any]:
        if self._streams is None:
            return self.trigger.run()
        key = self.trigger.shared_stream_key()
        stream = self._streams.subscribe(trigger_id=id(self), trigger=self.trigger, key=key)
        return self.trigger.filter_shared_stream(stream)

    async def stop(self) -> None:
        """Stop it, as a triggerer does that ends."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._streams is not None:
            await self._streams.unsubscribe(id(self), self.trigger.shared_stream_key())
        assert self._task.cancelled(), "it ended by itself"
        await settled()
