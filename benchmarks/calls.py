"""The server's calls: when each ends, what its record says, and the book of all requests for them."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from bisect import bisect_left
from datetime import datetime, timezone

# About 1 KB as a record and 0.5 KB in a list, as with a context and metadata of usual size.
RECORD = (
    b'{"id": "%s", "agent_id": "%s", "to_number": "+18135551234", "status": "%s", "call_context": "'
    + b"You are calling John to confirm his appointment tomorrow at 2pm. " * 5
    + b'", "request_metadata": {"crm_id": "123", "airflow": {"dag_id": "after_a_call", "run_id": '
    b'"manual__2026-11-23T18:24:46.424163+00:00", "task_id": "place_call", "map_index": 17}}, '
    b'"callback_url": null, "callback_delivered": null, "transcript_id": null, "summary_text": null, '
    b'"error": null, "sip_status_code": null, "created_at": "%s", "answered_at": "%s", "ended_at": %s, '
    b'"duration": null}'
)
ITEM = (
    b'{"id": "%s", "agent_id": "%s", "to_number": "+18135551234", "status": "%s", "request_metadata": '
    b'{"crm_id": "123", "airflow": {"dag_id": "after_a_call", "run_id": '
    b'"manual__2026-11-23T18:24:46.424163+00:00", "task_id": "place_call", "map_index": 17}}, '
    b'"transcript_id": null, "error": null, "sip_status_code": null, "created_at": "%s", '
    b'"answered_at": "%s", "ended_at": %s, "duration": null}'
)
NEVER = 1e12


class Call:
    """A call that is in progress until it completes."""

    __slots__ = ("_created", "_names", "ends_at", "id", "lasts", "waited")

    def __init__(
        self, agent_id: str, created: float, ends_at: float, waited: bool, lasts: float | None = None
    ) -> None:
        self.id = str(uuid.uuid4())
        self.ends_at = ends_at
        self.lasts = lasts  # seconds from the first look, as long as there was none
        self.waited = waited
        self._names = self.id.encode(), agent_id.encode()
        self._created = _iso(created)

    def has_ended(self, now: float) -> bool:
        """Tell whether it has ended by now; the first look may start its time."""
        if self.lasts is not None:
            self.ends_at, self.lasts = now + self.lasts, None
        return now >= self.ends_at

    def record(self, now: float) -> bytes:
        """Return the whole record, as JSON."""
        return self._json(RECORD, now)

    def list_item(self, now: float) -> bytes:
        """Return the record as lists have it, as JSON."""
        return self._json(ITEM, now)

    def _json(self, template: bytes, now: float) -> bytes:
        status, ended_at = b"in_progress", b"null"
        if self.has_ended(now):
            status, ended_at = b"completed", b'"%s"' % _iso(self.ends_at)
        return template % (*self._names, status, self._created, self._created, ended_at)


def ended_status(call: Call, now: float) -> str:
    """Return the status of a call, for the list's filter."""
    return "completed" if call.has_ended(now) else "in_progress"


class Agent:
    """An agent and its calls, the oldest first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.id = str(uuid.uuid4())
        self.calls: list[Call] = []
        self.by_id: dict[str, Call] = {}

    def add(self, call: Call) -> None:
        """Have one call more, the newest."""
        self.calls.append(call)
        self.by_id[call.id] = call


class World:
    """Agents and calls for one run of one contender.

    Args:
        name: What its requests to ``/worlds`` call it.
        agents: How many agents.
        waits: How many calls are waited for, all agents together.
        older: How many calls of each agent ended before.
        between: How many calls that have ended are in the list after each that is waited for.
        ends: When the waited calls end, evenly between two times in seconds from now; never without it.
        lasts: Or they end so many seconds after their first look.
        arrivals: How many new calls an agent places each second meanwhile; they have ended.
    """

    def __init__(
        self,
        name: str,
        agents: int = 1,
        waits: int = 1,
        older: int = 0,
        between: int = 0,
        ends: tuple[float, float] | None = None,
        lasts: float | None = None,
        arrivals: float = 0,
    ) -> None:
        self.name = name
        self.away_until = 0.0
        self.book = Book()
        self.agents = [Agent(self) for _ in range(agents)]
        self._arrivals = arrivals
        now = time.time()
        for agent in self.agents:
            for index in range(older):
                agent.add(Call(agent.id, now - 1e6 + index, now - 1e5, waited=False))
        shuffled = random.Random(name).sample(range(waits), waits)
        for index, place in enumerate(shuffled):
            agent = self.agents[index % agents]
            ends_at = NEVER
            if ends:
                ends_at = now + ends[0] + (ends[1] - ends[0]) * (place + 0.5) / waits
            agent.add(Call(agent.id, now - 60, ends_at, waited=True, lasts=lasts))
            for _ in range(between):
                agent.add(Call(agent.id, now - 60, now - 10, waited=False))
        self._timer: asyncio.TimerHandle | None = None
        if arrivals:
            self._arrive()

    def _arrive(self) -> None:
        for agent in self.agents:
            agent.add(Call(agent.id, time.time(), time.time(), waited=False))
        self._timer = asyncio.get_running_loop().call_later(1 / self._arrivals, self._arrive)

    def stop(self) -> None:
        """Have no more calls arrive."""
        if self._timer:
            self._timer.cancel()

    def waited(self) -> list[tuple[str, str, float]]:
        """Return agent, call and end of each call that is waited for."""
        return [
            (agent.id, call.id, call.ends_at) for agent in self.agents for call in agent.calls if call.waited
        ]


class Book:
    """The requests and connections of one world, with their times."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._told: list[int] = []
        self._connected: list[float] = []
        self._closed: list[float] = []

    def enter(self, now: float, told: int) -> None:
        """Enter a request and how many waited calls its answer tells of."""
        self._times.append(now)
        self._told.append(told)

    def connected(self, now: float) -> None:
        """Enter a new connection."""
        self._connected.append(now)

    def closed(self, now: float) -> None:
        """Enter that a connection was closed."""
        self._closed.append(now)

    def between(self, start: float, end: float, width: float = 0) -> dict[str, float]:
        """Sum up what came between two times.

        Args:
            start: In seconds since the epoch, as is
            end: the end.
            width: Seconds; ``most`` is the most requests that came within any such time.
        """
        first, last = bisect_left(self._times, start), bisect_left(self._times, end)
        times = self._times[first:last]
        before = bisect_left(self._connected, start)
        return {
            "requests": len(times),
            "first": times[0] if times else 0.0,
            "told": sum(self._told[first:last]),
            "open": before - bisect_left(self._closed, start),
            "connected": bisect_left(self._connected, end) - before,
            "most": max(
                (bisect_left(times, moment + width) - index for index, moment in enumerate(times)), default=0
            ),
        }


def _iso(moment: float) -> bytes:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="microseconds").encode()
