"""Agents with a limit of concurrent calls: the others stay queued until one ends."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_telzino.sandbox import DEFAULT_AGENT_ID, MAGIC_NUMBERS, Clock, Sandbox

LIMIT = 3
CALLS = f"/v1/agents/{DEFAULT_AGENT_ID}/outbound-calls"
CONCURRENT = {"dispatching", "dispatched", "dialing", "in_progress"}
A_FEW_SECONDS = 5


@pytest.fixture
def limited() -> Sandbox:
    """Return a sandbox with two agents that have a limit, and a manual clock."""
    return Sandbox(clock="manual", agents=2, max_concurrent_calls=LIMIT)


def statuses(sandbox: Sandbox) -> list[str]:
    """Return the statuses of all calls, in the order in which they were placed."""
    return [call["status"] for call in sandbox.calls]


def place(sandbox: Sandbox, calls: int) -> list[str]:
    """Place calls, and return their ids."""
    return [str(sandbox.place()["id"]) for _ in range(calls)]


def test_no_more_calls_than_the_limit_are_concurrent(limited: Sandbox) -> None:
    """At any moment at most the limit is in progress, and in the end all calls have completed."""
    place(limited, 12)
    concurrent = []

    while set(statuses(limited)) != {"completed"}:
        limited.clock.advance(0.25)
        concurrent.append(sum(status in CONCURRENT for status in statuses(limited)))

    assert max(concurrent) == LIMIT


def test_first_come_first_served(limited: Sandbox) -> None:
    """The calls that have to wait leave the queue in the order in which they were placed."""
    ids = place(limited, 12)
    left: dict[str, None] = {}

    while len(left) < len(ids):
        limited.clock.advance(0.01)
        left.update({call["id"]: None for call in limited.calls if call["status"] != "queued"})

    assert list(left)[LIMIT:] == ids[LIMIT:]


def test_a_call_that_waited_takes_its_usual_time(limited: Sandbox) -> None:
    """The wait comes on top: ringing and talking take as long as ever."""
    place(limited, LIMIT + 1)
    limited.clock.advance(1_000)

    last = limited.calls[-1]

    first_end = min(call["ended_at"] for call in limited.calls[:LIMIT])
    assert last["created_at"] < first_end < last["answered_at"] < last["ended_at"]
    assert 20 <= last["duration"] <= 90


def test_calls_that_nobody_answers_make_room_too(limited: Sandbox) -> None:
    """Any terminal status ends a call's turn."""
    for name in ("no_answer", "busy", "not_dialled", "completed"):
        limited.place(MAGIC_NUMBERS[name])

    limited.clock.advance(200)

    assert statuses(limited) == ["no_answer", "busy", "failed", "completed"]


def test_a_test_makes_room(limited: Sandbox) -> None:
    """A call that a test ends lets the next one out of the queue at once, and no further one."""
    ids = place(limited, LIMIT + 2)
    limited.clock.advance(A_FEW_SECONDS)
    before = statuses(limited)

    limited.finish(ids[0], "busy")
    limited.clock.advance(0.1)

    assert before[LIMIT:] == ["queued", "queued"]
    assert statuses(limited)[LIMIT:] == ["dispatching", "queued"]


def test_a_call_that_a_test_holds_keeps_its_place(limited: Sandbox) -> None:
    """If no call ends, the others wait for ever; they go on when the test ends one."""
    ids = place(limited, LIMIT + 1)
    limited.clock.advance(A_FEW_SECONDS)
    for call_id in ids[:LIMIT]:
        limited.move(call_id, "in_progress")

    limited.clock.advance(1_000_000)
    later = limited.place()["id"]
    held = statuses(limited)[LIMIT:]
    limited.finish(ids[1])
    limited.clock.advance(200)

    assert held == ["queued", "queued"]
    assert statuses(limited) == ["in_progress", "completed", "in_progress", "completed", "completed"]
    assert limited.call(later)["created_at"] < limited.call(ids[-1])["answered_at"]


def test_an_added_call_takes_a_place(limited: Sandbox) -> None:
    """Calls that a test adds in progress count; those that it adds as queued or ended don't."""
    limited.add_call("queued")
    limited.add_call("completed")
    for _ in range(LIMIT):
        limited.add_call("in_progress")

    limited.place()
    limited.clock.advance(1_000)

    assert statuses(limited)[-1] == "queued"


def test_a_call_that_a_test_keeps_queued_holds_up_nobody(limited: Sandbox) -> None:
    """Only calls that are on their way take a place."""
    ids = place(limited, LIMIT + 1)
    for call_id in ids[:LIMIT]:
        limited.move(call_id, "queued")

    limited.clock.advance(200)

    assert statuses(limited) == ["queued"] * LIMIT + ["completed"]


def test_each_agent_has_its_own_limit(limited: Sandbox) -> None:
    """Another agent's calls don't wait."""
    place(limited, LIMIT + 1)
    limited.place(agent_id=limited.agent_ids[1])

    limited.clock.advance(A_FEW_SECONDS)

    waiting, other = statuses(limited)[LIMIT:]
    assert (waiting, other in CONCURRENT) == ("queued", True)


def test_without_a_limit_no_call_waits() -> None:
    """The default."""
    sandbox = Sandbox(clock="manual")
    place(sandbox, 500)

    sandbox.clock.advance(A_FEW_SECONDS)

    assert "queued" not in statuses(sandbox)


def test_the_same_seed_repeats_the_queue() -> None:
    """With a limit, too, all times follow from the seed."""
    start = Clock().now()

    def run() -> list[dict[str, Any]]:
        sandbox = Sandbox(seed=7, clock=Clock(speed=0, start=start), max_concurrent_calls=LIMIT)
        for _ in range(10):
            sandbox.place()
            sandbox.clock.advance(1)
        sandbox.clock.advance(1_000)
        return sandbox.calls

    assert run() == run()


def test_the_api_shows_the_queue() -> None:
    """Records, the list and the call logs agree on who waits and who has ended."""
    with Sandbox(clock="manual", max_concurrent_calls=1) as sandbox:
        first, second = place(sandbox, 2)
        sandbox.clock.advance(A_FEW_SECONDS)

        def get(path: str) -> Any:
            headers = {"Authorization": "Bearer sandbox-token"}
            return requests.get(sandbox.url + path, headers=headers, timeout=10).json()

        def seen() -> tuple[Any, ...]:
            queued, logs = get(f"{CALLS}?status=queued"), get(f"/v1/agents/{DEFAULT_AGENT_ID}/call-logs")
            return get(f"{CALLS}/{second}")["status"], len(queued["data"]), len(logs["data"])

        sandbox.move(first, "in_progress")
        sandbox.clock.advance(120)
        while_held = seen()
        sandbox.finish(first)
        finished = seen()
        sandbox.clock.advance(120)

        assert while_held == ("queued", 1, 0)
        assert finished == ("dispatching", 0, 1)
        assert seen() == ("completed", 0, 2)


def test_a_limit_below_one_is_refused() -> None:
    """No call would ever end."""
    with pytest.raises(ValueError, match="max_concurrent_calls"):
        Sandbox(max_concurrent_calls=0)
