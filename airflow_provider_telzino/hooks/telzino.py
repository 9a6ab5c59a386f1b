"""``TelzinoHook`` on requests, for workers, and ``TelzinoAsyncHook`` on aiohttp, for the triggerer.

Both are thin: ``api`` decides which request a method means, what an answer means, and when to try again;
``requests_transport`` and ``aiohttp_transport`` decide how a request travels.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import tenacity
from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException

from airflow_provider_telzino.api import answers, endpoints
from airflow_provider_telzino.api.messages import ApiAnswer, ApiRequest
from airflow_provider_telzino.api.retry import RETRY_FOR
from airflow_provider_telzino.api.settings import Settings
from airflow_provider_telzino.exceptions import TelzinoUnavailableError
from airflow_provider_telzino.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_telzino.hooks.access_token import AccessToken, AsyncAccessToken
from airflow_provider_telzino.hooks.base import DEFAULT_CONN_ID, MAX_TRANSCRIPT_PAGES, TelzinoHookBase
from airflow_provider_telzino.models import CallStatus
from airflow_provider_telzino.version_compat import form_widgets, get_connection

if TYPE_CHECKING:
    import requests
    from typing_extensions import Self

    from airflow_provider_telzino.hooks.aiohttp_transport import AiohttpTransport
    from airflow_provider_telzino.hooks.requests_transport import RequestsTransport

__all__ = ["DEFAULT_CONN_ID", "TelzinoAsyncHook", "TelzinoHook"]

Record = dict[str, Any]
T = TypeVar("T")
Reader = Callable[[Settings, ApiRequest, ApiAnswer], T]

CONNECTION_TEST_TIMEOUT = 20.0  # seconds for each request; Airflow cuts a connection test off at 60 s


class TelzinoHook(TelzinoHookBase):
    """Talk to Telzino's API from a worker.

    All methods send over the :class:`requests.Session` that :meth:`get_conn` returns, so that an adapter or
    a mock on it counts. Threads may share a hook. Every request has a timeout, verifies TLS, follows no
    redirect and reads at most 10 MB. A GET is retried for a minute after a 429, a 5xx, a timeout, a broken
    connection or an unreadable answer. A POST places a call, so it is retried only when the API can't have
    acted on it.

    Args:
        telzino_conn_id: The Airflow connection, of type ``telzino``.
        agent_id: The agent (UUID) for all methods; by default the connection's.

    All methods raise :class:`~airflow_provider_telzino.exceptions.TelzinoError`: its subclasses say what the
    user can do.
    """

    def __init__(self, telzino_conn_id: str = DEFAULT_CONN_ID, agent_id: str | None = None) -> None:
        super().__init__(telzino_conn_id, agent_id)
        self._access_token = AccessToken()
        self._transport: RequestsTransport | None = None
        self._transport_lock = threading.Lock()

    @functools.cached_property
    def settings(self) -> Settings:
        """The checked connection."""
        try:
            connection = self.get_connection(self.telzino_conn_id)
        except AirflowNotFoundException as error:
            raise self._no_such_connection() from error
        return Settings.from_connection(connection, self.telzino_conn_id)

    def get_conn(self) -> requests.Session:
        """Return the authenticated session that all methods of this hook send over.

        Use it for a request that the hook has no method for, or to mount an adapter. It sends the access
        token to the connection's host and nowhere else. A request that names no timeout gets the
        connection's.
        """
        return self._open().session

    def close(self) -> None:
        """Close all connections. The hook and its session may be used again."""
        if self._transport is not None:
            self._transport.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def get_call(self, call_id: str, agent_id: str | None = None, *, retry_for: float = RETRY_FOR) -> Record:
        """Get a call's record: ``GET /v1/agents/{agentId}/outbound-calls/{callId}``.

        Args:
            call_id: The call (UUID), or a record that has an ``id``.
            agent_id: The agent that made it; by default the hook's.
            retry_for: Seconds for which failures are retried; 0 means a single try.

        Returns:
            The record, as the API gives it.
        """
        request = self._build(self.settings, agent_id, endpoints.get_call_request, call_id)
        return self._run(request, answers.read_record, retry_for)

    def list_calls(
        self,
        status: str | CallStatus | None = None,
        agent_id: str | None = None,
        *,
        retry_for: float = RETRY_FOR,
    ) -> Iterator[Record]:
        """Iterate over all of an agent's calls, newest first: ``GET /v1/agents/{agentId}/outbound-calls``.

        Pages are fetched as they are needed. Their items may lack fields that :meth:`get_call` gives.

        Args:
            status: Only calls in this status.
            agent_id: The agent; by default the hook's.
            retry_for: Seconds for which failures of each page are retried; 0 means a single try.
        """
        request = self._build(self.settings, agent_id, endpoints.list_calls_request, status)
        return self._items(request, retry_for=retry_for)

    def call_pages(self, agent_id: str | None = None) -> Iterator[tuple[list[Record], bool]]:
        """Iterate over :meth:`list_calls` page by page, each with whether another one follows.

        It leaves nothing out and has no limit: for a search that must know how far it has come. A call that
        is placed meanwhile moves others to the next page, where they appear again.
        """
        request: ApiRequest | None = self._build(self.settings, agent_id, endpoints.list_calls_request, None)
        while request is not None:
            items, request = self._run(request, answers.read_certain_page, RETRY_FOR)
            yield items, request is not None

    def place_call(
        self,
        to_number: str,
        call_context: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        callback_url: str | None = None,
        agent_id: str | None = None,
        *,
        retry_for: float = RETRY_FOR,
        before_send: Callable[[], None] | None = None,
    ) -> Record:
        """Place a call, which **rings a person**: ``POST /v1/agents/{agentId}/outbound-calls``.

        Args:
            to_number: The phone number, E.164.
            call_context: Text appended to the agent's system prompt; at most 4,000 characters.
            metadata: JSON object of at most 16 KB, echoed in the record as ``request_metadata``.
            callback_url: ``https://`` URL that Telzino POSTs the result to.
            agent_id: The agent that calls; by default the hook's.
            retry_for: Seconds for which it is retried while the API can't have acted on it; 0 means a
                single try.
            before_send: Called directly before each POST, the retried ones included. If it raises, nothing
                is sent.

        Returns:
            The API's answer: ``id``, ``status``, ``room_name``, ``created_at``.

        Raises:
            TelzinoTransientError: If its ``maybe_received`` is set, the call may have been placed: search for
                it before you place it again.
        """
        what = (to_number, call_context, metadata, callback_url)
        request = self._build(self.settings, agent_id, endpoints.place_call_request, *what)
        return self._run(request, answers.read_record, retry_for, before_send)

    def get_transcript(
        self, transcript_id: str, agent_id: str | None = None, *, known: set[str] | None = None
    ) -> Record:
        """Find a call log by its id: ``GET /v1/agents/{agentId}/call-logs``, page by page.

        Args:
            transcript_id: The record's ``transcript_id`` (UUID).
            agent_id: The agent; by default the hook's.
            known: A set for several searches in a row, empty at first: each one ends at the first page on
                which it finds nothing new.

        Returns:
            The call log, as the API gives it.

        Raises:
            TelzinoNotFoundError: It is not among the newest 5,000.
        """
        wanted = self._transcript_id(transcript_id)
        request = self._build(self.settings, agent_id, endpoints.list_logs_request)
        for log in self._items(request, answers.Pages(MAX_TRANSCRIPT_PAGES, known)):
            if log["id"].lower() == wanted:
                return log
        raise self._no_such_transcript(wanted)

    def test_connection(self) -> tuple[bool, str]:
        """Check host and credentials with one cheap read, for Airflow's *Test* button. Never dials.

        Returns:
            Whether it works, and a sentence for the user.
        """
        try:
            settings = self.settings
            if settings.agent_id or self.agent_id:
                request = self._build(settings, None, endpoints.get_agent_request)
                found = "The default agent exists."
            else:
                request, found = endpoints.list_agents_request(), "No default agent is set."
            self._attempt(request, answers.read_answer, min(settings.timeout, CONNECTION_TEST_TIMEOUT))
        except AirflowException as error:
            return False, str(error)
        finally:
            self.close()
        return True, f"Telzino accepts the credentials. {found}"

    def _items(
        self,
        request: ApiRequest | None,
        pages: answers.Pages | None = None,
        retry_for: float = RETRY_FOR,
    ) -> Iterator[Record]:
        pages = pages or answers.Pages()
        while request is not None and pages.wanted():
            items, request = self._run(request, answers.read_page, retry_for)
            yield from pages.new(items)

    def _run(
        self,
        request: ApiRequest,
        read: Reader[T],
        retry_for: float,
        before_send: Callable[[], None] | None = None,
    ) -> T:
        rules = self._rules(request.idempotent, retry_for)
        started = time.monotonic()

        def attempt() -> T:
            timeout = rules.request_time(started, time.monotonic(), self.settings.timeout)
            return self._attempt(request, read, timeout, before_send)

        return tenacity.Retrying(**rules.arguments())(attempt)

    def _attempt(
        self,
        request: ApiRequest,
        read: Reader[T],
        timeout: float,
        before_send: Callable[[], None] | None = None,
    ) -> T:
        """Send once; after a 401 get a new token and send once more: what was refused had no effect."""
        settings, transport = self.settings, self._open()

        def send(token: str) -> ApiAnswer:
            if before_send is not None:
                before_send()
            return transport.send(request, token, timeout)

        token = self._access_token.get(settings, transport.send, timeout)
        answer = send(token)
        if answer.status == 401 and settings.client_id:
            answer = send(self._access_token.get(settings, transport.send, timeout, refused=token))
        return read(settings, request, answer)

    def _open(self) -> RequestsTransport:
        with self._transport_lock:
            if self._transport is None:
                from airflow_provider_telzino.hooks.requests_transport import RequestsTransport

                self._transport = transport = RequestsTransport(
                    self.settings,
                    lambda: self._access_token.get(self.settings, transport.send, self.settings.timeout),
                )
            return self._transport

    # Airflow up to 3.1 looks for these two in the hook's own class, not in its bases.

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Build the form's extra fields for Airflow 2.11 to 3.1; later ones read the provider info."""
        return form_widgets(CONN_FIELDS)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Label and hide the form's fields on Airflow 2.11 to 3.1; later ones read the provider info."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}


