"""Mapped tasks whose list of contacts changes: a contact keeps its calls, whatever its map index is now."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred

from airflow_provider_telzino.sandbox import Sandbox
from tests.support.placed_calls import Clock, call_ends, dies_after_post, goes, runs
from tests.support.placing_runs import NEEDS_TASK_STATE, STATES, TaskRuns, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")

A, B, C, D = (f"+1500555012{n}" for n in range(4))


@dataclass
class MappedTask:
    """All instances of a mapped task in one DAG run; one for each contact of a list that may change."""

    sandbox: Sandbox
    clock: Clock
    has_state: bool
    arguments: dict[str, Any] = field(default_factory=dict)
    instances: list[TaskRuns] = field(default_factory=list)
    clears: int = 0
    retries: int = 1

    def expand(self, *numbers: str, resets_run: bool = True) -> None:
        """Expand the task over a list; if there was one before, clear it together with its upstream task.

        Args:
            numbers: The contacts.
            resets_run: Whether the clear concerns the state of the DAG run, too, as it usually does. Airflow
                counts only those.
        """
        is_clear = bool(self.instances)
        self.clears += is_clear and resets_run
        for index, number in enumerate(numbers):
            if index == len(self.instances):
                state = TaskStateStore() if self.has_state else None
                new = runs(map_index=index, state=state, created=self.clock.now(), retries=self.retries)
                self.instances.append(new)
            elif is_clear:
                self.instances[index].clear()
            self.instances[index].arguments |= {"to_number": number} | self.arguments
            self.instances[index].clears = self.clears
        del self.instances[len(numbers) :]
        self.clock.advance(60)

    def run(self, *outcomes: str) -> list[str | None]:
        """Run all instances to their end, each with one outcome; return the numbers in their records."""
        return [
            self.run_one(index, outcome)
            for index, outcome in enumerate(outcomes or ["completed"] * len(self.instances))
        ]

    def run_one(self, index: int, outcome: str = "completed") -> str | None:
        """Run the next try of one instance; return the number that its record has."""
        run = self.instances[index].next_try()
        with contextlib.suppress(AirflowException):
            result = goes(run, self.clock, outcome)
            assert not isinstance(result, TaskDeferred)
            return str(result["to_number"])
        record = run.ti.xcoms.get("return_value")
        return None if record is None else str(record["to_number"])

    @property
    def dialled(self) -> list[str]:
        """The numbers of all calls so far, in their order."""
        return [call["to_number"] for call in self.sandbox.calls]


CHANGES = pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ([A, B], [A, B], []),
        ([A, B], [C, A, B], [C]),
        ([A, B], [A, C, B], [C]),
        ([A, B], [A, B, C], [C]),
        ([A, B, C], [B, C], []),
        ([A, B, C], [A, C], []),
        ([A, B, C], [C, B, A], []),
        ([A, B, C], [C, D, B], [D]),
        ([A, B], [C, D], [C, D]),
        ([A], [A, B, C], [B, C]),
        ([A, A], [A, A], []),
        ([A, A, B], [B, A], []),
        ([A, B], [A, A, B], []),  # two instances share a record: better than to ring again
    ],
    ids=lambda numbers: "".join("ABCD"[int(number[-1])] for number in numbers) or "none",
)
"""A list, the same after it has changed, and who has to be called then."""


@STATES
@CHANGES
def test_only_new_contacts_are_called(
    sandbox: Sandbox, clock: Clock, state: str | None, before: list[str], after: list[str], new: list[str]
) -> None:
    """All were reached before the clear, so nobody is called again; each record is its contact's."""
    task = MappedTask(sandbox, clock, has_state=state is not None)
    task.expand(*before)
    assert task.run() == before

    task.expand(*after)
    records = task.run()

    assert records == after
    assert task.dialled == before + new


@STATES
@CHANGES
def test_those_who_were_not_reached_are_called_again(
    sandbox: Sandbox, clock: Clock, state: str | None, before: list[str], after: list[str], new: list[str]
) -> None:
    """All calls failed before the clear: it calls every contact that is in the list now, and no other."""
    task = MappedTask(sandbox, clock, has_state=state is not None, retries=0)
    task.expand(*before)
    task.run(*["failed"] * len(before))

    task.expand(*after)
    records = task.run()

    assert records == after
    again = task.dialled[len(before) :]
    # Somebody who is in the list twice may be called once only.
    assert set(again) == set(after)
    assert len(again) <= len(after)


