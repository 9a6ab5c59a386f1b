"""What the page shows: the calls that were searched for, page by page, and one call with its transcript."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.sandbox.clock import timestamp
from airflow_provider_telzino.sandbox.index import LIVE
from airflow_provider_telzino.sandbox.records import RUN_FIELDS, PlacedCall, Record, call_log, call_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow_provider_telzino.sandbox.store import Store

PAGE_SIZE = 50
MAX_RUNS = 50
"""How many DAG runs are suggested: the newest ones."""
MAX_TEXT = 200
"""How many characters of a text a row shows."""

ROW_FIELDS = ("id", "status", "to_number", "created_at", "answered_at", "ended_at", "duration")


def found_calls(
    store: Store, page: int = 1, *, status: str | None = None, number: str = "", run: str = ""
) -> dict[str, Any]:
    """Return one page of the calls that match, newest first, and how many match with each status.

    Args:
        store: The sandbox's calls.
        page: Which page; if there are fewer, the last one.
        status: A status, or ``LIVE``.
        number: A part of the dialled number.
        run: A part of the id of a DAG, a run, a task or a contact.
    """
    digits, run = _digits(number), run.casefold()
    with store.lock:
        now = store.clock.now()
        counts: Counter[str] = Counter()
        for agent in store.agents:
            counts.update(agent.calls.counts(now))
        concurrent, queued = counts[LIVE] - counts["queued"], counts["queued"]
        calls = _newest_first(store, status or None, now)
        if digits or run:
            # Then all calls are gone through once, and twice if they are live.
            calls = iter([call for call in calls if _matches(call, digits, run)])
            for key in counts:
                counts[key] = sum(_matches(call, digits, run) for call in _newest_first(store, key, now))
        total = counts[status] if status else counts.total() - counts[LIVE]
        live = counts.pop(LIVE, 0)
        pages = max(-(-total // PAGE_SIZE), 1)
        first = (min(page, pages) - 1) * PAGE_SIZE
        return {
            "now": timestamp(now),
            "speed": store.clock.speed,
            "agents": len(store.agents),
            "max_concurrent_calls": store.max_concurrent_calls,
            "concurrent": concurrent,
            "queued": queued,
            "live": live,
            "counts": +counts,
            "runs": _newest_runs(store),
            "total": total,
            "page": first // PAGE_SIZE + 1,
            "pages": pages,
            "first": first,
            "calls": [_row(call, now) for call in islice(calls, first, first + PAGE_SIZE)],
        }


def call_with_transcript(store: Store, call_id: str) -> dict[str, Any]:
    """Return a call's record, and its transcript if it has one; raise ``NotFoundError``."""
    with store.lock:
        call, now = store.call(call_id), store.clock.now()
        record = call_record(call, now)
        has_transcript = call.will_complete and record["transcript_id"] is not None
        return {
            "agent": store.agent(call.agent_id).name,
            "record": record,
            "transcript": call_log(call, now)["transcript_json"] if has_transcript else None,
        }


def _newest_first(store: Store, key: str | None, now: datetime) -> Iterator[PlacedCall]:
    lists = (reversed(agent.calls.having(key, now)) for agent in store.agents)
    return (call for _, _, call in heapq.merge(*lists, reverse=True))


def _newest_runs(store: Store) -> list[dict[str, Any]]:
    return [
        {"dag_id": _short(dag_id), "run_id": _short(run_id), "calls": calls}
        for (dag_id, run_id), calls in islice(reversed(store.runs.items()), MAX_RUNS)
    ]


def _matches(call: PlacedCall, digits: str, run: str) -> bool:
    return digits in call.to_number and run in call.run_text


def _digits(number: str) -> str:
    """Return a number without what people write between its digits."""
    return re.sub(r"[\s()./-]", "", number)


def _row(call: PlacedCall, now: datetime) -> Record:
    record = call_record(call, now)
    run = {name: _short(call.identity[name]) for name in RUN_FIELDS if call.identity.get(name) is not None}
    return {**{name: record[name] for name in ROW_FIELDS}, "run": run, "outcome": _outcome(record)}


def _outcome(record: Record) -> str:
    title = _short(record["summary_text"] or "").partition("\n")[0]
    code = record["sip_status_code"]
    said = [title, "" if code is None else f"SIP {code}", _short(record["error"] or "")]
    return " · ".join(text for text in said if text)


def _short(value: object) -> str:
    return str(value)[:MAX_TEXT]
