"""The sandbox's data, in memory: agents, their calls and call logs."""

from __future__ import annotations

import heapq
import random
import threading
import uuid
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_telzino.sandbox import lifecycle
from airflow_provider_telzino.sandbox.clock import Clock
from airflow_provider_telzino.sandbox.index import LIVE, CallIndex, Entry
from airflow_provider_telzino.sandbox.line import Line
from airflow_provider_telzino.sandbox.magic_numbers import Outcomes
from airflow_provider_telzino.sandbox.records import PlacedCall, Record, call_log, call_record, list_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Item = TypeVar("Item")

DEFAULT_AGENT_ID = "123e4567-e89b-12d3-a456-426614174000"
FORBIDDEN_AGENT_ID = "deadbeef-0000-4000-8000-000000000403"
"""An agent that exists, but which no token of the sandbox may use."""


class NotFoundError(Exception):
    """There is no such agent or call."""


class ForbiddenError(Exception):
    """The agent exists, but the caller may not use it."""


@dataclass
class Agent:
    """An agent with its calls."""

    id: str
    name: str
    line: Line
    calls: CallIndex = field(default_factory=CallIndex)
    logged: list[PlacedCall] = field(default_factory=list)
    """The calls that have a call log, in the order of their ends."""
    talking: list[tuple[datetime, int, PlacedCall]] = field(default_factory=list)
    """A heap of the calls that will have a call log, by the time of their end."""

    @property
    def as_json(self) -> dict[str, str]:
        """The agent as the API returns it. Telzino's probably have more fields."""
        return {"id": self.id, "name": self.name}


