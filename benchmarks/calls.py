"""The calls of the benchmark's server: when each ends, its record, and a log of all requests for them."""

from __future__ import annotations

import itertools
import json
import random
import time
import uuid
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

# About 1 KB as a record and 0.5 KB as an item of a list, as with a context and metadata of usual size.
RECORD = (
    b'{"id": "%s", "agent_id": "%s", "to_number": "%s", "status": "%s", "call_context": "'
    + b"You are calling John to confirm his appointment tomorrow at 2pm. " * 5
    + b'", "request_metadata": %s, "callback_url": null, "callback_delivered": null, "transcript_id": null, '
    b'"summary_text": null, "error": null, "sip_status_code": null, "created_at": "%s", "answered_at": "%s", '
    b'"ended_at": %s, "duration": null}'
)
ITEM = (
    b'{"id": "%s", "agent_id": "%s", "to_number": "%s", "status": "%s", "request_metadata": %s, '
    b'"transcript_id": null, "error": null, "sip_status_code": null, "created_at": "%s", '
    b'"answered_at": "%s", "ended_at": %s, "duration": null}'
)
NUMBER = b"+18135551234"
METADATA = (
    b'{"crm_id": "123", "airflow": {"dag_id": "after_a_call", "run_id": '
    b'"manual__2026-11-23T18:24:46.424163+00:00", "task_id": "place_call", "map_index": 17}}'
)
NEVER = 1e12


class Call:
    """A call that is in progress until it completes."""

    __slots__ = ("_created", "_metadata", "_names", "ends_at", "id", "lasts", "waited")

    def __init__(
        self,
        agent_id: str,
        created: float,
        ends_at: float,
        waited: bool,
        lasts: float | None = None,
        number: bytes = NUMBER,
        metadata: bytes = METADATA,
    ) -> None:
        self.id = str(uuid.uuid4())
        self.ends_at = ends_at
        self.lasts = lasts  # seconds from the first poll, as long as there was none
        self.waited = waited
        self._names = self.id.encode(), agent_id.encode(), number
        self._metadata = metadata
        self._created = _iso(created)

    def has_ended(self, now: float) -> bool:
        """Return whether it has ended; the first poll may start its time."""
        if self.lasts is not None:
            self.ends_at, self.lasts = now + self.lasts, None
        return now >= self.ends_at

    def as_json(self, template: bytes, now: float) -> bytes:
        """Return its record, or its item of a list."""
        status, ended_at = b"in_progress", b"null"
        if self.has_ended(now):
            status, ended_at = b"completed", b'"%s"' % _iso(self.ends_at)
        return template % (*self._names, status, self._metadata, self._created, self._created, ended_at)


@dataclass
class Agent:
    """An agent and its calls, the oldest first."""

    world: World
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    calls: list[Call] = field(default_factory=list)
    by_id: dict[str, Call] = field(default_factory=dict)

    def add(self, call: Call) -> None:
        """Add a call, the newest."""
        self.calls.append(call)
        self.by_id[call.id] = call


class World:
    """Agents and calls for one run of one contender.

    Args:
        name: Its name.
        agents: How many agents.
        waits: How many calls are waited for, all agents together.
        older: How many calls of each agent ended before.
        between: How many ended calls are in the list after each that is waited for.
        ends: When the calls end that are waited for: evenly between two times, in seconds from now. By
            default never.
        lasts: Or how many seconds after their first poll they end.
        arrivals: How many new calls, already ended, an agent gets each second meanwhile.
        latency: Seconds that each answer takes.
        placed_last: Between how many seconds a call lasts that is placed.
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
        latency: float = 0,
        placed_last: tuple[float, float] = (0, 0),
    ) -> None:
        self.unavailable_until = 0.0
        self.latency = latency
        self.placed = Placed()
        self._placed_last = placed_last
        self._random = random.Random(name)
        self.log = RequestLog()
        self.agents = [Agent(self) for _ in range(agents)]
        self._arrivals = arrivals
        self._last_arrival = now = time.time()
        for agent in self.agents:
            for index in range(older):
                agent.add(Call(agent.id, now - 1e6 + index, now - 1e5, waited=False))
        shuffled = random.Random(name).sample(range(waits), waits)
        for index, place in enumerate(shuffled):
            agent = self.agents[index % agents]
            ends_at = now + ends[0] + (ends[1] - ends[0]) * (place + 0.5) / waits if ends else NEVER
            agent.add(Call(agent.id, now - 60, ends_at, waited=True, lasts=lasts))
            for _ in range(between):
                agent.add(Call(agent.id, now - 60, now - 10, waited=False))

    def add_arrivals(self, now: float) -> None:
        """Add the calls that have arrived since the last time."""
        for _ in range(int((now - self._last_arrival) * self._arrivals)):
            self._last_arrival += 1 / self._arrivals
            for agent in self.agents:
                agent.add(Call(agent.id, self._last_arrival, self._last_arrival, waited=False))

    def place(self, agent: Agent, body: Mapping[str, Any], now: float) -> Call:
        """Place a call."""
        ends_at = now + self._random.uniform(*self._placed_last)
        metadata = json.dumps(body.get("metadata") or {}).encode()
        number = body["to_number"].encode()
        call = Call(agent.id, now, ends_at, waited=True, number=number, metadata=metadata)
        agent.add(call)
        self.placed.times.append((now, ends_at))
        return call

    def waited(self) -> list[tuple[str, str, float]]:
        """Return agent, call and end of each call that is waited for."""
        return [
            (agent.id, call.id, call.ends_at) for agent in self.agents for call in agent.calls if call.waited
        ]


@dataclass
class Placed:
    """The calls that were placed in a world."""

    times: list[tuple[float, float]] = field(default_factory=list)
    """When each began and ended."""
    answered_at: float = 0.0
    """When the last answer was sent."""

    def summary(self) -> dict[str, float]:
        """Return how many there are, how long it took to place them, and how many were live at most."""
        changes = sorted(change for begin, end in self.times for change in ((begin, 1), (end, -1)))
        return {
            "calls": len(self.times),
            "seconds": self.answered_at - self.times[0][0] if self.times else 0.0,
            "most_live": max(itertools.accumulate(step for _, step in changes), default=0),
        }


class RequestLog:
    """The requests for the calls of one world: their times, connections, and what was reported."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, int]] = []

    def add(self, now: float, statuses: int, connection: int) -> None:
        """Add a request.

        Args:
            now: Its time.
            statuses: Of how many calls that are waited for the answer reports the status.
            connection: Identifies its connection.
        """
        self._entries.append((now, statuses, connection))

    def summary(self, start: float, end: float, width: float = 0) -> dict[str, float]:
        """Summarise the requests between two times, in seconds since the epoch.

        ``most`` is the largest number of requests within any time of ``width`` seconds.
        """
        entries = self._entries[bisect_left(self._entries, (start,)) : bisect_left(self._entries, (end,))]
        times = [entry[0] for entry in entries]
        return {
            "requests": len(entries),
            "first": times[0] if times else 0.0,
            "statuses": sum(entry[1] for entry in entries),
            "connections": len({entry[2] for entry in entries}),
            "most": max(
                (bisect_left(times, moment + width) - index for index, moment in enumerate(times)), default=0
            ),
        }


def _iso(moment: float) -> bytes:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="microseconds").encode()