class TelzinoAsyncHook(TelzinoHookBase):
    """Talk to Telzino's API from an event loop, with aiohttp: :class:`TelzinoHook`'s methods as coroutines.

    One keep-alive session a hook, made at the first request. A hook belongs to the loop that first used it.
    Use it as an asynchronous context manager, or ``await`` :meth:`close`.

    Args:
        telzino_conn_id: The Airflow connection, of type ``telzino``.
        agent_id: The agent (UUID) for all methods; by default the connection's.
    """

    def __init__(self, telzino_conn_id: str = DEFAULT_CONN_ID, agent_id: str | None = None) -> None:
        super().__init__(telzino_conn_id, agent_id)
        self._settings: Settings | None = None
        self._settings_lock = asyncio.Lock()
        self._access_token = AsyncAccessToken()
        self._transport: AiohttpTransport | None = None
        self._transport_lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the session's connections, and forget the Airflow connection. The hook may be used again."""
        self._settings, self._access_token = None, AsyncAccessToken()
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def get_call(
        self, call_id: str, agent_id: str | None = None, *, retry_for: float = RETRY_FOR
    ) -> Record:
        """Get a call's record; see :meth:`TelzinoHook.get_call`."""
        settings = await self.load(retry_for)
        request = self._build(settings, agent_id, endpoints.get_call_request, call_id)
        return await self._run(settings, request, answers.read_record, retry_for)

    async def list_calls(
        self,
        status: str | CallStatus | None = None,
        agent_id: str | None = None,
        *,
        retry_for: float = RETRY_FOR,
    ) -> AsyncIterator[Record]:
        """Iterate over all of an agent's calls, newest first; see :meth:`TelzinoHook.list_calls`."""
        settings = await self.load(retry_for)
        request = self._build(settings, agent_id, endpoints.list_calls_request, status)
        async for record in self._items(settings, request, retry_for=retry_for):
            yield record

    async def get_calls_page(
        self, page: int, agent_id: str | None = None, *, retry_for: float = RETRY_FOR
    ) -> answers.ListPage:
        """Get one page, of 100 calls, of an agent's calls: ``GET /v1/agents/{agentId}/outbound-calls``.

        Args:
            page: Its number, from 1. The newest calls are on the first.
            agent_id: The agent; by default the hook's.
            retry_for: Seconds for which failures are retried; 0 means a single try.
        """
        settings = await self.load(retry_for)
        request = self._build(settings, agent_id, endpoints.list_calls_request, None, page)
        return await self._run(settings, request, answers.read_list_page, retry_for)

    async def place_call(
        self,
        to_number: str,
        call_context: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        callback_url: str | None = None,
        agent_id: str | None = None,
        *,
        retry_for: float = RETRY_FOR,
    ) -> Record:
        """Place a call, which **rings a person**; see :meth:`TelzinoHook.place_call`."""
        what = (to_number, call_context, metadata, callback_url)
        settings = await self.load()
        request = self._build(settings, agent_id, endpoints.place_call_request, *what)
        return await self._run(settings, request, answers.read_record, retry_for)

    async def get_transcript(
        self, transcript_id: str, agent_id: str | None = None, *, known: set[str] | None = None
    ) -> Record:
        """Find a call log by its id; see :meth:`TelzinoHook.get_transcript`."""
        wanted = self._transcript_id(transcript_id)
        settings = await self.load()
        request = self._build(settings, agent_id, endpoints.list_logs_request)
        async for log in self._items(settings, request, answers.Pages(MAX_TRANSCRIPT_PAGES, known)):
            if log["id"].lower() == wanted:
                return log
        raise self._no_such_transcript(wanted)

    async def _items(
        self,
        settings: Settings,
        request: ApiRequest | None,
        pages: answers.Pages | None = None,
        retry_for: float = RETRY_FOR,
    ) -> AsyncIterator[Record]:
        pages = pages or answers.Pages()
        while request is not None and pages.wanted():
            items, request = await self._run(settings, request, answers.read_page, retry_for)
            for item in pages.new(items):
                yield item

    async def _run(self, settings: Settings, request: ApiRequest, read: Reader[T], retry_for: float) -> T:
        if retry_for <= 0:
            return await self._attempt(settings, request, read, settings.timeout)
        rules = self._rules(request.idempotent, retry_for)
        started = time.monotonic()

        async def attempt() -> T:
            timeout = rules.request_time(started, time.monotonic(), settings.timeout)
            return await self._attempt(settings, request, read, timeout)

        return await tenacity.AsyncRetrying(**rules.arguments())(attempt)

    async def _attempt(self, settings: Settings, request: ApiRequest, read: Reader[T], timeout: float) -> T:
        """Send once; after a 401 get a new token and send once more: what was refused had no effect."""
        send = (await self._open(settings)).send
        token = await self._access_token.get(settings, send, timeout)
        answer = await send(request, token, timeout)
        if answer.status == 401 and settings.client_id:
            token = await self._access_token.get(settings, send, timeout, refused=token)
            answer = await send(request, token, timeout)
        return read(settings, request, answer)

    async def _open(self, settings: Settings) -> AiohttpTransport:
        if self._transport is not None:
            return self._transport
        async with self._transport_lock:
            if self._transport is None:
                name = "airflow_provider_telzino.hooks.aiohttp_transport"
                module = await asyncio.to_thread(importlib.import_module, name)
                self._transport = await module.AiohttpTransport.open(settings)
            return self._transport

    @property
    def is_loaded(self) -> bool:
        """Whether the connection is known."""
        return self._settings is not None

    async def load(self, retry_for: float = RETRY_FOR) -> Settings:
        """Ask Airflow for the connection, once, and check it.

        An outage of Airflow's own API is retried like any other.
        """
        if self._settings is not None:
            return self._settings
        async with self._settings_lock:
            if self._settings is not None:
                return self._settings
            rules = self._rules(True, retry_for)
            settings: Settings = await tenacity.AsyncRetrying(**rules.arguments())(self._ask_airflow)
            self._settings = settings
            return settings

    async def _ask_airflow(self) -> Settings:
        try:
            connection = await get_connection(self.telzino_conn_id)
        except AirflowNotFoundException as error:
            raise self._no_such_connection() from error
        except Exception as error:  # what Airflow raises when its API or database is away differs by version
            raise TelzinoUnavailableError(
                f"Airflow could not provide the connection ({type(error).__name__}).",
                conn_id=self.telzino_conn_id,
            ) from error
        return Settings.from_connection(connection, self.telzino_conn_id)
