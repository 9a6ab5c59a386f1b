"""Which calls have ended since the last poll: table by table, and under any order of events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_telzino.rules import ended_calls
from airflow_provider_telzino.rules.ended_calls import (
    LATE_FOR,
    MISSING_FOR,
    PERSISTED_AFTER,
    Checkpoint,
    Cursor,
    EndedCall,
    EndedCalls,
)

NOON = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)


def minutes_ago(minutes: float) -> datetime:
    """Return a time before noon."""
    return NOON - timedelta(minutes=minutes)


def call(name: str, placed: float, ended: float | None = None, **fields: Any) -> dict[str, Any]:
    """Return a call of the list that was placed, and has ended, so many minutes before noon."""
    return {
        "id": name,
        "agent_id": "agent",
        "status": "in_progress" if ended is None else "completed",
        "created_at": minutes_ago(placed).isoformat(),
        "ended_at": None if ended is None else minutes_ago(ended).isoformat(),
        "to_number": "+15005550100",
    } | fields


def poll(watch: EndedCalls, *pages: list[dict[str, Any]], **records: dict[str, Any]) -> list[str]:
    """Poll a list of these pages, and these records singly; return the ids of the calls that have ended."""
    watch.start_poll()
    ended: list[EndedCall] = []
    read = 0
    while watch.wants_page:
        ended += watch.add_page(pages[read], is_last=read == len(pages) - 1)
        read += 1
    assert read == len(pages), "it wants fewer pages"
    assert watch.unseen() == sorted(records)
    for record in records.values():
        ended += filter(None, [watch.add_record(record)])
    watch.end_poll()
    return [each.call_id for each in ended]


def test_a_watch_starts_with_the_calls_that_have_just_ended() -> None:
    """Without a cursor, calls that ended in the ten minutes before are reported, as long as they took."""
    watch = EndedCalls(Cursor.at_start(NOON))
    listed = [
        call("new", placed=2, ended=1),
        call("live", placed=3),
        call("over", placed=15, ended=11),
        call("long", placed=120, ended=5),
        call("ancient", placed=131, ended=9),
    ]

    assert poll(watch, listed) == ["new", "long"]
    assert poll(watch, [call("live", placed=3, ended=0), *listed[2:]]) == ["live"]


def test_what_an_event_says() -> None:
    """The ids and the status, and nothing else of the record."""
    watch = EndedCalls(Cursor.at_start(NOON))
    watch.start_poll()

    (ended,) = watch.add_page([call("CALL", placed=2, ended=1, status="busy")], is_last=True)

    assert ended == EndedCall("call", "agent", "busy")


@pytest.mark.parametrize(
    ("item", "has_ended"),
    [
        ({"status": "queued"}, False),
        ({"status": "dialing", "ended_at": NOON.isoformat()}, False),
        ({"status": "no_answer", "ended_at": None}, True),
        ({"status": "failed", "ended_at": "soon"}, True),
        ({"status": "vanished", "ended_at": NOON.isoformat()}, True),
        ({"status": "pondering", "ended_at": None}, False),
        ({"status": "completed", "agent_id": None}, True),
        ({"status": "completed", "created_at": None}, True),
    ],
)
def test_when_a_call_counts_as_ended(item: dict[str, Any], has_ended: bool) -> None:
    """As for any wait: a documented status decides, and ``ended_at`` for another one."""
    watch = EndedCalls(Cursor.at_start(NOON))

    assert poll(watch, [call("call", placed=1) | item]) == ["call"] * has_ended
    assert poll(watch, [call("call", placed=1, ended=0)]) == ["call"] * (not has_ended)


def test_a_list_that_leaves_the_status_out() -> None:
    """The record decides."""
    watch = EndedCalls(Cursor.at_start(NOON))
    item = call("call", placed=1)
    del item["status"]

    assert poll(watch, [item], call=call("call", placed=1)) == []
    assert poll(watch, [item], call=call("call", placed=1, ended=0)) == ["call"]
    assert poll(watch, [item]) == []


def test_a_long_call_ends_far_down_the_list() -> None:
    """It is fetched singly once the list's first pages no longer show it."""
    watch = EndedCalls(Cursor.at_start(NOON))
    poll(watch, [call("long", placed=60)])

    newer = [call("new", placed=1, ended=1), call("older", placed=50, ended=49)]
    assert poll(watch, newer, [call("long", placed=60)]) == ["new", "older"]
    newest = [call("newest", placed=0, ended=0), *newer]
    assert poll(watch, newest, long=call("long", placed=60)) == ["newest"]
    assert poll(watch, newest, long=call("long", placed=60, ended=0)) == ["long"]
    assert poll(watch, newest) == []