class Store:
    """Agents and calls; every method may be called from any thread.

    Args:
        clock: The sandbox's clock.
        seed: Determines ids, outcomes and times: the same seed and order of calls give the same ones.
        agents: How many agents there are.
        list_lag: Seconds until a new call appears in the list.
        max_concurrent_calls: How many calls of an agent are concurrent at most; ``None`` is no limit.
        scripted_only: Whether calls are refused that no test has scripted.
    """

    def __init__(
        self,
        clock: Clock,
        seed: int,
        agents: int,
        list_lag: float,
        max_concurrent_calls: int | None = None,
        *,
        scripted_only: bool = False,
    ) -> None:
        self.clock = clock
        self.max_concurrent_calls = max_concurrent_calls
        self.list_lag = list_lag
        self.lock = threading.RLock()
        self._seed = seed
        self._calls: dict[str, PlacedCall] = {}
        self.outcomes = Outcomes(seed, scripted_only=scripted_only)
        self.runs: Counter[tuple[str, str]] = Counter()
        """How many calls each DAG run has placed, by ``dag_id`` and ``run_id``; the newest run is last."""
        self._tie_breaker = count()  # for calls that end at the same time, which can't be compared
        further = (_uuid(_randomness(f"{seed}/agent/{number}")) for number in range(2, agents + 1))
        ids = [DEFAULT_AGENT_ID, *further]
        self._agents = {
            id_: Agent(id_, f"Sandbox agent {n}", Line(max_concurrent_calls))
            for n, id_ in enumerate(ids, start=1)
        }

    @property
    def agents(self) -> list[Agent]:
        """The agents that the sandbox's tokens may use."""
        return [*self._agents.values()]

    def agent(self, agent_id: str) -> Agent:
        """Return an agent; raise ``NotFoundError`` or ``ForbiddenError``."""
        if agent_id.lower() == FORBIDDEN_AGENT_ID:
            raise ForbiddenError(f"This token may not use agent {agent_id}.")
        try:
            return self._agents[agent_id.lower()]
        except KeyError:
            raise NotFoundError(f"There is no agent {agent_id}.") from None

    def call(self, call_id: str, agent_id: str | None = None) -> PlacedCall:
        """Return a call, of this agent if one is given; raise ``NotFoundError`` or ``ForbiddenError``."""
        agent = self.agent(agent_id) if agent_id is not None else None
        call = self._calls.get(call_id.lower())
        if call is None or (agent is not None and call.agent_id != agent.id):
            raise NotFoundError(f"There is no call {call_id}.")
        return call

    def place(self, agent_id: str, to_number: str, **requested: Any) -> PlacedCall:
        """Place a call now. Only the agent is checked here; the API checks the rest."""
        with self.lock:
            call = self._new_call(agent_id, to_number, self.outcomes.next_of(to_number), **requested)
            self._agents[call.agent_id].line.join(call, call.created_at)
            self._add(call)
        return call

    def add(
        self, agent_id: str, status: str, to_number: str, overrides: Record, **requested: Any
    ) -> PlacedCall:
        """Add a call that already is, and stays, in this status. If it has ended, it has ended just now.

        ``overrides`` replace fields of its record.
        """
        usual = {
            "no_answer": lifecycle.NO_ANSWER,
            "busy": lifecycle.BUSY,
            "failed": lifecycle.NO_TRUNK,
        }.get(status, lifecycle.COMPLETED)
        ends = status in lifecycle.ENDED_STATUSES
        with self.lock:
            call = self._new_call(agent_id, to_number, usual, **requested)
            reached = next((step.after for step in call.schedule.steps if step.status == status), 0.0)
            call.created_at -= timedelta(seconds=reached)
            if not ends:
                call.schedule = call.schedule.moved(reached, status, ends=False)
            call.overrides, call.pinned = overrides, True
            self._add(call)
            self._form_line_again(self._agents[call.agent_id])
        return call

    def move(self, call_id: str, status: str, overrides: Record, *, ends: bool) -> PlacedCall:
        """Put a call into this status from now on. ``overrides`` replace fields of its record."""
        with self.lock:
            call = self.call(call_id)
            agent = self._agents[call.agent_id]
            elapsed = max(call.elapsed(self.clock.now()), 0.0)
            call.schedule, call.pinned = call.schedule.moved(elapsed, status, ends=ends), True
            call.overrides = {
                **{name: value for name, value in call.overrides.items() if name != "status"},
                **overrides,
            }
            call.final_record = None
            agent.logged = [logged for logged in agent.logged if logged is not call]
            self._course_changed(agent, [call])
            self._form_line_again(agent)
        return call

    def page_of_calls(
        self, agent: Agent, page: int, limit: int, status: str | None = None
    ) -> tuple[list[Record], int]:
        """Return one page of the agent's calls, newest first, and how many there are on all pages."""
        with self.lock:
            now = self.clock.now()
            entries = agent.calls.having(status, now)
            shown = len(entries)
            if self.list_lag:
                shown = bisect_right(entries, now - timedelta(seconds=self.list_lag), key=_created_at)
            return _page(entries, shown, page, limit, lambda entry: list_item(entry[2], now)), shown

    def page_of_logs(self, agent: Agent, page: int, limit: int) -> tuple[list[Record], int]:
        """Return one page of the agent's call logs, latest end first, and how many there are."""
        with self.lock:
            now = self.clock.now()
            while agent.talking and agent.talking[0][0] <= now:
                ended = heapq.heappop(agent.talking)[2]
                # An override can remove the transcript.
                if ended.overrides.get("transcript_id", ended.transcript_id) is not None:
                    agent.logged.append(ended)
            logged = agent.logged
            return _page(logged, len(logged), page, limit, lambda call: call_log(call, now)), len(logged)

    def records(self) -> list[Record]:
        """Return the records of all calls, in the order in which they were placed."""
        with self.lock:
            return [self.record(call) for call in self._calls.values()]

    def record(self, call: PlacedCall) -> Record:
        """Return the call's record as it is now, as a copy."""
        with self.lock:
            return dict(call_record(call, self.clock.now()))

    def _new_call(
        self,
        agent_id: str,
        to_number: str,
        outcome: lifecycle.Outcome,
        *,
        call_id: str | None = None,
        created_at: datetime | None = None,
        **requested: Any,
    ) -> PlacedCall:
        agent = self.agent(agent_id)
        seed = f"{self._seed}/call/{len(self._calls) + 1}"
        randomness = _randomness(seed)
        drawn_id, transcript_id = _uuid(randomness), _uuid(randomness)
        return PlacedCall(
            id=(call_id or drawn_id).lower(),
            agent_id=agent.id,
            to_number=to_number,
            created_at=created_at or self.clock.now(),
            outcome=outcome,
            schedule=lifecycle.plan(outcome, randomness),
            transcript_id=transcript_id,
            seed=seed,
            **requested,
        )

    def _add(self, call: PlacedCall) -> None:
        if call.id in self._calls:
            raise ValueError(f"There already is a call {call.id}.")
        agent = self._agents[call.agent_id]
        self._calls[call.id] = call
        agent.calls.add(call, self.clock.now())
        if "run_id" in call.identity:
            self.runs[str(call.identity.get("dag_id", "")), str(call.identity["run_id"])] += 1
        self._expect_log(agent, call)

    def _form_line_again(self, agent: Agent) -> None:
        now = self.clock.now()
        live = (call for _, _, call in agent.calls.having(LIVE, now))
        self._course_changed(agent, agent.line.form_again(live, now))

    def _course_changed(self, agent: Agent, calls: list[PlacedCall]) -> None:
        if not calls:
            return
        now = self.clock.now()
        changed = {call.id for call in calls}
        agent.talking = [entry for entry in agent.talking if entry[2].id not in changed]
        heapq.heapify(agent.talking)
        for call in calls:
            agent.calls.update(call, now)
            self._expect_log(agent, call)

    def _expect_log(self, agent: Agent, call: PlacedCall) -> None:
        if call.will_complete and call.ends is not None:
            heapq.heappush(agent.talking, (call.ends, next(self._tie_breaker), call))


def _page(
    oldest_first: Sequence[Item], shown: int, page: int, limit: int, shown_as: Callable[[Item], Record]
) -> list[Record]:
    """Return a page, newest first, of the oldest ``shown`` items of a list."""
    end = max(shown - (page - 1) * limit, 0)
    chosen: Iterable[Item] = reversed(oldest_first[max(end - limit, 0) : end])
    return [shown_as(item) for item in chosen]


def _created_at(entry: Entry) -> datetime:
    return entry[0]


def _randomness(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable, not secret


def _uuid(randomness: random.Random) -> str:
    return str(uuid.UUID(int=randomness.getrandbits(128), version=4))
