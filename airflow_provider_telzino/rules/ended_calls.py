"""Which of an agent's calls have ended since the last poll, decided without I/O.

The list is ordered by ``created_at``, so a call that takes long ends behind thousands of newer ones. Hence a
watch knows two things: a moment before which every call was seen, and the ids of those that were live then.
A poll reads the list back to that moment, and looks after the live ones wherever they are. Both, with what
was reported after that moment, are the :class:`Cursor`: a watch that continues from it reports each call at
least once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_telzino.models import has_ended, is_conclusive, parsed_time
from airflow_provider_telzino.rules.identity import created_at, ended_at

LATE_FOR = timedelta(seconds=30)  # for which a call that was placed may be missing in the list
LOOK_BACK = timedelta(minutes=10)  # before the start of a watch without a cursor
LONGEST_CALL = timedelta(hours=2)  # for a watch without a cursor; one with a cursor finds longer calls, too
MAX_LIVE = 10_000  # live calls that a watch keeps in mind
MISSING_FOR = 60.0  # seconds after which a live call that can't be read any more is given up
PERSISTED_AFTER = 30.0  # seconds after which Airflow has surely stored an event
WORTH_A_PAGE = 2  # live calls on a page; fewer are fetched singly

Record = Mapping[str, Any]


@dataclass(frozen=True)
class EndedCall:
    """A call that has ended, without personal data."""

    call_id: str
    agent_id: str | None
    status: str


@dataclass(frozen=True)
class Cursor:
    """What a watch has to remember to continue after a restart."""

    placed_since: datetime
    """Of the calls that were placed before it, only those in ``live`` are still to be reported."""
    ended_since: datetime | None = None
    """At the start, calls that ended before it are left out; ``None`` from the first poll's end on."""
    live: frozenset[str] = frozenset()
    """Ids of the calls that haven't ended yet."""
    recent: Mapping[str, datetime] = field(default_factory=dict)
    """Calls that are done with, although they were placed after ``placed_since``: when, by id."""

    @classmethod
    def at_start(cls, now: datetime) -> Cursor:
        """Return the cursor of a watch that starts now and has no stored one."""
        return cls(placed_since=now - LOOK_BACK - LONGEST_CALL, ended_since=now - LOOK_BACK)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, for Airflow to store."""
        return {
            "placed_since": self.placed_since.isoformat(),
            "ended_since": self.ended_since and self.ended_since.isoformat(),
            "live": sorted(self.live),
            "recent": {call_id: moment.isoformat() for call_id, moment in self.recent.items()},
        }

    @classmethod
    def from_json(cls, stored: Any) -> Cursor:
        """Read a stored cursor.

        Raises:
            ValueError: It isn't one.
        """
        try:
            return cls(
                placed_since=_time(stored["placed_since"]),
                ended_since=None if stored["ended_since"] is None else _time(stored["ended_since"]),
                live=frozenset(map(str, stored["live"])),
                recent={call_id: _time(moment) for call_id, moment in stored["recent"].items()},
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("This is not a cursor.") from error


def _time(text: object) -> datetime:
    moment = parsed_time("cursor", text)
    if moment is None:
        raise ValueError("This is not a cursor.")
    return moment


class EndedCalls:
    """The calls of one agent that have ended, poll by poll.

    For each poll: :meth:`start_poll`; while :attr:`wants_page`, the next page of the list, from the first on,
    to :meth:`add_page`; each of the :meth:`unseen` calls, fetched singly, to :meth:`add_record` or
    :meth:`not_found`; :meth:`end_poll`. A poll that breaks off costs nothing: the next one reports the rest.

    Args:
        cursor: Where to continue.
    """

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        """Where a restart may continue once all that was reported so far is stored: as of the last poll."""
        self._placed_since = self._newest = self._placed_at = cursor.placed_since
        self._live: dict[str, float | None] = dict.fromkeys(cursor.live)  # and since when each is missing
        self._recent = dict(cursor.recent)
        self._unseen: set[str] = set()
        self._has_reached_known = self._is_at_end = False
        self._useless_pages = 0

    def start_poll(self) -> None:
        """Begin a poll."""
        self._unseen = set(self._live)
        self._has_reached_known = self._is_at_end = False
        self._useless_pages = 0
        self._placed_at = self._newest

    @property
    def wants_page(self) -> bool:
        """Whether the poll needs the next page of the list.

        Beyond the calls that it hasn't seen yet, a page is read as long as it may show several live ones.
        There may be useless pages in between, but never more than there are calls left to fetch singly.
        """
        if self._is_at_end:
            return False
        return not self._has_reached_known or len(self._unseen) - self._useless_pages >= WORTH_A_PAGE

    def add_page(self, items: Iterable[Record], *, is_last: bool) -> list[EndedCall]:
        """Add the next page of the list; return the calls on it that have ended and weren't reported yet."""
        was_beyond, unseen = self._has_reached_known, len(self._unseen)
        ended = [each for item in items if (each := self._add_item(item))]
        self._is_at_end = is_last
        if was_beyond and unseen - len(self._unseen) < WORTH_A_PAGE:
            self._useless_pages += 1
        return ended

    def unseen(self) -> list[str]:
        """Return the live calls that the pages haven't shown."""
        return sorted(self._unseen)

    def add_record(self, record: Record) -> EndedCall | None:
        """Add the record of an unseen call; return it if it has ended."""
        return self._observe_live(record["id"].lower(), record, created_at(record))

    def not_found(self, call_id: str, now: float) -> bool:
        """Note that an unseen call can't be read.

        Args:
            call_id: The call.
            now: Seconds on any clock, the same at each poll.

        Returns:
            Whether the watch gives it up.
        """
        since = self._live[call_id]
        if since is None:
            self._live[call_id] = since = now
        if now - since < MISSING_FOR:
            return False
        del self._live[call_id]
        return True

    def end_poll(self) -> int:
        """End a poll that has read all that it wanted.

        Returns:
            How many live calls the watch forgets because there are too many.
        """
        self._placed_since = max(self._placed_since, self._newest - LATE_FOR)
        self._recent = {
            call_id: moment for call_id, moment in self._recent.items() if moment >= self._placed_since
        }
        too_many = max(0, len(self._live) - MAX_LIVE)
        for call_id in list(self._live)[:too_many]:  # those that it knows for longest
            del self._live[call_id]
        self.cursor = Cursor(self._placed_since, None, frozenset(self._live), dict(self._recent))
        return too_many

    def _add_item(self, item: Record) -> EndedCall | None:
        call_id = item["id"].lower()
        # An item without a time is taken to be as old as the one before it.
        self._placed_at = placed_at = created_at(item) or self._placed_at
        self._newest = max(self._newest, placed_at)
        is_known = placed_at < self._placed_since
        self._has_reached_known |= is_known
        if call_id in self._live:
            return self._observe_live(call_id, item, placed_at)
        if is_known or call_id in self._recent:
            return None
        if not is_conclusive(item) or not has_ended(item):
            self._live[call_id] = None
            if not is_conclusive(item):
                self._unseen.add(call_id)
            return None
        self._recent[call_id] = placed_at
        return None if self._is_too_old(item) else _ended_call(call_id, item)

    def _observe_live(self, call_id: str, record: Record, placed_at: datetime | None) -> EndedCall | None:
        if not is_conclusive(record):
            return None  # It is fetched singly.
        self._unseen.discard(call_id)
        if not has_ended(record):
            self._live[call_id] = None
            return None
        del self._live[call_id]
        self._recent[call_id] = placed_at or self._newest
        return _ended_call(call_id, record)

    def _is_too_old(self, item: Record) -> bool:
        moment, since = ended_at(item), self.cursor.ended_since
        return moment is not None and since is not None and moment < since


def _ended_call(call_id: str, record: Record) -> EndedCall:
    agent_id = record.get("agent_id")
    return EndedCall(call_id, agent_id if isinstance(agent_id, str) else None, str(record["status"]))


class Checkpoint:
    """Which cursor may be stored: one whose events Airflow has had time to store, so that none gets lost.

    Airflow stores an event a moment after the trigger has emitted it. If the process dies in between, a
    cursor that was stored at once would skip the call.

    Args:
        stored: The cursor that is stored already.
    """

    def __init__(self, stored: Cursor) -> None:
        self._stored = stored
        self._next: Cursor | None = None
        self._next_at = 0.0

    def due(self, cursor: Cursor, now: float) -> Cursor | None:
        """Note the cursor as of a poll that has ended; return the one to store now, if there is one.

        Args:
            cursor: The cursor. All events before it have been emitted.
            now: Seconds on any clock, the same at each poll.
        """
        due = self._next if self._next is not None and now >= self._next_at else None
        if due is not None or self._next is None:
            self._stored = due or self._stored
            self._next = cursor if cursor != self._stored else None
            self._next_at = now + PERSISTED_AFTER
        return due
