"""When a person may be called: hours and days, according to the clock where that person is."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import time

import pendulum

from airflow_provider_telzino.exceptions import TelzinoArgumentError

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SEARCH_DAYS = 15  # how far ahead an opening is searched: weeks repeat, but for those of a clock change
UNKNOWN_ZONE = "Etc/Unknown"  # what phonenumbers answers where it knows no zone

_HOUR = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


@dataclass(frozen=True)
class CallingHours:
    """The hours of the day, and the days of the week, at which people may be called.

    The start belongs to the hours, the end doesn't. All of it is in wall-clock time, so it follows the clock
    changes of each time zone.
    """

    start: time
    end: time | None
    """``None`` is the end of the day."""
    days: frozenset[int]
    """From 0 (Monday) to 6."""

    @classmethod
    def checked(cls, calling_hours: object, calling_days: object) -> CallingHours | None:
        """Check what a DAG author gave.

        Args:
            calling_hours: Two texts, ``("HH:MM", "HH:MM")``; ``None`` is the whole day.
            calling_days: Names such as ``("mon", "tue")``; ``None`` is every day.

        Returns:
            The hours; ``None`` if neither argument restricts them.

        Raises:
            TelzinoArgumentError: The message names the argument and what it may hold.
        """
        if calling_hours is None and calling_days is None:
            return None
        start, end = (time(0), None) if calling_hours is None else _hours(calling_hours)
        return cls(start, end, frozenset(range(7)) if calling_days is None else _days(calling_days))

    def are_open(self, moment: pendulum.DateTime, zones: Collection[str]) -> bool:
        """Whether a person in any of these zones may be called at this moment."""
        return all(self._is_open(moment.in_timezone(zone)) for zone in zones)

    def next_opening(self, moment: pendulum.DateTime, zones: Sequence[str]) -> pendulum.DateTime | None:
        """Find when people in all of these zones may be called at once.

        Args:
            moment: From when to search.
            zones: IANA names of time zones, at least one.

        Returns:
            The moment itself if the hours are open, else when they next open; ``None`` if the zones are too
            far apart for the hours ever to be open in all of them. Where a clock change skips the start, or
            repeats an hour that has the end in it, the opening may be found late, but never early.
        """
        candidate, limit = moment, moment.add(days=SEARCH_DAYS)
        while candidate <= limit:
            # Each zone can only put the opening off, so this ends where all agree, or at the limit.
            later = max(self._opening_in(zone, candidate) for zone in zones)
            if later == candidate:
                return candidate
            candidate = later
        return None

    def _opening_in(self, zone: str, moment: pendulum.DateTime) -> pendulum.DateTime:
        local = moment.in_timezone(zone)
        if self._is_open(local):
            return moment
        for days in range(SEARCH_DAYS):
            day = local.add(days=days).date()
            for fold in (0, 1):  # a clock change may bring the same time of the day twice
                start = pendulum.datetime(
                    *(day.year, day.month, day.day, self.start.hour, self.start.minute), tz=zone, fold=fold
                )
                # Python compares two times of the same zone by their clocks, even in a repeated hour.
                opening = start.in_timezone("UTC")
                if opening > moment and self._is_open(start):
                    return opening
        return moment.add(days=SEARCH_DAYS + 1)

    def last_closing(self, moment: pendulum.DateTime, zones: Sequence[str]) -> pendulum.DateTime | None:
        """Find when people in all of these zones could last be called at once.

        Args:
            moment: Until when to search.
            zones: See ``next_opening``, of which this is the mirror image.

        Returns:
            The moment itself if the hours are open directly before it, else when they last closed; ``None``
            if they are never open in all zones.
        """
        candidate, limit = moment, moment.subtract(days=SEARCH_DAYS)
        while candidate >= limit:
            earlier = min(self._closing_in(zone, candidate) for zone in zones)
            if earlier == candidate:
                return candidate
            candidate = earlier
        return None

    def _closing_in(self, zone: str, moment: pendulum.DateTime) -> pendulum.DateTime:
        local = moment.subtract(microseconds=1).in_timezone(zone)
        if self._is_open(local):
            return moment
        for days in range(SEARCH_DAYS):
            day = local.subtract(days=days).date()
            end = self.end or time(0)
            if self.end is None:
                day = day.add(days=1)
            for fold in (1, 0):
                closing = pendulum.datetime(
                    *(day.year, day.month, day.day, end.hour, end.minute), tz=zone, fold=fold
                ).in_timezone("UTC")
                before = closing.subtract(microseconds=1).in_timezone(zone)
                if closing < moment and self._is_open(before):
                    return closing
        return moment.subtract(days=SEARCH_DAYS + 1)

    def _is_open(self, local: pendulum.DateTime) -> bool:
        now = local.time()
        return local.weekday() in self.days and self.start <= now and (self.end is None or now < self.end)


def checked_zone(name: object) -> str:
    """Check the IANA name of a time zone, such as ``Europe/Berlin``.

    Raises:
        TelzinoArgumentError: There is no such zone.
    """
    try:
        if isinstance(name, str) and name:
            return pendulum.timezone(name).name
    except (ValueError, OSError):  # pendulum's own error, and what the file system says of odd names
        pass
    raise TelzinoArgumentError(
        "`timezone` should be the IANA name of a time zone, such as 'Europe/Berlin' or 'America/New_York'."
    )


def zones_of_number(to_number: str) -> list[str]:
    """Return the time zones in which a phone number may be, according to its country and area code.

    An area code says where a number was issued, which needn't be where its owner is.

    Args:
        to_number: The phone number (E.164).

    Raises:
        TelzinoArgumentError: The package ``phonenumbers`` is missing, or knows no zone for the number.
    """
    try:
        import phonenumbers
        from phonenumbers import timezone as number_zones
    except ImportError:
        raise TelzinoArgumentError(
            "`calling_hours` and `calling_days` need the callee's `timezone`. To derive it from the number, "
            "install the package with its extra: airflow-provider-telzino[timezones]."
        ) from None
    try:
        zones = list(number_zones.time_zones_for_number(phonenumbers.parse(to_number)))
    except phonenumbers.NumberParseException:
        zones = []
    if not zones or UNKNOWN_ZONE in zones:
        raise TelzinoArgumentError(
            "The time zone of `to_number` can't be derived from the number. Give the callee's `timezone`."
        )
    return zones


def _hours(given: object) -> tuple[time, time]:
    hours = list(given) if isinstance(given, (tuple, list)) else []
    if len(hours) == 2 and all(isinstance(each, str) and _HOUR.fullmatch(each) for each in hours):
        start, end = map(time.fromisoformat, hours)
        if start < end:
            return start, end
    raise TelzinoArgumentError(
        "`calling_hours` should be two times of the day, hours and minutes with two digits each, the first "
        'before the second, such as ("09:00", "20:00"). They can\'t cross midnight.'
    )


def _days(given: object) -> frozenset[int]:
    days = list(given) if isinstance(given, (tuple, list, set, frozenset)) else []
    if days and all(isinstance(each, str) and each in WEEKDAYS for each in days):
        return frozenset(map(WEEKDAYS.index, days))
    raise TelzinoArgumentError(
        f"`calling_days` should be a list of days, at least one of {', '.join(WEEKDAYS)}."
    )
