"""Calling hours: in every zone of the callee, over clock changes, and never early."""

from __future__ import annotations

import random
import sys
from datetime import datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from phonenumbers.tzdata import TIMEZONE_DATA

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.rules.calling_hours import (
    WEEKDAYS,
    CallingHours,
    checked_zone,
    zones_of_number,
)

OFFICE = ("09:00", "20:00")
NEW_YORK = "America/New_York"
CLOCK_CHANGES = {
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "America/Sao_Paulo": ("2018-02-18", "2018-11-04"),
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),  # by half an hour
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "Africa/Casablanca": ("2026-02-15", "2026-03-22"),  # around Ramadan
    "Asia/Beirut": ("2026-03-29", "2026-10-25"),  # at midnight
}


def hours(window: Any = OFFICE, days: Any = None) -> CallingHours:
    """Return checked calling hours."""
    checked = CallingHours.checked(window, days)
    assert checked is not None
    return checked


@pytest.mark.parametrize(
    ("moment", "zones", "opening"),
    [
        ("2026-11-27T10:00Z", ["Europe/Berlin"], "2026-11-27T10:00Z"),
        ("2026-11-27T07:59:59Z", ["Europe/Berlin"], "2026-11-27T08:00Z"),
        ("2026-11-27T08:00Z", ["Europe/Berlin"], "2026-11-27T08:00Z"),
        ("2026-11-27T19:00Z", ["Europe/Berlin"], "2026-11-28T08:00Z"),
        ("2026-11-27T10:00Z", ["Europe/Berlin", "America/New_York"], "2026-11-27T14:00Z"),
        ("2026-11-27T19:00Z", ["Europe/Berlin", "America/New_York"], "2026-11-28T14:00Z"),
        ("2026-11-27T10:00Z", ["Pacific/Auckland", "Pacific/Honolulu"], "2026-11-27T20:00Z"),
        ("2026-03-28T22:00Z", ["Europe/Berlin"], "2026-03-29T07:00Z"),  # an hour less of the night
        ("2026-10-24T22:00Z", ["Europe/Berlin"], "2026-10-25T08:00Z"),
    ],
)
def test_the_next_opening(moment: str, zones: list[str], opening: str) -> None:
    """The hours are open from their start, not at their end, and in all zones at once."""
    found = hours().next_opening(pendulum.parse(moment), zones)  # type: ignore[arg-type]

    assert found == pendulum.parse(opening)


def test_days_are_those_of_the_callee() -> None:
    """On Friday evening in Berlin it is Saturday in Auckland."""
    weekdays = hours(days=("mon", "tue", "wed", "thu", "fri"))
    friday_evening = pendulum.datetime(2026, 11, 27, 18, tz="Europe/Berlin")

    assert weekdays.are_open(friday_evening, ["Europe/Berlin"])
    assert not weekdays.are_open(friday_evening, ["Pacific/Auckland"])
    assert weekdays.next_opening(friday_evening, ["Pacific/Auckland"]) == pendulum.datetime(
        2026, 11, 30, 9, tz="Pacific/Auckland"
    )


def test_days_alone_mean_the_whole_day() -> None:
    """Up to the last second of the day."""
    saturday = hours(None, ["sat"])

    assert saturday.are_open(pendulum.datetime(2026, 11, 28, 23, 59, 59), ["UTC"])
    assert not saturday.are_open(pendulum.datetime(2026, 11, 29), ["UTC"])


@pytest.mark.parametrize(
    "zones", [["Europe/Berlin"], ["Europe/Berlin", "America/New_York"], ["Asia/Kathmandu"]]
)
@pytest.mark.parametrize("window", [OFFICE, None])
def test_the_last_closing_is_what_a_search_minute_by_minute_finds(window: Any, zones: list[str]) -> None:
    """Over a weekend and a clock change of Berlin."""
    open_hours = hours(window, ["mon", "tue", "wed", "thu", "fri"])
    moment = pendulum.datetime(2026, 10, 23, 12)
    last = None
    for _ in range(4 * 24 * 60):
        if open_hours.are_open(moment, zones):
            last = moment = moment.add(minutes=1)
        else:
            moment = moment.add(minutes=1)
        if last is not None and moment.minute % 15 == 0:
            assert open_hours.last_closing(moment, zones) == last


def test_hours_that_are_never_open_have_no_last_closing() -> None:
    """As they have no next opening."""
    zones = ["Europe/Berlin", "Asia/Tokyo"]

    assert hours(("09:00", "10:00")).last_closing(pendulum.datetime(2026, 10, 23, 12), zones) is None


@pytest.mark.parametrize(
    ("window", "moment", "opening"),
    [
        # In New York the clock goes from 2:00 to 3:00, and in November from 2:00 back to 1:00.
        (("02:15", "05:00"), "2026-03-08T01:59:59-05:00", "2026-03-08T03:15:00-04:00"),
        (("02:15", "02:45"), "2026-03-08T01:59:59-05:00", "2026-03-09T02:15:00-04:00"),
        (("01:30", "01:45"), "2026-11-01T00:00:00-04:00", "2026-11-01T01:30:00-04:00"),
        (("01:30", "01:45"), "2026-11-01T01:45:00-04:00", "2026-11-01T01:30:00-05:00"),
        (("00:30", "01:30"), "2026-11-01T01:45:00-04:00", "2026-11-02T00:30:00-05:00"),
        (("01:30", "03:00"), "2026-11-01T02:00:00-04:00", "2026-11-01T01:30:00-05:00"),
    ],
    ids=["skipped start", "skipped", "repeated, first", "repeated, second", "repeated end", "repeated start"],
)
def test_hours_within_a_clock_change(window: tuple[str, str], moment: str, opening: str) -> None:
    """The opening may be found late, but never early: the clock there says a time within the hours."""
    utc, local = (pendulum.parse(moment).in_timezone(zone) for zone in ("UTC", NEW_YORK))  # type: ignore[union-attr]

    assert hours(window).next_opening(utc, [NEW_YORK]) == pendulum.parse(opening).in_timezone("UTC")  # type: ignore[union-attr]
    assert hours(window).next_opening(local, [NEW_YORK]) == hours(window).next_opening(utc, [NEW_YORK])


