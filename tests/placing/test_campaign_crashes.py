"""Campaigns whose processes die, whose answers get lost, whose lists change and that are cleared.

The sandbox's own records say whether anybody was called too often, too early, or with too many others. Real
processes are killed in ``test_kills.py``; here many more histories are tried, in this process.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred

from airflow_provider_telzino.hooks.telzino import TelzinoHook
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS
from tests.support.campaign_runs import Drive, campaign, numbers
from tests.support.live_calls import most_live
from tests.support.placed_calls import Clock
from tests.support.placing_runs import TaskStateStore, has_task_state
from tests.support.rounds import ROUNDS

pytestmark = pytest.mark.usefixtures("surroundings")

SEEDS = 8 * ROUNDS
SEED = int(os.environ.get("TELZINO_CRASH_SEED", "1"))
DELAY = timedelta(minutes=5)
MAX_ATTEMPTS = 2
REDIAL_ON = ("no_answer", "busy")


class DeathError(BaseException):
    """The process dies."""


@dataclass
class Trouble:
    """What goes wrong, at random."""

    randomness: random.Random
    deaths: int
    lost: int
    happened: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def dies(self, share: float) -> bool:
        """Whether the process dies now."""
        if self.deaths > 0 and self.randomness.random() < share:
            self.deaths -= 1
            self.happened["deaths"] += 1
            return True
        return False

    def install(self, patch: pytest.MonkeyPatch, drive: Drive) -> None:
        """Let processes die before and after requests, and answers get lost."""
        place_call, call_pages, get_call = (
            TelzinoHook.place_call,
            TelzinoHook.call_pages,
            TelzinoHook.get_call,
        )

        def place(*given: Any, **options: Any) -> Any:
            if self.dies(0.02):
                raise DeathError
            if self.lost > 0 and self.randomness.random() < 0.05:
                self.lost -= 1
                self.happened["lost answers"] += 1
                committed = self.randomness.random() < 0.5
                drive.sandbox.faults.next("POST", "outbound-calls$", status=502, after_commit=committed)
            answer = place_call(*given, **options)
            if self.dies(0.02):
                raise DeathError
            return answer

        def pages(*given: Any, **options: Any) -> Iterator[Any]:
            if self.dies(0.02):
                raise DeathError
            yield from call_pages(*given, **options)

        def get(*given: Any, **options: Any) -> Any:
            if self.dies(0.01):
                raise DeathError
            return get_call(*given, **options)

        for name, replacement in (("place_call", place), ("call_pages", pages), ("get_call", get)):
            patch.setattr(TelzinoHook, name, replacement)


def run_to_the_end(drive: Drive, trouble: Trouble, people: list[Any]) -> list[dict[str, Any]]:
    """Run tries until one succeeds, with deaths, clears and changed lists in between."""
    randomness = trouble.randomness
    for _ in range(60):
        run = drive.runs.next_try()
        try:
            result = drive.step(run, "execute")
            while isinstance(result, TaskDeferred):
                if trouble.dies(0.03):  # the triggerer lost it, or a person clears it
                    raise DeathError
                result = drive.resume(run, result)
        except (DeathError, AirflowException):
            if randomness.random() < 0.2:
                drive.runs.clear()
                trouble.happened["clears"] += 1
            if randomness.random() < 0.3:
                randomness.shuffle(people)
                trouble.happened["changed lists"] += 1
        else:
            assert isinstance(result, list)
            return result
    raise AssertionError("the campaign does not end")


def wrong(drive: Drive, most: int) -> list[str]:
    """Say what the calls of a campaign did that the rules don't allow, from the sandbox's records alone."""
    problems: list[str] = []
    calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in drive.sandbox.calls:
        calls[call["to_number"]].append(call)
    for number, own in calls.items():
        if len(own) > MAX_ATTEMPTS:
            problems.append(f"{number} was called {len(own)} times")
        for before, after in itertools.pairwise(own):
            if before["status"] not in REDIAL_ON:
                problems.append(f"{number} was called again after {before['status']}")
            elif moment(after, "created_at") < moment(before, "ended_at") + DELAY:
                problems.append(f"{number} was called again too early")
    peak = most_live(drive.sandbox.calls)
    if peak > most:
        problems.append(f"{peak} calls were live")
    return problems


def moment(call: dict[str, Any], name: str) -> datetime:
    """Return a time of a record."""
    return datetime.fromisoformat(call[name])


@pytest.mark.parametrize("seed", range(SEED * 1_000, SEED * 1_000 + SEEDS))
def test_nobody_is_called_beyond_the_rules(
    clock: Clock, seed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever dies: each contact is called as often as the outcomes say, and the results are the calls'."""
    randomness = random.Random(seed)
    people: list[Any] = [
        *numbers(randomness.randint(5, 40)),
        MAGIC_NUMBERS["busy"],
        MAGIC_NUMBERS["no_answer"],
    ]
    most = randomness.randint(1, 15)
    has_state = has_task_state() and randomness.random() < 0.5
    drive = campaign(
        clock,
        contacts=lambda: list(people),
        max_active_calls=most,
        redial_on=REDIAL_ON,
        max_attempts=MAX_ATTEMPTS,
        redial_delay=DELAY,
        retries=100,
        state=TaskStateStore() if has_state else None,
    )
    trouble = Trouble(randomness, deaths=randomness.randint(0, 8), lost=randomness.randint(0, 5))

    with monkeypatch.context() as patch:
        trouble.install(patch, drive)
        results = run_to_the_end(drive, trouble, people)

    assert wrong(drive, most) == []
    last = {call["to_number"]: call for call in drive.sandbox.calls}
    assert {each["contact"]: each["record"] for each in results} == last
    with capsys.disabled():
        print(
            f"\n{len(drive.sandbox.calls)} calls to {len(people)} contacts, {dict(trouble.happened)}", end=" "
        )