def test_many_live_calls_are_read_from_pages() -> None:
    """A page for several calls costs less than one request for each; the rest is fetched singly."""
    watch = EndedCalls(Cursor(placed_since=minutes_ago(1), live=frozenset("abcdefg")))
    old = call("old", placed=90, ended=80)

    watch.start_poll()
    pages = [
        [old],  # reaches what is known: seven calls are left
        [call(name, placed=100, ended=0) for name in "abc"],
        [old],  # of no use, but four calls are left
        [call("d", placed=110), call("e", placed=110, ended=0)],
        [old],  # not read any more
    ]
    found = []
    read = 0
    while watch.wants_page:
        found += [each.call_id for each in watch.add_page(pages[read], is_last=False)]
        read += 1

    assert found == ["a", "b", "c", "e"]
    assert read == 4
    assert watch.unseen() == ["f", "g"]


def test_a_late_call_is_found() -> None:
    """The list may show a new call only after newer ones."""
    watch = EndedCalls(Cursor.at_start(NOON))
    first = call("first", placed=10, ended=9)
    poll(watch, [first])

    late = call("late", placed=10.4, ended=8)
    assert poll(watch, [first, late, call("known", placed=11, ended=11)]) == ["late"]
    assert timedelta(minutes=0.4) < LATE_FOR


def test_a_call_that_can_not_be_read_is_given_up() -> None:
    """Not at once: the API may be wrong for a moment."""
    watch = EndedCalls(Cursor(placed_since=minutes_ago(1), live=frozenset(["gone"])))
    watch.start_poll()

    assert not watch.not_found("gone", 100.0)
    assert not watch.not_found("gone", 99.0 + MISSING_FOR)
    watch.add_record(call("gone", placed=5))
    assert not watch.not_found("gone", 101.0 + MISSING_FOR)
    assert watch.not_found("gone", 101.0 + 2 * MISSING_FOR)
    watch.end_poll()
    assert watch.cursor.live == frozenset()


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many live calls, those are forgotten that it knows for longest."""
    monkeypatch.setattr(ended_calls, "MAX_LIVE", 2)
    watch = EndedCalls(Cursor(placed_since=minutes_ago(20), live=frozenset(["old"])))
    watch.start_poll()
    watch.add_page([call("b", placed=1), call("a", placed=2)], is_last=True)

    assert watch.end_poll() == 1
    assert watch.cursor.live == {"a", "b"}


def test_what_it_knows_stays_small() -> None:
    """Calls that are done with are forgotten as soon as the list shows newer ones."""
    watch = EndedCalls(Cursor.at_start(NOON))
    poll(watch, [call(f"call {index}", placed=5 + index, ended=2) for index in range(100)])

    assert set(watch.cursor.recent) == {"call 0"}
    assert watch.cursor.placed_since == minutes_ago(5) - LATE_FOR


def test_a_cursor_survives_as_json() -> None:
    """As Airflow stores it."""
    start = Cursor.at_start(NOON)
    watch = EndedCalls(start)
    poll(watch, [call("a", placed=1, ended=0), call("b", placed=1)])

    for cursor in (start, watch.cursor):
        assert Cursor.from_json(json.loads(json.dumps(cursor.to_json()))) == cursor


@pytest.mark.parametrize(
    "stored", ["x", 1, [], {}, {"placed_since": "x"}, {**Cursor(NOON).to_json(), "live": 1},
               {**Cursor(NOON).to_json(), "recent": {"a": None}}]
)  # fmt: skip
def test_what_is_no_cursor(stored: Any) -> None:
    """Somebody may have written to the asset's state."""
    with pytest.raises(ValueError, match=r"cursor"):
        Cursor.from_json(stored)


