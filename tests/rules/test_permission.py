"""May this person be called now: time limit, calling hours, and the DAG author's own check."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest

from airflow_provider_telzino.exceptions import TelzinoConfigurationError, TelzinoError
from airflow_provider_telzino.rules.permission import DialLimits, Never, NotBefore

NOON = pendulum.datetime(2026, 11, 27, 12)  # a Friday; it is 13:00 in Berlin and 07:00 in New York
STARTED = NOON.subtract(hours=1)
DAY = timedelta(days=1)
BERLIN = {"to_number": "+493012345678", "timezone": "Europe/Berlin"}
OFFICE = ("09:00", "20:00")
ANYWHERE = "+18005551234"  # toll-free: in all zones of North America


def limits(
    hours: Any = None, days: Any = None, *, may_call: Any = None, dial_timeout: Any = DAY
) -> DialLimits:
    """Return checked limits."""
    return DialLimits.checked(hours, days, may_call, dial_timeout)


def check(
    given: DialLimits, contact: Mapping[str, Any] = BERLIN, now: pendulum.DateTime = NOON
) -> NotBefore | Never | None:
    """Check a contact whose task has started an hour before noon."""
    return given.check(contact, STARTED, now)


def allows(contact: Mapping[str, Any], now: pendulum.DateTime) -> bool:
    """Let everybody be called."""
    return True


class Bool:
    """Is true and equal to ``True`` without being it, as the booleans of numpy."""

    __module__ = "numpy"
    __qualname__ = "bool"

    def __bool__(self) -> bool:
        """Return what it means."""
        return True

    def __eq__(self, other: object) -> bool:
        """Compare by meaning."""
        return other is True

    __hash__ = None  # type: ignore[assignment]


def test_without_limits_everybody_may_be_called() -> None:
    """For a day from the task's start."""
    assert check(limits()) is None


class TestDialTimeout:
    """Nobody is called once the time for dialling is over."""

    @pytest.mark.parametrize(
        ("now", "verdict"),
        [
            (STARTED, None),
            (STARTED + DAY - timedelta(microseconds=1), None),
            (STARTED + DAY, Never("dial_timeout")),
            (STARTED + 2 * DAY, Never("dial_timeout")),
        ],
        ids=["at the start", "just before", "exactly then", "long after"],
    )
    def test_its_end_does_not_belong_to_it(self, now: pendulum.DateTime, verdict: Never | None) -> None:
        """Both with and without asking `may_call`."""
        given = limits(may_call=allows)

        assert given.check(BERLIN, STARTED, now) == verdict
        assert given.check_time(BERLIN, STARTED, now) == verdict

    def test_it_comes_before_everything_else(self) -> None:
        """Whether the hours are open, and what `may_call` says, doesn't matter any more."""

        def may_call(contact: Mapping[str, Any], now: pendulum.DateTime) -> bool:
            raise AssertionError

        given = limits(("13:00", "14:00"), may_call=may_call)

        assert check(given, now=STARTED + DAY) == Never("dial_timeout")

    @pytest.mark.parametrize(
        ("timeout", "verdict"),
        [
            (timedelta(hours=21), Never("dial_timeout")),
            (
                timedelta(hours=21, seconds=1),
                NotBefore(pendulum.datetime(2026, 11, 28, 8), "the calling hours begin then"),
            ),
        ],
        ids=["at the deadline", "before the deadline"],
    )
    def test_hours_that_open_too_late_are_not_waited_for(
        self, timeout: timedelta, verdict: NotBefore | Never
    ) -> None:
        """The outcome is known already."""
        given = limits(("09:00", "12:00"), dial_timeout=timeout)

        assert check(given) == verdict
        assert given.check_time(BERLIN, STARTED, NOON) == verdict

    def test_a_time_of_may_call_that_is_too_late_is_not_waited_for(self) -> None:
        """Likewise."""
        assert check(limits(may_call=lambda *_: STARTED + DAY)) == Never("dial_timeout")

    @pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
    def test_the_end_of_the_calendar_says_never(self, zone: str) -> None:
        """Even where it can't be told in UTC."""
        never = datetime.max.replace(tzinfo=ZoneInfo(zone))

        assert check(limits(may_call=lambda *_: never)) == Never("dial_timeout")


