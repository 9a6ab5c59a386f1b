"""May this person be called now? Calling hours, the DAG author's own check, and the limit in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

import pendulum

from airflow_provider_telzino.exceptions import TelzinoArgumentError, TelzinoConfigurationError
from airflow_provider_telzino.rules.author_errors import author_error
from airflow_provider_telzino.rules.calling_hours import CallingHours, checked_zone, zones_of_number

DEFAULT_DIAL_TIMEOUT = timedelta(days=1)
MAX_DIAL_TIMEOUT = timedelta(days=366)

MayCall = Callable[[Mapping[str, Any], pendulum.DateTime], Any]
"""Called with a contact and the time. Returns ``True``, ``False`` (never), or the earliest time to call."""


@dataclass(frozen=True)
class NotBefore:
    """Nobody is called before this moment."""

    moment: datetime
    why: str


@dataclass(frozen=True)
class Never:
    """Nobody is called any more."""

    reason: Literal["may_call", "dial_timeout"]


@dataclass(frozen=True)
class DialLimits:
    """What has to be true before each dial."""

    hours: CallingHours | None
    may_call: MayCall | None
    dial_timeout: timedelta
    """How long after the task's first start people are called."""

    @classmethod
    def checked(
        cls, calling_hours: object, calling_days: object, may_call: object, dial_timeout: object
    ) -> DialLimits:
        """Check what a DAG author gave.

        Raises:
            TelzinoArgumentError: The message names the argument and what it may be.
        """
        if may_call is not None and not callable(may_call):
            raise TelzinoArgumentError("`may_call` should be a function: may_call(contact, now).")
        if not isinstance(dial_timeout, timedelta) or not timedelta() < dial_timeout <= MAX_DIAL_TIMEOUT:
            raise TelzinoArgumentError("`dial_timeout` should be a timedelta, over 0 and at most a year.")
        return cls(CallingHours.checked(calling_hours, calling_days), may_call, dial_timeout)

    def next_opening(self, zones: Sequence[str], now: pendulum.DateTime) -> pendulum.DateTime:
        """Return when people in all of these time zones may be called at once, as far as hours and days say.

        Args:
            zones: Those of a contact; see :func:`zones_of`.
            now: The time. It is returned if the hours are open.

        Raises:
            TelzinoArgumentError: The hours are never open in all of the zones.
        """
        return now if self.hours is None else self._known(self.hours.next_opening(now, zones), zones)

    def last_closing(self, zones: Sequence[str], moment: pendulum.DateTime) -> pendulum.DateTime:
        """Return until when, before a moment, people in all of these time zones could last be called at once.

        Args:
            zones: See ``next_opening``.
            moment: It is returned if the hours are open directly before it.

        Raises:
            TelzinoArgumentError: The hours are never open in all of the zones.
        """
        return moment if self.hours is None else self._known(self.hours.last_closing(moment, zones), zones)

    @staticmethod
    def _known(moment: pendulum.DateTime | None, zones: Sequence[str]) -> pendulum.DateTime:
        if moment is None:
            raise TelzinoArgumentError(
                f"`calling_hours` are never open in all of the {len(zones)} time zones that the number may "
                "be in. Give the callee's `timezone`."
            )
        return moment

    def check_time(
        self, contact: Mapping[str, Any], started: datetime, now: pendulum.DateTime
    ) -> NotBefore | Never | None:
        """Check calling hours and time limit, without asking ``may_call``.

        Args:
            contact: ``to_number`` and ``timezone`` of the contact.
            started: When the task first started.
            now: The time.

        Returns:
            ``None`` if the contact may be called now.

        Raises:
            TelzinoArgumentError: The contact's time zone is unknown, or the hours are never open in all
                of its zones.
        """
        if now >= started + self.dial_timeout:
            return Never("dial_timeout")
        return self._in_time(self._opening(contact, now), started)

    def check(
        self, contact: Mapping[str, Any], started: datetime, now: pendulum.DateTime
    ) -> NotBefore | Never | None:
        """Check everything, directly before a contact is called.

        Args:
            contact: See ``check_time``; ``may_call`` reads all of it.
            started: When the task first started.
            now: The time.

        Returns:
            ``None`` if the contact may be called now.

        Raises:
            TelzinoArgumentError: See ``check_time``; or ``may_call`` returned something else.
            TelzinoError: ``may_call`` raised.
        """
        return self.check_time(contact, started, now) or self._in_time(self._asked(contact, now), started)

    def _in_time(self, later: NotBefore | Never | None, started: datetime) -> NotBefore | Never | None:
        """Don't wait for a moment at which it will be too late."""
        is_late = isinstance(later, NotBefore) and later.moment >= started + self.dial_timeout
        return Never("dial_timeout") if is_late else later

    def _opening(self, contact: Mapping[str, Any], now: pendulum.DateTime) -> NotBefore | None:
        _given_zone(contact)  # even without hours, an invalid one is an error
        if self.hours is None:
            return None
        opening = self.next_opening(zones_of(contact), now)
        return None if opening <= now else NotBefore(opening, "the calling hours begin then")

    def _asked(self, contact: Mapping[str, Any], now: pendulum.DateTime) -> NotBefore | Never | None:
        if self.may_call is None:
            return None
        local = now.in_timezone(_known_zone(contact) or "UTC")
        try:
            answer = self.may_call(contact, local)
        except Exception as error:  # the function is the DAG author's, and may raise anything
            raise author_error("`may_call`", error) from None
        if answer is True:
            return None
        if answer is False:
            return Never("may_call")
        if isinstance(answer, datetime) and answer.utcoffset() is not None:
            # In UTC: Python compares two times of the same zone by their clocks, even in a repeated hour.
            try:
                moment = answer.astimezone(timezone.utc)
            except OverflowError:  # a time at the end of the calendar, which says never
                moment = datetime.max.replace(tzinfo=timezone.utc)
            return None if moment <= now else NotBefore(moment, "`may_call` asks for it")
        raise TelzinoArgumentError(
            f"`may_call` returned {_kind(answer)}, so nobody was called. It should return True, False, or a "
            "time with a time zone before which not to call."
        )


def zones_of(contact: Mapping[str, Any]) -> list[str]:
    """Return the time zones in which a contact may be: its ``timezone``, or those of its number.

    Raises:
        TelzinoArgumentError: There is no such zone, or none can be derived from the number.
    """
    zone = _given_zone(contact)
    return [zone] if zone else zones_of_number(str(contact["to_number"]))


def _given_zone(contact: Mapping[str, Any]) -> str | None:
    zone = contact.get("timezone")
    return checked_zone(zone) if zone else None


def _known_zone(contact: Mapping[str, Any]) -> str | None:
    """Return the time zone of a contact: the one that is given, or the only one that the number may be in."""
    if zone := _given_zone(contact):
        return zone
    try:
        zones = zones_of_number(str(contact["to_number"]))
    except TelzinoConfigurationError:  # it can't be derived, which only calling hours need
        return None
    return zones[0] if len(zones) == 1 else None


def _kind(answer: object) -> str:
    """Say what an answer is without quoting it."""
    if isinstance(answer, datetime):
        return "a time without a time zone"
    kind = type(answer)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."  # numpy has a `bool`, too
    return f"a value of type {module}{kind.__qualname__}"
