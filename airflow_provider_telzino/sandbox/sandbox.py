"""``Sandbox``: a local Telzino to start, inspect and control."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_telzino.sandbox.access import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, Access
from airflow_provider_telzino.sandbox.clock import Clock, timestamp
from airflow_provider_telzino.sandbox.faults import Faults
from airflow_provider_telzino.sandbox.magic_numbers import MAGIC_NUMBERS
from airflow_provider_telzino.sandbox.store import DEFAULT_AGENT_ID, Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_telzino.sandbox.records import Record
    from airflow_provider_telzino.sandbox.server import ThreadedServer
    from airflow_provider_telzino.sandbox.wire import ReceivedRequest, Wire


class Sandbox:
    """A Telzino API in this process, on loopback. It runs within ``with Sandbox() as sandbox:``.

    It needs FastAPI and uvicorn (the extra ``sandbox``).

    Args:
        speed: How many times faster than real time its clock runs.
        seed: Determines ids, outcomes and times: the same seed and order of calls give the same ones.
        clock: ``"manual"`` for a clock that stands still until ``sandbox.clock.advance(seconds)``.
        agents: How many agents there are; the first one is ``DEFAULT_AGENT_ID``.
        faults: Faults to inject; they can be changed later, as ``sandbox.faults``.
        list_lag: Seconds, on the sandbox's clock, until a new call appears in the list.
        max_concurrent_calls: How many calls of an agent are concurrent at most; further ones stay ``queued``
            until one ends, first come, first served. ``None`` is no limit.
        scripted_only: Whether a call is refused (400) that :meth:`script` has not announced: it announces one
            for each outcome.
        token_lifetime: Seconds, on the sandbox's clock, until a fetched token expires.
        client_id: For fetching tokens.
        client_secret: For fetching tokens.
        access_token: A token for pasting: it is valid from the start and doesn't expire.
        host: The loopback address to listen on.
        port: The port to listen on; 0 is a free one.
        keep_requests: Whether ``requests`` records what comes in; it grows without limit.
    """

    def __init__(
        self,
        speed: float = 1.0,
        seed: int = 0,
        *,
        clock: Clock | Literal["real", "manual"] = "real",
        agents: int = 1,
        faults: Faults | None = None,
        list_lag: float = 0.0,
        max_concurrent_calls: int | None = None,
        scripted_only: bool = False,
        token_lifetime: float = 86_400,
        client_id: str = CLIENT_ID,
        client_secret: str = CLIENT_SECRET,
        access_token: str = ACCESS_TOKEN,
        host: str = "127.0.0.1",
        port: int = 0,
        keep_requests: bool = True,
    ) -> None:
        if isinstance(clock, Clock):
            self.clock = clock
        else:
            self.clock = Clock(0.0 if clock == "manual" else speed)
        self.faults = faults if faults is not None else Faults(seed=seed)
        if max_concurrent_calls is not None and max_concurrent_calls < 1:
            raise ValueError(
                f"`max_concurrent_calls` should be 1 or more, or None, not {max_concurrent_calls}."
            )
        self._store = Store(
            self.clock, seed, agents, list_lag, max_concurrent_calls, scripted_only=scripted_only
        )
        self._access = Access(self.clock, client_id, client_secret, access_token, token_lifetime)
        self._address = (host, port)
        self._keep_requests = keep_requests
        self._server: ThreadedServer | None = None
        self._wire: Wire | None = None
        self._url: str | None = None

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server; it runs until :meth:`stop`.

        Raises:
            ValueError: The host is not loopback.
            OSError: The port is in use.
            ModuleNotFoundError: FastAPI or uvicorn is not installed.
        """
        if self._server is not None:
            raise RuntimeError("The sandbox is already running.")
        # Imported here, so that the package can be imported without the extra.
        from airflow_provider_telzino.sandbox.app import build_app
        from airflow_provider_telzino.sandbox.server import ThreadedServer, listening_socket
        from airflow_provider_telzino.sandbox.wire import Wire

        listener = listening_socket(*self._address)
        host, port = listener.getsockname()[:2]
        self._wire = Wire(build_app(self._store, self._access), self.faults, keep=self._keep_requests)
        server = ThreadedServer(self._wire, listener)
        server.start()
        self._server = server
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def stop(self) -> None:
        """Close all connections and stop the server."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def url(self) -> str:
        """The base URL, such as ``http://127.0.0.1:8765``."""
        if self._url is None:
            raise RuntimeError("The sandbox has no URL before it is started.")
        return self._url

    @property
    def agent_ids(self) -> list[str]:
        """The agents that the sandbox's tokens may use."""
        return [agent.id for agent in self._store.agents]

    @property
    def tokens(self) -> list[str]:
        """Every token that was ever valid, oldest first: the one for pasting, and those that were fetched."""
        return list(self._access.issued)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The API requests that were received, oldest first. ``requests.clear()`` empties the list."""
        return self._wire.requests if self._wire is not None else []

    @property
    def calls(self) -> list[Record]:
        """The records of all calls as they are now, in the order in which they were placed."""
        return self._store.records()

    def call(self, call_id: str) -> Record:
        """Return the record of one call as it is now."""
        return self._store.record(self._store.call(call_id))

    def script(
        self,
        to_number: str,
        outcomes: Sequence[str],
        *,
        summary_text: str | None = None,
        transcript: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        """Set how the next calls to a number end, such as ``["busy", "completed"]``.

        Args:
            to_number: The number, in E.164.
            outcomes: Of the next call, the one after it, and so on; the last one also of all further calls,
                unless these are refused (``scripted_only``).
                Each is a terminal status, or the name of a magic number with one outcome, such as
                ``"no_such_number"``.
            summary_text: The summary of those that complete; by default one is invented.
            transcript: What is said in those that complete, such as ``[("agent", "Will you come?"),
                ("user", "Yes.")]``; by default a conversation is invented.

        Raises:
            ValueError: There is no outcome, or an unknown one; an unknown speaker; or a summary or transcript
                although no call completes.
        """
        self._store.outcomes.script(to_number, outcomes, summary_text=summary_text, transcript=transcript)

    @property
    def refused_numbers(self) -> list[str]:
        """The numbers of the calls that were refused since they were not scripted, oldest first."""
        return list(self._store.outcomes.refused)

    @property
    def unused_outcomes(self) -> dict[str, list[str]]:
        """By number: the statuses that are scripted for calls which have not been placed."""
        return self._store.outcomes.unused

    def place(
        self,
        to_number: str = MAGIC_NUMBERS["completed"],
        *,
        agent_id: str = DEFAULT_AGENT_ID,
        call_context: str | None = None,
        metadata: dict[str, Any] | None = None,
        callback_url: str | None = None,
    ) -> Record:
        """Place a call without a request and return its record. The arguments are not checked."""
        call = self._store.place(
            agent_id,
            to_number,
            call_context=call_context,
            request_metadata=metadata,
            callback_url=callback_url,
        )
        return self._store.record(call)

    def add_call(
        self,
        status: str = "completed",
        *,
        agent_id: str = DEFAULT_AGENT_ID,
        to_number: str = MAGIC_NUMBERS["completed"],
        **fields: Any,
    ) -> Record:
        """Add a call that already is, and stays, in this status; return its record.

        A call in a terminal status has ended just now, so it was placed earlier.

        Args:
            status: Any text.
            agent_id: The agent that placed it.
            to_number: The dialled number.
            fields: Other fields of the record, such as ``ended_at`` or ``id``.
        """
        created_at = fields.get("created_at")
        call = self._store.add(
            agent_id,
            status,
            to_number,
            _as_json({"status": status, **fields}),
            call_id=fields.get("id"),
            created_at=datetime.fromisoformat(created_at) if isinstance(created_at, str) else created_at,
        )
        return self._store.record(call)

    def finish(self, call_id: str, status: str = "completed", **fields: Any) -> Record:
        """End a call now with this status, and return its record.

        Args:
            call_id: The call.
            status: A terminal status.
            fields: Other fields of the record, such as ``error``.
        """
        return self._store.record(self._store.move(call_id, status, _as_json(fields), ends=True))

    def move(self, call_id: str, status: str, **fields: Any) -> Record:
        """Put a call into a status in which it stays, in progress, until the next change; return its record.

        Args:
            call_id: The call.
            status: Any text.
            fields: Other fields of the record.
        """
        return self._store.record(self._store.move(call_id, status, _as_json(fields), ends=False))

    def revoke_tokens(self) -> None:
        """Make all tokens invalid: those that were fetched, and the one for pasting."""
        self._access.revoke_all()


def _as_json(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: timestamp(value) if isinstance(value, datetime) else value for name, value in fields.items()
    }