class TestCallingHours:
    """The hours and days where the callee is."""

    @pytest.mark.parametrize(
        ("contact", "opening"),
        [
            (BERLIN, None),
            ({"to_number": "+493012345678"}, None),
            ({"to_number": "+493012345678", "timezone": None}, None),
            ({"to_number": "+493012345678", "timezone": ""}, None),
            ({"to_number": "+493012345678", "timezone": "America/New_York"}, NOON.add(hours=2)),
            ({"to_number": "+18135551234"}, NOON.add(hours=2)),
            ({"to_number": "+18135551234", "timezone": "Europe/Berlin"}, None),
        ],
        ids=["given", "derived", "None", "empty", "given, closed", "derived, closed", "given counts"],
    )
    def test_the_zone_is_the_given_one_or_follows_from_the_number(
        self, contact: dict[str, Any], opening: pendulum.DateTime | None
    ) -> None:
        """Where a person is counts, not where the number was issued."""
        verdict = check(limits(OFFICE), contact)

        assert verdict == (None if opening is None else NotBefore(opening, "the calling hours begin then"))

    def test_the_days_are_those_of_the_callee(self) -> None:
        """It is Friday noon in UTC, and Saturday in Auckland."""
        contact = BERLIN | {"timezone": "Pacific/Auckland"}

        verdict = check(limits(days=["sat"]), contact)

        assert verdict is None
        assert isinstance(check(limits(days=["fri"], dial_timeout=7 * DAY), contact), NotBefore)

    @pytest.mark.parametrize("zone", ["Berlin", "CEST+1", 5, float("nan")])
    @pytest.mark.parametrize("hours", [OFFICE, None], ids=str)
    @pytest.mark.parametrize("may_call", [allows, None], ids=["may_call", "None"])
    def test_an_invalid_zone_is_an_error_even_where_nothing_needs_it(
        self, zone: object, hours: object, may_call: object
    ) -> None:
        """Nobody is called by a wrong clock, and the error doesn't blame `may_call`."""
        with pytest.raises(TelzinoConfigurationError, match="`timezone` should be the IANA name"):
            check(limits(hours, may_call=may_call), BERLIN | {"timezone": zone})

    def test_a_number_without_a_known_zone_is_an_error_that_names_the_fix(self) -> None:
        """And not the number."""
        with pytest.raises(TelzinoConfigurationError, match="Give the callee's `timezone`") as caught:
            check(limits(OFFICE), {"to_number": "+870771234567"})

        assert "8707" not in str(caught.value)

    def test_hours_that_are_never_open_in_all_zones_are_an_error_that_names_the_fix(self) -> None:
        """An hour of the morning comes at different times in all of North America."""
        with pytest.raises(TelzinoConfigurationError, match=r"never open .*Give the callee's `timezone`"):
            check(limits(("09:00", "10:00")), {"to_number": ANYWHERE})


