"""Random contacts over both clock changes of six zones, while processes die: nobody is called out of hours.

The sandbox is the witness of when each call was placed, and ``zoneinfo`` of what the clock showed there then:
no code of the package, and not the library that it uses. ``TELZINO_CRASH_ROUNDS=70`` are 10,500 contacts.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine

from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sandbox.lifecycle import BUSY, COMPLETED, NO_ANSWER, NO_TRUNK
from airflow_provider_telzino.sandbox.lifecycle import Outcome as CallOutcome
from tests.conftest import ConnectionSetter, ReportCount
from tests.support.crash_verdict import complaints
from tests.support.crashing_tasks import Outcome, Round, Task
from tests.support.decided_outcomes import decide_outcomes
from tests.support.mortal_tasks import MortalState, SharedClock, World, mortal_processes, run_task
from tests.support.placing_runs import TaskRuns, has_task_state
from tests.support.rounds import ROUNDS

SEED = int(os.environ.get("TELZINO_CRASH_SEED", "1"))
CONTACTS = 150 * ROUNDS
YEAR = 2026
ZONES = (
    "America/New_York",
    "Europe/London",
    "Africa/Cairo",  # changes at midnight
    "America/Santiago",  # in the south, and at midnight
    "Pacific/Auckland",
    "Australia/Lord_Howe",  # by half an hour
)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
OUTCOMES = (COMPLETED, COMPLETED, NO_ANSWER, BUSY, NO_TRUNK)
POST_FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 429},
    {"status": 429, "retry_after": "50", "times": 3},
    {"status": 429, "retry_after": "3600"},
    {"status": 500},
    {"status": 500, "after_commit": True},
    {"reset": True, "after_commit": True},
)

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Contact:
    """A contact, and when it may be called."""

    number: str
    agent_id: str
    timezone: str
    hours: tuple[str, str]
    days: tuple[str, ...]
    arguments: dict[str, Any]
    """Of the task, besides these."""
    start: datetime

    def may_be_called(self, moment: datetime) -> bool:
        """Whether the clock on the contact's wall permits it."""
        local = moment.astimezone(ZoneInfo(self.timezone))
        return DAYS[local.weekday()] in self.days and self.hours[0] <= f"{local:%H:%M}" < self.hours[1]

    def has_a_clock_change_near(self, moment: datetime) -> bool:
        """Whether the clock there is changed within a day before or after."""
        zone, day = ZoneInfo(self.timezone), timedelta(days=1)
        return (moment - day).astimezone(zone).utcoffset() != (moment + day).astimezone(zone).utcoffset()


def clock_changes(name: str) -> list[datetime]:
    """Return when the clocks of a zone are changed in this year, to the hour."""
    zone, start = ZoneInfo(name), datetime(YEAR, 1, 2, tzinfo=timezone.utc)
    hours = [start + timedelta(hours=number) for number in range(363 * 24)]
    offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
    return [hours[index] for index in range(1, len(hours)) if offsets[index] != offsets[index - 1]]


CHANGES = {name: clock_changes(name) for name in ZONES}


def random_contact(number: int, agent_id: str, randomness: random.Random) -> Contact:
    """Draw a contact, often with hours that begin or end at about the time of a clock change."""
    zone = randomness.choice(ZONES)
    begin = randomness.randrange(0, *randomness.choice([(240,), (1_400,)]))
    end = begin + randomness.randint(1, min(randomness.choice([30, 180, 1_439]), 1_439 - begin))
    hours = randomness.choice([3, 12, 48])
    statuses = ["no_answer", "busy", "failed"]
    return Contact(
        number=f"+1813{number:07d}",
        agent_id=agent_id,
        timezone=zone,
        hours=(f"{begin // 60:02d}:{begin % 60:02d}", f"{end // 60:02d}:{end % 60:02d}"),
        days=tuple(randomness.sample(DAYS, randomness.choice([7, 7, 3, 1]))),
        arguments={
            "redial_on": randomness.sample(statuses, randomness.randint(0, 3)),
            "max_attempts": randomness.randint(1, 4),
            "redial_delay": randomness.choice([0, 600, 1_800, 3_600, 30_000]),
            "fail_on": randomness.sample(statuses, randomness.randint(0, 3)),
            "dial_timeout": timedelta(days=randomness.choice([1, 3, 10])),
        },
        start=randomness.choice(CHANGES[zone]) + timedelta(hours=randomness.uniform(-hours, hours)),
    )


