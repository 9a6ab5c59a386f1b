"""Lists by status, which an index answers, against all records one by one."""

from __future__ import annotations

import random

import pytest

from airflow_provider_telzino.sandbox import DEFAULT_AGENT_ID, MAGIC_NUMBERS, Sandbox
from airflow_provider_telzino.sandbox.index import LIVE

STATUSES = ("queued", "dispatching", "dialing", "in_progress", "completed", "no_answer", "busy", "failed")
ENDED = STATUSES[4:]


@pytest.mark.parametrize("limit", [None, 4])
@pytest.mark.parametrize("seed", range(5))
def test_lists_by_status(seed: int, limit: int | None) -> None:
    """After any sequence of events each list has the calls that have this status now, newest first."""
    randomness = random.Random(seed)
    sandbox = Sandbox(clock="manual", max_concurrent_calls=limit)
    store = sandbox._store
    agent = store.agent(DEFAULT_AGENT_ID)

    for _ in range(150):
        event = randomness.choice(["place", "place", "advance", "advance", "add", "finish", "move"])
        ids = [call["id"] for call in sandbox.calls]
        if event == "place":
            sandbox.place(randomness.choice(list(MAGIC_NUMBERS.values())))
        elif event == "advance":
            sandbox.clock.advance(randomness.uniform(0, 20))
        elif event == "add":
            sandbox.add_call(randomness.choice([*STATUSES, "voicemail"]))
        elif event == "finish" and ids:
            sandbox.finish(randomness.choice(ids), randomness.choice(ENDED))
        elif event == "move" and ids:
            sandbox.move(randomness.choice(ids), randomness.choice([*STATUSES[:4], "voicemail"]))

        calls = sorted(sandbox.calls, key=lambda call: str(call["created_at"]))
        for status in (*STATUSES, "voicemail"):
            listed, total = store.page_of_calls(agent, 1, 1_000, status)
            expected = {call["id"] for call in calls if call["status"] == status}
            assert ({call["id"] for call in listed}, total) == (expected, len(expected))
            times = [call["created_at"] for call in listed]
            assert times == sorted(times, reverse=True)
        live = [call.id for _, _, call in agent.calls.having(LIVE, store.clock.now())]
        assert sorted(live) == sorted(call["id"] for call in calls if call["ended_at"] is None)
