"""When polls come, as tables: no clock, no event loop."""

from __future__ import annotations

import math

import pytest

from airflow_provider_telzino.polling.schedule import Schedule

NEVER = math.inf
MIN_POLL_INTERVAL = 0.1
MIN_POLL_TIME = 5.0
MAX_CATCH_UP_PAUSE = 5.0


def lowest(low: float, high: float) -> float:
    """Jitter that makes everything come as early as it may."""
    return low


def highest(low: float, high: float) -> float:
    """Jitter that makes everything come as late as it may."""
    return high


def started(interval: float, now: float) -> Schedule:
    """Make a schedule whose first poll has just started, at ``now``."""
    schedule = Schedule(lowest)
    schedule.add_interval(interval, now)
    schedule.start_poll(interval, now)
    return schedule


def complete(schedule: Schedule, now: float, *, recovered_at: float = 0.0) -> None:
    """End a poll that missed no call."""
    schedule.end_poll(earliest_due=NEVER, recovered_at=recovered_at, now=now)


def incomplete(schedule: Schedule, now: float, *, recovered_at: float = 0.0) -> None:
    """End a poll that missed a call."""
    schedule.end_poll(earliest_due=0.0, recovered_at=recovered_at, now=now)


class TestTheFirstPoll:
    """It follows from the waits that join."""

    def test_without_waits_there_is_none(self) -> None:
        """Nothing is polled for nobody."""
        assert Schedule().next_poll_at == NEVER

    @pytest.mark.parametrize(("jitter", "first"), [(lowest, 1_000.0), (highest, 1_030.0)])
    def test_it_comes_within_half_an_interval(self, jitter: object, first: float) -> None:
        """At a random moment, so that not all agents are polled at once."""
        schedule = Schedule(jitter)  # type: ignore[arg-type]

        assert schedule.add_interval(60.0, 1_000.0) is True

        assert schedule.next_poll_at == first

    @pytest.mark.parametrize(
        ("interval", "sooner", "next_poll_at"),
        [
            pytest.param(60.0, False, 1_030.0, id="the same interval"),
            pytest.param(3_600.0, False, 1_030.0, id="a longer one"),
            pytest.param(58.0, False, 1_030.0, id="a shorter one that would come later"),
            pytest.param(10.0, True, 1_006.0, id="a much shorter one"),
        ],
    )
    def test_a_further_wait_may_bring_it_forward(
        self, interval: float, sooner: bool, next_poll_at: float
    ) -> None:
        """Only a shorter interval does, and it never delays the poll."""
        schedule = Schedule(highest)
        schedule.add_interval(60.0, 1_000.0)

        assert schedule.add_interval(interval, 1_001.0) is sooner

        assert schedule.next_poll_at == next_poll_at


class TestRegularPolls:
    """They come once an interval."""

    @pytest.mark.parametrize(("jitter", "pause"), [(lowest, 9.8), (highest, 10.2)])
    def test_the_next_one_comes_an_interval_later(self, jitter: object, pause: float) -> None:
        """Give or take a fiftieth; counted from the start of the poll, however long it took."""
        schedule = Schedule(jitter)  # type: ignore[arg-type]
        schedule.start_poll(10.0, 1_000.0)

        complete(schedule, now=1_003.0)

        assert schedule.next_poll_at == pytest.approx(1_000.0 + pause)

    def test_a_poll_that_took_too_long_is_not_followed_at_once(self) -> None:
        """The event loop, and the API, get a moment in between."""
        schedule = started(10.0, 1_000.0)

        complete(schedule, now=1_025.0)

        assert schedule.next_poll_at == 1_025.0 + MIN_POLL_INTERVAL

    def test_calls_that_are_due_soon_are_polled_with_the_others(self) -> None:
        """Half of the shortest interval ahead of time: a wait with a longer interval adds no poll."""
        poll = Schedule(lowest).start_poll(10.0, 1_000.0)

        assert poll == (False, 1_000.0, 1_005.0, 1_010.0)

    @pytest.mark.parametrize(("interval", "give_up_at"), [(0.1, 1_000.0 + MIN_POLL_TIME), (60.0, 1_060.0)])
    def test_a_poll_ends_when_the_next_one_is_due(self, interval: float, give_up_at: float) -> None:
        """It always gets a few seconds."""
        assert Schedule().start_poll(interval, 1_000.0).give_up_at == give_up_at

    def test_the_pace_slows_down_when_the_quickest_wait_leaves(self) -> None:
        """The intervals of those that are left count."""
        schedule = started(1.0, 1_000.0)

        schedule.start_poll(3_600.0, 1_001.0)
        complete(schedule, now=1_001.0)

        assert schedule.next_poll_at == pytest.approx(1_001.0 + 0.98 * 3_600.0)


