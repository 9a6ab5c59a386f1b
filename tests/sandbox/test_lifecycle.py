"""How calls go: statuses over time, magic numbers, repeatability by seed."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from airflow_provider_telzino.sandbox import DEFAULT_AGENT_ID, MAGIC_NUMBERS, Clock, Sandbox, lifecycle
from airflow_provider_telzino.sandbox.clock import timestamp
from airflow_provider_telzino.sandbox.magic_numbers import TABLE

ORDER = ["queued", "dispatching", "dispatched", "dialing", "in_progress", "completed"]
TWO_HOURS = 7_200


@pytest.fixture
def stopped() -> Sandbox:
    """Return a sandbox that nobody can reach over HTTP, with a manual clock."""
    return Sandbox(clock="manual")


def outcomes(sandbox: Sandbox, to_number: str, calls: int) -> list[tuple[str, int | None]]:
    """Return how successive calls to a number end."""
    ends = []
    for _ in range(calls):
        call = sandbox.place(to_number)
        sandbox.clock.advance(TWO_HOURS)
        record = sandbox.call(call["id"])
        ends.append((record["status"], record["sip_status_code"]))
    return ends


def test_a_call_goes_through_all_statuses(stopped: Sandbox) -> None:
    """A call has every status of the lifecycle once, in the documented order."""
    call_id = stopped.place()["id"]
    seen = []

    for _ in range(1_500):
        seen.append(stopped.call(call_id)["status"])
        stopped.clock.advance(0.1)

    assert list(dict.fromkeys(seen)) == ORDER
    assert sorted(seen, key=ORDER.index) == seen


def test_times_of_an_ordinary_call() -> None:
    """Calls take about as long as real ones."""
    for seed in range(200):
        schedule = lifecycle.plan(lifecycle.COMPLETED, random.Random(seed))
        begins = {status: after for after, status in schedule.steps}

        assert 1.5 <= begins["dispatching"] <= 2.5
        assert 4 <= begins["in_progress"] - begins["dialing"] <= 12
        assert 20 <= begins["completed"] - begins["in_progress"] <= 90
        assert begins["in_progress"] == schedule.answered_after
        assert begins["completed"] == schedule.ended_after


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("completed", [("completed", None)]),
        ("no_answer", [("no_answer", 480)]),
        ("busy", [("busy", 486)]),
        ("no_such_number", [("failed", 404)]),
        ("no_trunk", [("failed", 503)]),
        ("not_dialled", [("failed", None)]),
        ("long_call", [("completed", None)]),
        ("slow_queue", [("completed", None)]),
        ("quick_hang_up", [("completed", None)]),
        ("busy_then_completed", [("busy", 486), ("completed", None), ("completed", None)]),
        ("no_answer_twice_then_completed", [("no_answer", 480), ("no_answer", 480), ("completed", None)]),
        ("failed_then_completed", [("failed", 503), ("completed", None)]),
    ],
)
def test_magic_numbers(stopped: Sandbox, name: str, expected: list[tuple[str, int | None]]) -> None:
    """Each magic number has its outcome; some have another one for the next call."""
    assert outcomes(stopped, MAGIC_NUMBERS[name], len(expected)) == expected


def test_the_table_of_magic_numbers() -> None:
    """The numbers are unique, and all of them in the range for fiction."""
    numbers = [magic.number for magic in TABLE]

    assert len(set(numbers)) == len(numbers) == len(MAGIC_NUMBERS)
    assert all(number.startswith("+150055501") and len(number) == 12 for number in numbers)


def test_any_other_number_completes(stopped: Sandbox) -> None:
    """Any other number is answered."""
    assert outcomes(stopped, "+18135551234", 2) == [("completed", None)] * 2


def test_numbers_for_campaigns_end_in_various_ways() -> None:
    """Numbers for fiction in any area code have a mix of outcomes, most of them answered."""
    sandbox = Sandbox(clock="manual")
    for index in range(1_000):
        sandbox.place(f"+1{200 + index // 100}55501{index % 100:02}")
    sandbox.clock.advance(TWO_HOURS)

    ends = Counter(call["status"] for call in sandbox.calls)

    assert set(ends) == {"completed", "no_answer", "busy", "failed"}
    assert 550 < ends["completed"] < 690
    assert 200 < ends["no_answer"] < 300
    assert 60 < ends["busy"] < 140
    assert 10 < ends["failed"] < 60


def test_the_mix_depends_on_seed_and_number_only() -> None:
    """A campaign that places its calls in another order gets the same outcomes; another seed gives others."""
    numbers = [f"+121255501{index:02}" for index in range(100)]

    def run(seed: int, order: list[str]) -> list[list[tuple[str, int | None]]]:
        sandbox = Sandbox(seed=seed, clock="manual")
        ends = {number: outcomes(sandbox, number, 3) for number in order}
        return [ends[number] for number in numbers]

    assert run(1, numbers) == run(1, numbers[::-1])
    assert run(1, numbers) != run(2, numbers)


def test_a_number_of_the_mix_changes_its_outcome(stopped: Sandbox) -> None:
    """Each call to it draws again, so a redial reaches people in the end."""
    ends = outcomes(stopped, "+12125550123", 30)

    assert len(set(ends)) > 1
    assert ("completed", None) in ends


@pytest.mark.parametrize("number", [MAGIC_NUMBERS["completed"], "+12125550123", "+18135551234"])
def test_scripted_outcomes(stopped: Sandbox, number: str) -> None:
    """A test can set the outcomes of the next calls to any number; the last one stays."""
    stopped.place(number)

    stopped.script(number, ["busy", "no_such_number", "failed", "completed"])

    expected = [("busy", 486), ("failed", 404), ("failed", 503), ("completed", None), ("completed", None)]
    assert outcomes(stopped, number, 5) == expected


@pytest.mark.parametrize("names", [[], ["ringing"], ["busy", "no_answer_twice_then_completed"], "busy"])
def test_an_outcome_that_does_not_exist(stopped: Sandbox, names: list[str]) -> None:
    """The error names those that do."""
    with pytest.raises(ValueError, match="completed, no_answer, busy"):
        stopped.script("+18135551234", names)


@pytest.mark.parametrize(
    ("name", "field", "least", "most"),
    [("long_call", "duration", 1_800, 1_800), ("quick_hang_up", "duration", 2, 4)],
)
def test_durations(stopped: Sandbox, name: str, field: str, least: int, most: int) -> None:
    """`duration` is the talk time in whole seconds."""
    call = stopped.place(MAGIC_NUMBERS[name])
    stopped.clock.advance(TWO_HOURS)

    assert least <= stopped.call(call["id"])[field] <= most


def test_no_answer_rings_for_45_seconds(stopped: Sandbox) -> None:
    """An unanswered call still rings after 45 s, and has ended after 52 s."""
    call = stopped.place(MAGIC_NUMBERS["no_answer"])

    stopped.clock.advance(45)
    before = stopped.call(call["id"])["status"]
    stopped.clock.advance(7)

    assert (before, stopped.call(call["id"])["status"]) == ("dialing", "no_answer")


def test_the_slow_queue(stopped: Sandbox) -> None:
    """A call in the slow queue waits for 5 minutes."""
    call = stopped.place(MAGIC_NUMBERS["slow_queue"])

    stopped.clock.advance(299.9)
    before = stopped.call(call["id"])["status"]
    stopped.clock.advance(2)

    assert (before, stopped.call(call["id"])["status"]) == ("queued", "dialing")


@pytest.mark.parametrize("name", ["no_such_number", "not_dialled"])
def test_failed_calls_say_why(stopped: Sandbox, name: str) -> None:
    """A failed call has a reason, and neither transcript nor summary."""
    call = stopped.place(MAGIC_NUMBERS[name])
    stopped.clock.advance(60)

    record = stopped.call(call["id"])

    assert record["error"]
    assert record["answered_at"] is record["transcript_id"] is record["summary_text"] is None


def test_the_same_seed_repeats_a_run() -> None:
    """Same seed, same order of calls: same ids, outcomes and times; another seed gives others."""
    start = Clock().now()

    def run(seed: int) -> list[dict[str, Any]]:
        sandbox = Sandbox(seed=seed, clock=Clock(speed=0, start=start), agents=3)
        for number in ("+18135551234", MAGIC_NUMBERS["busy"], "+18135551235"):
            sandbox.place(number, agent_id=sandbox.agent_ids[1])
            sandbox.clock.advance(1)
        sandbox.clock.advance(200)
        return sandbox.calls

    assert run(7) == run(7)
    assert {call["id"] for call in run(7)}.isdisjoint(call["id"] for call in run(8))


def test_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock runs at the configured speed."""
    monkeypatch.setattr("time.monotonic", lambda: 1_000.0)
    clocks = [Clock(speed=speed) for speed in (0, 1, 60)]
    begin = [clock.now() for clock in clocks]

    monkeypatch.setattr("time.monotonic", lambda: 1_010.0)

    passed = [(clock.now() - at).total_seconds() for clock, at in zip(clocks, begin, strict=True)]
    assert passed == [0, 10, 600]