def test_zones_too_far_apart_are_never_open_at_once() -> None:
    """Mornings in Berlin and in Tokyo have no moment in common."""
    mornings = hours(("09:00", "12:00"))

    assert mornings.next_opening(pendulum.now("UTC"), ["Europe/Berlin", "Asia/Tokyo"]) is None


def test_nothing_given_restricts_nothing() -> None:
    """Without either argument there are no calling hours."""
    assert CallingHours.checked(None, None) is None


@pytest.mark.parametrize(
    "window",
    [
        "09:00",
        ("09:00",),
        ("9:00", "20:00"),
        ("20:00", "09:00"),
        ("09:00", "09:00"),
        ("09:00", "24:00"),
        (9, 20),
        (),
    ],
)
def test_bad_hours(window: object) -> None:
    """The error names the argument and shows what it should be."""
    with pytest.raises(TelzinoConfigurationError, match=r'`calling_hours` .*"09:00", "20:00"'):
        CallingHours.checked(window, None)


@pytest.mark.parametrize("days", ["mon", (), ("monday",), (1,), {"mon": 1}])
def test_bad_days(days: object) -> None:
    """The error names the argument and the days."""
    with pytest.raises(TelzinoConfigurationError, match=r"`calling_days` .*mon, tue"):
        CallingHours.checked(None, days)


def test_time_zones() -> None:
    """A zone is an IANA name; anything else is refused before anyone is called."""
    assert checked_zone("Europe/Berlin") == "Europe/Berlin"
    for bad in ("", "Berlin", "../etc/passwd", "A\0b", "UTC\n", None, 2):
        with pytest.raises(TelzinoConfigurationError, match="`timezone` should be the IANA name"):
            checked_zone(bad)


def test_zones_of_a_number() -> None:
    """A landline has one zone; a toll-free number may be anywhere in its plan."""
    assert zones_of_number("+18135551234") == ["America/New_York"]
    assert {"America/New_York", "America/Los_Angeles"} < set(zones_of_number("+18005551234"))


@pytest.mark.parametrize("number", ["+99912345", "+870771234567", "+447700900123"])
def test_a_number_without_a_known_zone(number: str) -> None:
    """The error names the fix, not the number."""
    with pytest.raises(TelzinoConfigurationError, match="Give the callee's `timezone`") as caught:
        zones_of_number(number)

    assert number not in str(caught.value)


def test_all_zones_of_numbers_are_known() -> None:
    """What ``phonenumbers`` answers can be computed with."""
    names = {name for zones in TIMEZONE_DATA.values() for name in zones}

    assert len(names) > 200
    assert {checked_zone(name) for name in names} == names


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """``phonenumbers`` is optional."""
    monkeypatch.setitem(sys.modules, "phonenumbers", None)

    with pytest.raises(TelzinoConfigurationError, match=r"airflow-provider-telzino\[timezones\]"):
        zones_of_number("+18135551234")


def test_thousands_of_contacts_over_clock_changes() -> None:
    """No opening is outside the hours, and none is missed; checked by the standard library's own zones."""
    dice = random.Random(2026)
    skipped_starts = 0
    for _ in range(500):
        zones = dice.sample(sorted(CLOCK_CHANGES), dice.choice((1, 1, 2)))
        change = datetime.fromisoformat(dice.choice(CLOCK_CHANGES[zones[0]])).replace(tzinfo=timezone.utc)
        moment = change + timedelta(minutes=dice.randrange(-36 * 60, 36 * 60))
        start = time(dice.randrange(0, 23), dice.choice((0, 15, 30)))
        end = time(dice.randrange(start.hour + 1, 24), 45)
        days = dice.sample(WEEKDAYS, dice.randrange(1, 8))
        calling = hours((start.strftime("%H:%M"), end.strftime("%H:%M")), days)

        def is_open(
            at: datetime,
            start: time = start,
            end: time = end,
            zones: list[str] = zones,
            days: list[str] = days,
        ) -> bool:
            local = [at.astimezone(ZoneInfo(zone)) for zone in zones]
            return all(start <= each.time() < end and WEEKDAYS[each.weekday()] in days for each in local)

        opening = calling.next_opening(pendulum.instance(moment), zones)

        if opening is None:
            earlier = [moment + timedelta(minutes=15 * step) for step in range(8 * 96)]
            assert not any(map(is_open, earlier))
            continue
        assert is_open(opening)
        steps = int((opening.timestamp() - moment.timestamp()) // 900)
        missed = [
            step for step in range(min(steps, 8 * 96)) if is_open(moment + timedelta(minutes=15 * step))
        ]
        # Only where a clock change skips the start, or repeats the end, may the opening come late.
        assert len(missed) <= 4
        skipped_starts += bool(missed)
    assert skipped_starts < 5