class TestMayCall:
    """The DAG author's own check."""

    @pytest.mark.parametrize(
        ("answer", "verdict"),
        [
            (True, None),
            (False, Never("may_call")),
            (NOON, None),
            (NOON.subtract(days=400), None),
            (NOON.add(microseconds=1), NotBefore(NOON.add(microseconds=1), "`may_call` asks for it")),
            (
                datetime(2026, 11, 27, 14, 30, tzinfo=ZoneInfo("Europe/Berlin")),
                NotBefore(NOON.add(minutes=90), "`may_call` asks for it"),
            ),
        ],
        ids=str,
    )
    def test_its_answer_counts(self, answer: object, verdict: NotBefore | Never | None) -> None:
        """Yes, never, or not before a time, in whatever zone that is given."""
        assert check(limits(may_call=lambda *_: answer)) == verdict

    def test_a_time_in_an_hour_that_the_clock_repeats_is_not_taken_for_the_first_of_them(self) -> None:
        """It is 1:45 in New York, and 1:30 comes again in three quarters of an hour."""
        zone = pendulum.timezone("America/New_York")
        now = pendulum.datetime(2026, 11, 1, 5, 45).in_timezone(zone)
        again = pendulum.datetime(2026, 11, 1, 6, 30).in_timezone(zone)
        contact = {"to_number": "+18135551234", "timezone": zone.name}

        verdict = limits(may_call=lambda *_: again).check(contact, now, now)

        assert isinstance(verdict, NotBefore)
        assert verdict.moment.timestamp() - now.timestamp() == 45 * 60

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (None, "a value of type NoneType"),
            (1, "a value of type int"),
            (0, "a value of type int"),
            ("yes", "a value of type str"),
            ("", "a value of type str"),
            ([], "a value of type list"),
            (Bool(), "a value of type numpy.bool"),
            (datetime(2026, 11, 27, 11), "a time without a time zone"),
            (pendulum.naive(2026, 11, 27, 11), "a time without a time zone"),
            (date(2026, 11, 27), "a value of type datetime.date"),
            (time(11), "a value of type datetime.time"),
            (timedelta(hours=1), "a value of type datetime.timedelta"),
            (1_800_000_000.0, "a value of type float"),
        ],
        ids=lambda value: "numpy.bool" if isinstance(value, Bool) else repr(value),
    )
    def test_anything_else_is_an_error_and_nobody_is_called(self, answer: object, kind: str) -> None:
        """What is only like `True` may be a mistake; the error shows the kind and not the value."""
        with pytest.raises(
            TelzinoConfigurationError, match=f"`may_call` returned {kind}, so nobody"
        ) as caught:
            check(limits(may_call=lambda *_: answer))

        assert "should return True, False, or a time with a time zone" in str(caught.value)
        assert "2026" not in str(caught.value)

    def test_a_coroutine_is_no_answer(self) -> None:
        """An asynchronous function is not awaited: it is called for nothing."""

        async def may_call(contact: Mapping[str, Any], now: pendulum.DateTime) -> bool:
            return True

        answers: list[Any] = []

        def spy(contact: Mapping[str, Any], now: pendulum.DateTime) -> Any:
            answers.append(may_call(contact, now))
            return answers[0]

        with pytest.raises(TelzinoConfigurationError, match="a value of type coroutine"):
            check(limits(may_call=spy))
        answers[0].close()

    def test_if_it_raises_nobody_is_called_and_its_words_are_not_repeated(self) -> None:
        """The error says where: the function's message may contain the contact."""

        def may_call(contact: Mapping[str, Any], now: pendulum.DateTime) -> bool:
            raise LookupError(f"no consent of {contact['to_number']}")

        with pytest.raises(
            TelzinoError, match=r"`may_call` raised LookupError \(line \d+ of may_call\)"
        ) as caught:
            check(limits(may_call=may_call))

        assert not isinstance(caught.value, TelzinoConfigurationError)  # Airflow may retry it
        assert BERLIN["to_number"] not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    @pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit])
    def test_what_ends_the_process_ends_it(self, ends: type[BaseException]) -> None:
        """A timeout or a kill of Airflow isn't an answer."""

        def may_call(contact: Mapping[str, Any], now: pendulum.DateTime) -> bool:
            raise ends

        with pytest.raises(ends):
            check(limits(may_call=may_call))

    @pytest.mark.parametrize(
        ("contact", "zone"),
        [
            (BERLIN, "Europe/Berlin"),
            (BERLIN | {"timezone": "Asia/Tokyo"}, "Asia/Tokyo"),
            ({"to_number": "+18135551234"}, "America/New_York"),
            ({"to_number": ANYWHERE}, "UTC"),
            ({"to_number": "+870771234567", "timezone": ""}, "UTC"),
        ],
        ids=["given", "given counts", "derived", "many zones", "none known"],
    )
    @pytest.mark.parametrize("clock", [pendulum.UTC, pendulum.timezone("Asia/Kolkata")], ids=str)
    def test_it_gets_the_contact_and_the_time_where_the_callee_is(
        self, contact: dict[str, Any], zone: str, clock: tzinfo
    ) -> None:
        """In UTC where that is unknown, whatever the clock of the machine says."""
        asked: list[tuple[Mapping[str, Any], pendulum.DateTime]] = []

        def may_call(contact: Mapping[str, Any], now: pendulum.DateTime) -> bool:
            asked.append((contact, now))
            return True

        assert check(limits(may_call=may_call), contact, NOON.astimezone(clock)) is None

        ((asked_for, now),) = asked
        assert asked_for is contact
        assert isinstance(now, pendulum.DateTime)
        assert (now, now.timezone_name) == (NOON, zone)

    def test_without_the_extra_the_time_is_in_utc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only calling hours need ``phonenumbers``."""
        monkeypatch.setitem(sys.modules, "phonenumbers", None)
        asked: list[str | None] = []

        def may_call(contact: Mapping[str, Any], now: pendulum.DateTime) -> bool:
            asked.append(now.timezone_name)
            return True

        check(limits(may_call=may_call), {"to_number": "+18135551234"})

        assert asked == ["UTC"]

    def test_it_is_asked_only_if_the_time_is_right(self) -> None:
        """Directly before a call: what it counts, or looks up, is then up to date."""
        asked: list[pendulum.DateTime] = []

        def may_call(contact: Mapping[str, Any], now: pendulum.DateTime) -> bool:
            asked.append(now)
            return True

        given = limits(OFFICE, may_call=may_call)

        assert isinstance(check(given, now=NOON.subtract(hours=5)), NotBefore)
        assert given.check_time(BERLIN, STARTED, NOON) is None
        assert asked == []
        assert check(given) is None
        assert asked == [NOON]


class TestArguments:
    """What a DAG author may give."""

    @pytest.mark.parametrize("may_call", [True, "function", ["x"], 5])
    def test_may_call_should_be_a_function(self, may_call: object) -> None:
        """Found when the DAG is parsed."""
        with pytest.raises(TelzinoConfigurationError, match="`may_call` should be a function"):
            limits(may_call=may_call)

    def test_may_call_may_be_any_callable(self) -> None:
        """A class with state, for example."""

        class Caps:
            def __call__(self, contact: Mapping[str, Any], now: datetime) -> bool:
                return False

        assert check(limits(may_call=Caps())) == Never("may_call")

    @pytest.mark.parametrize(
        "timeout", [0, 3600, "1d", None, timedelta(0), -DAY, timedelta(days=366, seconds=1)], ids=repr
    )
    def test_dial_timeout_should_be_a_duration(self, timeout: object) -> None:
        """Of a year at most, and not of zero: nobody could ever be called."""
        with pytest.raises(TelzinoConfigurationError, match="`dial_timeout` should be a timedelta"):
            limits(dial_timeout=timeout)

    @pytest.mark.parametrize(
        ("hours", "days", "argument"), [("9-20", None, "calling_hours"), (OFFICE, "mon", "calling_days")]
    )
    def test_hours_and_days_are_checked(self, hours: object, days: object, argument: str) -> None:
        """See the tests of the calling hours."""
        with pytest.raises(TelzinoConfigurationError, match=f"`{argument}`"):
            limits(hours, days)


def test_times_of_the_standard_library_will_do() -> None:
    """The start of a task comes from Airflow."""
    started = datetime(2026, 11, 26, 12, 0, 0, 1, tzinfo=timezone.utc)

    assert limits().check(BERLIN, started, NOON) is None
    assert limits().check(BERLIN, started - timedelta(microseconds=1), NOON) == Never("dial_timeout")
