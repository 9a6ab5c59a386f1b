"""Run a campaign as Airflow does, but in this process and on the tests' clocks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_telzino.models import has_ended
from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator
from airflow_provider_telzino.rules.batch import BatchTally
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.triggers.batch import TelzinoCallBatchTrigger
from tests.support.placed_calls import Clock
from tests.support.placing_runs import PlacingRun, TaskRuns

STEP = 1.0  # seconds of the tests' clocks between two polls of the simulated triggerer


def numbers(count: int) -> list[str]:
    """Return phone numbers that are all different."""
    return [f"+1813555{position:04d}" for position in range(count)]


@dataclass
class CampaignRuns(TaskRuns):
    """All tries of a campaign in one DAG run."""

    def task(self) -> Any:
        """Create the operator, as each process does."""
        defaults: dict[str, Any] = {"task_id": "campaign", "timeout": 3_600}
        return TelzinoCampaignOperator(**(defaults | self.arguments), retries=self.retries)


@dataclass
class Drive:
    """Drives one campaign: lets calls end, and resumes the task when its trigger would."""

    runs: CampaignRuns
    clock: Clock
    worker_runs: int = 0
    most_live: int = 0
    before_resume: Callable[[Drive], None] = field(default=lambda _: None)

    @property
    def sandbox(self) -> Sandbox:
        """The Telzino."""
        return self.clock.sandbox

    def to_the_end(self, run: PlacingRun | None = None) -> Any:
        """Run a try to its end; return what it returns."""
        run = run or self.runs.next_try()
        return self.carry_on(run, self.step(run, "execute"))

    def carry_on(self, run: PlacingRun, result: Any) -> Any:
        """Continue after a step of a try, until the try ends."""
        while isinstance(result, TaskDeferred):
            result = self.resume(run, result)
        return result

    def step(self, run: PlacingRun, name: str, **arguments: Any) -> Any:
        """Run one step on a worker."""
        self.worker_runs += 1
        try:
            return run.step(name, **arguments)
        finally:
            self.count_live()

    def resume(self, run: PlacingRun, deferral: TaskDeferred) -> Any:
        """Let time pass as the trigger does, and resume the task."""
        event = self.pass_time(deferral)
        self.before_resume(self)
        kwargs = json.loads(json.dumps(deferral.kwargs or {}))
        return self.step(run, deferral.method_name or "", event=event, **kwargs)

    def pass_time(self, deferral: TaskDeferred) -> Mapping[str, Any] | str:
        """Advance the clocks until the trigger would fire."""
        trigger: Any = deferral.trigger
        if not isinstance(trigger, TelzinoCallBatchTrigger):
            self.clock.advance_to(trigger.moment)
            self.count_live()
            return "the moment"
        now = self.clock.now().timestamp
        tally = BatchTally(
            len(trigger.call_ids),
            deadline=trigger.deadline,
            until_ended=trigger.until_ended,
            resume_after=trigger.resume_after,
            not_before=trigger.not_before,
        )
        live = set(trigger.call_ids)
        while True:
            for record in [self.sandbox.call(each) for each in live]:
                if has_ended(record):
                    live.remove(record["id"])
                    tally.add(record["status"], now())
            if (outcome := tally.outcome(now())) is not None:
                return {"outcome": outcome, "total": tally.total, "ended": 0, "missing": 0, "counts": {}}
            self.clock.advance(STEP)
            now = self.clock.now().timestamp

    def count_live(self) -> None:
        """Note how many calls are live now."""
        self.most_live = max(self.most_live, sum(not has_ended(call) for call in self.sandbox.calls))

    def placements(self) -> Counter[str]:
        """Return how many calls each number got."""
        return Counter(call["to_number"] for call in self.sandbox.calls)


def campaign(clock: Clock, *, contacts: Any, **arguments: Any) -> Drive:
    """Return the drive of a campaign."""
    known = {
        name: arguments.pop(name) for name in ("retries", "state", "map_index", "due") if name in arguments
    }
    known.setdefault("due", clock.now() - timedelta(minutes=1))
    return Drive(CampaignRuns({"contacts": contacts} | arguments, **known), clock)


def moment_of(deferral: Any) -> datetime:
    """Return until when a campaign waits that has no live call."""
    assert isinstance(deferral, TaskDeferred), deferral
    moment: datetime = deferral.trigger.moment
    return moment