@pytest.fixture
def world() -> Iterator[World]:
    """The time, which only tests move, and the deaths of processes."""
    with time_machine.travel(datetime(YEAR, 1, 1, tzinfo=timezone.utc), tick=False) as traveller:
        world = World(random.Random(SEED), traveller)
        with mortal_processes(world):
            yield world


@pytest.fixture
def sandbox(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A Telzino at the same time, with an agent for each contact, and random outcomes."""

    def outcome_of(to_number: str, earlier_calls: int) -> CallOutcome:
        return random.Random(f"{SEED}/{to_number}/{earlier_calls}").choice(OUTCOMES)

    decide_outcomes(monkeypatch, outcome_of)
    with Sandbox(clock=SharedClock(0), agents=CONTACTS + 1, list_lag=5.0, keep_requests=False) as running:
        yield running


def call_contact(contact: Contact, sandbox: Sandbox, world: World) -> tuple[Task, Outcome]:
    """Run the task that calls a contact, to its end."""
    sandbox.faults.clear()
    for _ in range(world.randomness.choice([0, 0, 1, 2])):
        fault = world.randomness.choice(POST_FAULTS)
        sandbox.faults.next("POST", f"{contact.agent_id}/outbound-calls$", **fault)
    delay = timedelta(seconds=contact.arguments["redial_delay"])
    limits = {
        "calling_hours": contact.hours,
        "calling_days": contact.days,
        "timezone": contact.timezone,
        "may_call": world.may_call if world.randomness.random() < 0.5 else None,
    }
    arguments = {**contact.arguments, **limits, "redial_delay": delay}
    who = {"to_number": contact.number, "agent_id": contact.agent_id}
    world.begin_task(contact.start)
    state = MortalState(world) if has_task_state() and world.randomness.random() < 0.7 else None
    runs = TaskRuns(who | arguments, retries=50, state=state, due=contact.start, created=contact.start)
    outcome = Outcome(contact.number, 0, contact.number, contact.start.isoformat())
    run_task(runs, world, outcome)
    rules = {**contact.arguments, "reattach": True}
    rounds = [Round([contact.number])]
    task = Task(contact.number, "", "", rules, rounds, is_mapped=False, retries=50, deaths=0, has_state=False)
    return task, outcome


def test_nobody_is_called_out_of_hours_whatever_the_clocks_do(
    sandbox: Sandbox, world: World, connect: ConnectionSetter, quick_retries: None, report_count: ReportCount
) -> None:
    """Nor more often than the rules allow, whichever processes die."""
    connect(sandbox)
    contacts = [random_contact(n, sandbox.agent_ids[n + 1], world.randomness) for n in range(CONTACTS)]

    runs = [call_contact(contact, sandbox, world) for contact in contacts]

    calls: dict[str, list[dict[str, Any]]] = {contact.number: [] for contact in contacts}
    for call in sandbox.calls:
        calls[call["to_number"]].append(call)
    outside, near = [], 0
    for contact in contacts:
        for call in calls[contact.number]:
            placed_at = datetime.fromisoformat(call["created_at"])
            near += contact.has_a_clock_change_near(placed_at)
            if not contact.may_be_called(placed_at):
                outside.append((asdict(contact), call["created_at"]))
    wrong = [found for task, outcome in runs if (found := complaints(task, [outcome], calls[task.name]))]
    per_contact = Counter(len(each) for each in calls.values())
    placements = sum(map(len, calls.values()))
    report_count(
        f"{CONTACTS} contacts over the clock changes of {len(ZONES)} zones: {placements} calls, {near} of "
        f"them within a day of a change, {len(outside)} out of hours; contacts by calls: "
        f"{dict(sorted(per_contact.items()))}; {world.counts['processes']} processes, "
        f"{world.counts['deaths']} deaths, {world.counts['waits']} waits (seed {SEED})"
    )
    assert outside == []
    assert not wrong, json.dumps(wrong[:5], indent=1)
    not_called = [outcome for _, outcome in runs if not calls[outcome.number]]
    assert [each for each in not_called if "`dial_timeout`" not in str(each.error)] == []
    # Otherwise the counts would prove little.
    assert [len(changes) for changes in CHANGES.values()] == [2] * len(ZONES)
    assert world.counts["deaths"] >= CONTACTS / 4
    assert world.counts["waits"] >= CONTACTS / 4
    assert near >= CONTACTS / 4
