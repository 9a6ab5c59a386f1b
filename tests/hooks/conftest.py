"""Both hooks behind one face, so that each test runs on both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook, TelzinoHook


class HookUnderTest(Protocol):
    """What the tests call."""

    def get_call(self, call_id: Any, agent_id: str | None = None, *, retry_for: float = 60) -> dict[str, Any]:
        """See ``TelzinoHook``."""

    def list_calls(self, status: Any = None, agent_id: str | None = None) -> list[dict[str, Any]]:
        """See ``TelzinoHook``, but read to its end."""

    def place_call(self, to_number: Any, **arguments: Any) -> dict[str, Any]:
        """See ``TelzinoHook``."""

    def get_transcript(self, transcript_id: str) -> dict[str, Any]:
        """See ``TelzinoHook``."""

    def get_call_many_times_at_once(self, call_id: str, times: int, **arguments: Any) -> None:
        """Ask for one call from many threads, or coroutines, at the same moment."""

    def close(self) -> None:
        """See ``TelzinoHook``."""


class SyncFace(TelzinoHook):
    """``TelzinoHook`` itself, with the two methods that the tests add."""

    def list_calls(self, status: Any = None, agent_id: str | None = None) -> Any:
        """Read the list to its end."""
        return list(super().list_calls(status, agent_id))

    def get_call_many_times_at_once(self, call_id: str, times: int, **arguments: Any) -> None:
        """Ask from as many threads."""
        with ThreadPoolExecutor(times) as threads:
            list(threads.map(lambda _: self.get_call(call_id, **arguments), range(times)))


class AsyncFace:
    """``TelzinoAsyncHook`` in an event loop of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.hook = TelzinoAsyncHook()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self.loop.run_until_complete(getattr(self.hook, name)(*args, **kwargs))

    def list_calls(self, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Read the list to its end."""

        async def read() -> list[dict[str, Any]]:
            return [record async for record in self.hook.list_calls(*args, **kwargs)]

        return self.loop.run_until_complete(read())

    def get_call_many_times_at_once(self, call_id: str, times: int, **arguments: Any) -> None:
        """Ask from as many coroutines."""

        async def ask() -> None:
            await asyncio.gather(*(self.hook.get_call(call_id, **arguments) for _ in range(times)))

        self.loop.run_until_complete(ask())


@pytest.fixture(params=["sync", "async"])
def make_hook(request: pytest.FixtureRequest, quick_retries: None) -> Iterator[Callable[[], Any]]:
    """Make a hook for the connection ``telzino_default``; one of each kind in turn."""
    made: list[Any] = []

    def make() -> Any:
        made.append(SyncFace() if request.param == "sync" else AsyncFace())
        return made[-1]

    yield make
    for hook in made:
        hook.close()
        if isinstance(hook, AsyncFace):
            hook.loop.close()


@pytest.fixture
def hook(make_hook: Callable[[], Any], connected: None) -> Any:
    """A hook whose connection holds the sandbox's fixed token."""
    return make_hook()