def test_when_a_cursor_is_stored() -> None:
    """Not before Airflow has stored the events that it skips; and only if it has changed."""
    first, second, third = (Cursor(minutes_ago(minutes)) for minutes in (3, 2, 1))
    checkpoint = Checkpoint(first)

    assert checkpoint.due(first, 0) is None
    assert checkpoint.due(second, 10) is None
    assert checkpoint.due(third, 9 + PERSISTED_AFTER) is None
    assert checkpoint.due(third, 10 + PERSISTED_AFTER) == second
    assert checkpoint.due(third, 20 + PERSISTED_AFTER) is None
    assert checkpoint.due(third, 10 + 2 * PERSISTED_AFTER) == third
    assert checkpoint.due(third, 1_000) is None


# --- Any order of events ---

PAGE = 3  # calls on a page
LATEST = 15.0  # seconds until the list shows a call
IN_FLIGHT = 20.0  # seconds that Airflow may take to store an event; a crash loses those that it hasn't


@dataclass
class PlacedCall:
    """A call of the model, in seconds from the start."""

    name: str
    placed: float
    shown: float
    ends: float

    def record(self, now: float) -> dict[str, Any]:
        """Return its record as it is now."""
        has_ended = self.ends <= now
        return {
            "id": self.name,
            "status": "completed" if has_ended else "dialing",
            "created_at": (NOON + timedelta(seconds=self.placed)).isoformat(),
            "ended_at": (NOON + timedelta(seconds=self.ends)).isoformat() if has_ended else None,
        }


class Model:
    """An API, a watch, and an Airflow that stores events and cursors and may crash."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[PlacedCall] = []
        self.stored: Any = Cursor.at_start(NOON).to_json()
        self.reported: list[tuple[float, str]] = []
        self.events: list[str] = []  # that Airflow has stored, or will have
        self.done_with = {json.dumps(self.stored): frozenset[str]()}
        self.crashes = 0
        self.start()

    def start(self) -> None:
        """Start the watch with what is stored."""
        cursor = Cursor.from_json(self.stored)
        self.never_again = self.done_with[json.dumps(self.stored)]
        self.watch, self.checkpoint = EndedCalls(cursor), Checkpoint(cursor)

    def crash(self, lost: float, downtime: float = 0.0, *, keeps_cursor: bool = True) -> None:
        """End the process and start another. Events that Airflow hasn't stored yet are lost."""
        self.crashes += 1
        while self.reported and self.reported[-1][0] > self.now - lost:
            self.reported.pop()
        self.events += [name for _, name in self.reported]
        self.reported = []
        self.now += downtime
        if not keeps_cursor:
            self.stored = Cursor.at_start(NOON + timedelta(seconds=self.now)).to_json()
            self.done_with[json.dumps(self.stored)] = frozenset()
        self.start()

    def place(self, duration: float, late: float) -> None:
        """Place a call."""
        name = f"call {len(self.calls)}"
        self.calls.append(PlacedCall(name, self.now, self.now + late, self.now + duration))

    def page(self, number: int) -> tuple[list[dict[str, Any]], bool]:
        """Return a page of the list as it is now, and whether it is the last."""
        shown = sorted((call for call in self.calls if call.shown <= self.now), key=lambda each: -each.placed)
        part = shown[(number - 1) * PAGE : number * PAGE]
        return [call.record(self.now) for call in part], number * PAGE >= len(shown)

    def report(self, calls: list[EndedCall]) -> None:
        """Emit events."""
        for ended in calls:
            (known,) = [each for each in self.calls if each.name == ended.call_id]
            assert known.ends <= self.now, "it is live"
            assert ended.call_id not in self.never_again, "the cursor says that it was reported"
            self.reported.append((self.now, ended.call_id))

    def poll(self, pause: float, durations: list[float], breaks_off: int | None) -> None:
        """Poll; before each request, time passes and calls are placed. It may break off."""
        watch, requests = self.watch, 0
        watch.start_poll()
        arriving = iter(durations)

        def request() -> bool:
            nonlocal requests
            requests += 1
            self.now += pause
            if duration := next(arriving, None):
                self.place(duration, late=0.0)
            return breaks_off is not None and requests > breaks_off

        number = 1
        while watch.wants_page:
            if request():
                return
            items, is_last = self.page(number)
            self.report(watch.add_page(items, is_last=is_last))
            number += 1
        for name in watch.unseen():
            if request():
                return
            (live,) = [each for each in self.calls if each.name == name]
            self.report(list(filter(None, [watch.add_record(live.record(self.now))])))
        watch.end_poll()
        reported = self.never_again | {name for _, name in self.reported}
        self.done_with.setdefault(json.dumps(watch.cursor.to_json()), reported)
        if due := self.checkpoint.due(watch.cursor, self.now):
            self.stored = json.loads(json.dumps(due.to_json()))

    def turn(self, pause: float) -> None:
        """Poll after a pause, without trouble."""
        self.now += pause
        self.poll(0.0, [], None)