def test_time_can_not_run_backwards() -> None:
    """A negative speed or step is refused."""
    with pytest.raises(ValueError, match="backwards"):
        Clock(speed=-1)
    with pytest.raises(ValueError, match="backwards"):
        Clock().advance(-1)


def test_finish_a_call(stopped: Sandbox) -> None:
    """A test can end a call at once, with any outcome and fields."""
    completed, busy, failed = (stopped.place()["id"] for _ in range(3))
    stopped.clock.advance(1)

    records = [
        stopped.finish(completed),
        stopped.finish(busy, "busy"),
        stopped.finish(failed, "failed", error="Out of credit", sip_status_code=None),
    ]
    stopped.clock.advance(1_000)

    assert [(record["status"], record["sip_status_code"]) for record in records] == [
        ("completed", None), ("busy", 486), ("failed", None),
    ]  # fmt: skip
    assert None not in [records[0][name] for name in ("answered_at", "summary_text", "transcript_id")]
    assert records[2]["error"] == "Out of credit"
    assert stopped.calls == records


def test_finish_a_call_that_has_ended(stopped: Sandbox) -> None:
    """Even a call that has ended can get another outcome, and then it loses its call log."""
    call = stopped.add_call("completed")

    record = stopped.finish(call["id"], "failed")

    assert (record["status"], record["transcript_id"]) == ("failed", None)