@STATES
def test_one_of_each(sandbox: Sandbox, clock: Clock, state: str | None) -> None:
    """A contact is inserted in front of one who was reached, one who was not, and one whose call is live."""
    task = MappedTask(sandbox, clock, has_state=state is not None, arguments={"redial_on": ["busy"]})
    task.arguments["max_attempts"] = 1
    task.expand(A, B, C)
    task.run("completed", "busy")
    live = task.instances[2].next_try().step("execute")
    sandbox.move(live.trigger.call_id, "in_progress")

    task.expand(D, A, B, C)
    records = [task.run_one(index) for index in (0, 1, 2)]
    deferral = task.instances[3].next_try().step("execute")

    assert records == [D, A, B]
    assert deferral.trigger.call_id == live.trigger.call_id
    assert task.dialled == [A, B, C, D, B]


@STATES
def test_a_retry_of_a_moved_contact_continues_with_its_call(
    sandbox: Sandbox, clock: Clock, state: str | None
) -> None:
    """The process died before it could end the task."""
    task = MappedTask(sandbox, clock, has_state=state is not None)
    task.expand(A, B)
    task.run()
    task.expand(C, A, B)
    for instance in task.instances:
        with contextlib.suppress(SystemExit):
            dies_after_post(instance.next_try()) if instance.map_index == 0 else instance.next_try().step(
                "execute"
            )
    sandbox.finish(sandbox.calls[-1]["id"], "completed")
    clock.advance(60)

    records = task.run()

    assert records == [C, A, B]
    assert task.dialled == [A, B, C]


@STATES
def test_a_list_that_grows_by_a_clear_that_the_dag_run_does_not_count(
    sandbox: Sandbox, clock: Clock, state: str | None
) -> None:
    """The new instance is younger than the calls before it."""
    task = MappedTask(sandbox, clock, has_state=state is not None)
    task.expand(A, B)
    task.run()

    task.expand(C, A, B, resets_run=False)
    records = task.run()

    assert records == [C, A, B]
    assert task.dialled == [A, B, C]


@STATES
def test_a_retry_in_a_list_that_grew_by_such_a_clear(
    sandbox: Sandbox, clock: Clock, state: str | None
) -> None:
    """The new instance has found whose call it continues with, and dies before the end."""
    task = MappedTask(sandbox, clock, has_state=state is not None)
    task.expand(A, B)
    task.run()
    task.expand(C, A, B, resets_run=False)
    task.instances[2].next_try().step("execute")  # and the process dies with its result

    records = [task.run_one(index) for index in (2, 0, 1)]

    assert records == [B, C, A]
    assert task.dialled == [A, B, C]


@NEEDS_TASK_STATE
def test_a_retry_of_a_duplicate_dials(sandbox: Sandbox, clock: Clock) -> None:
    """Without a clear, the call of the other instance is not its own, even if it is older than the retry."""
    task = MappedTask(sandbox, clock, has_state=True)
    task.expand(A, A)
    sandbox.faults.next("POST", "outbound-calls$", status=403)
    assert task.run_one(0) is None
    task.run_one(1)

    assert task.run_one(0) == A

    assert task.dialled == [A, A]


@STATES
def test_duplicates_in_one_list_are_called_once_each(
    sandbox: Sandbox, clock: Clock, state: str | None
) -> None:
    """Without a clear, the list means what it says."""
    task = MappedTask(sandbox, clock, has_state=state is not None)
    task.expand(A, A)

    assert task.run() == [A, A]

    assert task.dialled == [A, A]


@STATES
def test_another_task_s_calls_to_the_number_do_not_count(
    sandbox: Sandbox, clock: Clock, state: str | None
) -> None:
    """Nor those of another DAG run."""
    identity = {"dag_id": "campaign", "run_id": "manual__0", "task_id": "place", "map_index": 0}
    sandbox.add_call("completed", to_number=A, request_metadata={"airflow": identity})
    clock.advance(60)
    task = MappedTask(sandbox, clock, has_state=state is not None)
    task.expand(A)
    task.clears = 1
    task.instances[0].clears = 1

    assert task.run() == [A]

    assert task.dialled == [A, A]


@STATES
@pytest.mark.parametrize("outcome", ["busy", "completed"])
def test_a_redial_moves_with_its_contact(
    sandbox: Sandbox, clock: Clock, state: str | None, outcome: str
) -> None:
    """The clear came between two attempts; it begins again with attempt 1, which a person has asked for."""
    task = MappedTask(sandbox, clock, has_state=state is not None)
    task.arguments |= {"redial_on": ["busy"], "max_attempts": 2}
    task.expand(A)
    run = task.instances[0].next_try()
    deferral = call_ends(run.step("execute"), sandbox, "busy")
    run.step("execute_complete", event=run.fire(deferral), **(deferral.kwargs or {}))

    task.expand(B, A)
    assert task.run_one(0) == B
    moved = task.instances[1].next_try()
    record = goes(moved, clock, "busy", outcome)

    assert record["status"] == outcome
    assert task.dialled == [A, B, A, A]
    assert [each["status"] for each in moved.ti.xcoms["attempts"]] == ["busy", outcome]