DURATIONS = st.floats(1, 3_000)
ACTIONS = st.one_of(
    st.tuples(st.just("place"), DURATIONS, st.floats(0, LATEST)),
    st.tuples(st.just("place"), st.floats(1, 20), st.floats(0, LATEST)),
    st.tuples(
        st.just("poll"),
        st.floats(0, 2),
        st.lists(DURATIONS, max_size=4),
        st.one_of(st.none(), st.none(), st.integers(0, 3)),
    ),
    st.tuples(st.just("turn"), st.sampled_from([0.0, 31.0])),
    st.tuples(st.just("turn"), st.just(31.0)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 5.0, 30.0, 600.0])),
    st.tuples(st.just("crash"), st.floats(0, IN_FLIGHT)),
)


@given(actions=st.lists(ACTIONS, max_size=60))
def test_each_ended_call_is_reported_at_least_once(actions: list[tuple[Any, ...]]) -> None:
    """Whatever the order of calls, polls, page shifts, broken polls and crashes that lose events."""
    model = Model()

    for action, *arguments in actions:
        if action == "wait":
            model.now += arguments[0]
        else:
            getattr(model, action)(*arguments)
    model.now += 3_000 + LATEST
    model.poll(0.0, [], None)
    model.crash(lost=0.0)

    counts = {call.name: model.events.count(call.name) for call in model.calls}
    assert all(count >= 1 for count in counts.values()), counts
    assert all(count <= 1 + model.crashes for count in counts.values()), counts
    if model.crashes == 1:  # the one that ends the test
        assert set(counts.values()) <= {1}


@given(
    actions=st.lists(
        st.one_of(
            st.tuples(st.just("place"), DURATIONS, st.floats(0, LATEST)),
            st.tuples(st.just("poll"), st.just(30.0)),
            st.tuples(st.just("crash"), st.floats(30, 500)),
        ),
        max_size=40,
    )
)
def test_restarts_without_a_cursor(actions: list[tuple[Any, ...]]) -> None:
    """Before Airflow 3.3: no call is missed if the restart takes less than the look back."""
    model = Model()

    for action, *arguments in actions:
        if action == "place":
            model.place(*arguments)
            continue
        if action == "crash":
            model.crash(IN_FLIGHT, *arguments, keeps_cursor=False)
        model.now += 30
        model.poll(0.0, [], None)
        model.now += 30  # Airflow stores the events.
    model.now += 3_000 + LATEST
    model.poll(0.0, [], None)
    model.crash(lost=0.0)

    assert {call.name for call in model.calls} == set(model.events)