def test_move_a_call(stopped: Sandbox) -> None:
    """A moved call stays in its status, in progress."""
    call = stopped.place()

    stopped.move(call["id"], "in_progress")
    stopped.clock.advance(TWO_HOURS)

    record = stopped.call(call["id"])
    assert (record["status"], record["ended_at"]) == ("in_progress", None)
    assert record["answered_at"] is not None


@pytest.mark.parametrize("status", ["completed", "no_answer", "busy", "failed"])
def test_add_a_call_that_has_ended(stopped: Sandbox, status: str) -> None:
    """An added call with a terminal status ended just now."""
    record = stopped.add_call(status)

    assert record["status"] == status
    assert record["created_at"] < record["ended_at"] == timestamp(stopped.clock.now())
    assert (record["summary_text"] is not None) is (status == "completed")


def test_add_a_call_with_an_unknown_status(stopped: Sandbox) -> None:
    """A status that is not documented is shown as it is, with the given fields."""
    record = stopped.add_call("voicemail", ended_at="2026-06-11T12:54:15.354244+00:00", colour="blue")
    stopped.clock.advance(TWO_HOURS)

    assert record["status"] == "voicemail"
    assert record["colour"] == "blue"
    assert stopped.call(record["id"]) == record


def test_add_calls_sorts_them_by_time(sandbox: Sandbox) -> None:
    """The list is newest first by `created_at`, whatever the order in which the calls were added."""
    for day in (2, 3, 1):
        sandbox.add_call(created_at=f"2026-01-0{day}T00:00:00.000000+00:00", id=f"{day}" * 8)

    listed, total = sandbox._store.page_of_calls(sandbox._store.agent(DEFAULT_AGENT_ID), 1, 50)

    assert ([call["id"][0] for call in listed], total) == (["3", "2", "1"], 3)


def test_records_are_copies(stopped: Sandbox) -> None:
    """Changing a record changes nothing in the sandbox."""
    record = stopped.add_call()
    record["status"] = "failed"

    assert stopped.call(record["id"])["status"] == "completed"