class TestEarlyPolls:
    """What a poll missed is polled again soon."""

    def test_the_first_one_comes_after_a_second(self) -> None:
        """The regular poll would be an hour away."""
        schedule = started(3_600.0, 1_000.0)

        incomplete(schedule, now=1_002.0)

        assert schedule.next_poll_at == 1_003.0

    def test_the_pause_grows_up_to_five_seconds(self) -> None:
        """Also when the calls stay missing for a day."""
        schedule, now = started(1_000_000.0, 0.0), 0.0
        for _ in range(200):
            incomplete(schedule, now)
            assert now + 1.0 <= schedule.next_poll_at <= now + MAX_CATCH_UP_PAUSE
            now = schedule.next_poll_at
            assert schedule.start_poll(1_000_000.0, now).is_early

    def test_a_complete_poll_ends_them(self) -> None:
        """The next failure starts with the shortest pause again."""
        schedule = started(3_600.0, 1_000.0)
        for now in (1_000.0, 1_010.0, 1_020.0):
            incomplete(schedule, now)

        complete(schedule, now=1_030.0)
        next_poll_at = schedule.next_poll_at
        incomplete(schedule, now=1_040.0)

        assert next_poll_at == 1_000.0 + 0.98 * 3_600.0
        assert schedule.next_poll_at == 1_041.0

    def test_they_leave_the_regular_pace_as_it_is(self) -> None:
        """They cover only what was due already, and intervals still count from the last regular poll."""
        schedule = started(60.0, 1_000.0)
        incomplete(schedule, now=1_001.0)

        early = schedule.start_poll(60.0, 1_002.0)
        complete(schedule, now=1_003.0)

        assert early == (True, 1_000.0, 1_030.0, 1_062.0)
        assert schedule.next_poll_at == pytest.approx(1_058.8)

    def test_shortly_before_a_regular_poll_there_is_none(self) -> None:
        """With an hour's interval the jitter is a minute: all calls would be polled twice in that minute."""
        schedule = Schedule(highest)
        schedule.start_poll(3_600.0, 1_000.0)

        halfway = schedule.start_poll(3_600.0, 1_000.0 + 0.5 * 3_600.0)
        nearly_due = schedule.start_poll(3_600.0, 1_000.0 + 1.01 * 3_600.0)

        assert (halfway.is_early, halfway.regular_since) == (True, 1_000.0)
        assert (nearly_due.is_early, nearly_due.regular_since) == (False, 1_000.0 + 1.01 * 3_600.0)

    def test_a_late_one_covers_what_became_due_meanwhile(self) -> None:
        """After an outage, everything may be due."""
        schedule = started(60.0, 1_000.0)

        assert schedule.start_poll(60.0, 1_050.0).due_until == 1_050.0


class TestOutages:
    """A poll that an outage delayed is over only when the API has recovered."""

    @pytest.mark.parametrize(("jitter", "pause"), [(lowest, 10.0), (highest, 10.2)])
    def test_the_next_poll_comes_an_interval_after_the_outage(self, jitter: object, pause: float) -> None:
        """Right after the poll that was delayed it would be a burst."""
        schedule = Schedule(jitter)  # type: ignore[arg-type]
        schedule.start_poll(10.0, 1_000.0)

        complete(schedule, now=1_300.0, recovered_at=1_299.0)

        assert schedule.next_poll_at == pytest.approx(1_299.0 + pause)

    def test_an_outage_before_the_poll_changes_nothing(self) -> None:
        """It delayed an earlier poll."""
        schedule = started(10.0, 1_000.0)

        complete(schedule, now=1_001.0, recovered_at=999.0)

        assert schedule.next_poll_at == pytest.approx(1_009.8)

    def test_what_it_left_unseen_is_polled_soon(self) -> None:
        """That does not wait for an interval."""
        schedule = started(10.0, 1_000.0)

        incomplete(schedule, now=1_300.0, recovered_at=1_299.0)

        assert schedule.next_poll_at == 1_301.0
