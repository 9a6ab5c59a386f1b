"""Both hooks behind one interface, so that each test runs on both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest
import trustme

from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook, TelzinoHook
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.http_servers import Server, serving

NUMBER = "+15005550100"
OTHER_ID = "00000000-0000-4000-8000-000000000000"

NAME = "telzino.example"
"""A host that only the proxies of these tests know how to reach."""

HookMaker = Callable[[], "HookUnderTest"]


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
        """Get one call from many threads, or coroutines, at the same moment."""

    def close(self) -> None:
        """See ``TelzinoHook``."""


class SyncFace(TelzinoHook):
    """``TelzinoHook`` itself, with the two methods that the tests add."""

    def list_calls(self, status: Any = None, agent_id: str | None = None, **arguments: Any) -> Any:
        """Read the list to its end."""
        return list(super().list_calls(status, agent_id, **arguments))

    def get_call_many_times_at_once(self, call_id: str, times: int, **arguments: Any) -> None:
        """Get it from as many threads."""
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
        """Get it from as many coroutines."""

        async def get() -> None:
            await asyncio.gather(*(self.hook.get_call(call_id, **arguments) for _ in range(times)))

        self.loop.run_until_complete(get())


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


@pytest.fixture
def call(sandbox: Sandbox) -> dict[str, Any]:
    """A call in the sandbox that has ended."""
    return sandbox.add_call(status="completed", to_number=NUMBER)


def requests_to(sandbox: Sandbox, part: str) -> list[Any]:
    """The requests whose path contains this part."""
    return [each for each in sandbox.requests if part in each.path]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that no client trusts by default."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its certificate as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    """An HTTPS server, known by its address and by ``NAME``."""
    server = Server(authority.issue_cert("127.0.0.1", NAME))
    with serving(server):
        yield server
