"""The contacts of a campaign: all of them are checked before the first is called.

A contact comes from outside. Nothing of it is rendered as a template, and no error quotes it: a reject names
its position.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import pendulum

from airflow_provider_telzino.api.arguments import (
    TEMPLATE_MARKS,
    checked_callback_url,
    checked_context,
    checked_metadata,
    checked_number,
)
from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.placing.contact_source import ContactSource, listed
from airflow_provider_telzino.rules.calling_hours import checked_zone
from airflow_provider_telzino.rules.permission import DialLimits, zones_of

MAX_ID_CHARACTERS = 200
MAX_NAMED_REJECTS = 20  # in an error; the others are counted

_NUMBER_NAMES = ("number", "phone", "phone_number", "phonenumber", "tel", "telephone", "mobile", "to")
"""How else a contact's number may be called in a table. A wrong name is quoted only if it is one of these."""

Value = TypeVar("Value")
Render = Callable[[Mapping[str, Any]], str]
"""Renders the campaign's ``call_context`` for the fields of one contact."""
Mark = Callable[[Mapping[str, Any], str], Mapping[str, Any]]
"""Adds the identity of a task and of a contact (its key) to metadata, at its largest."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A person whom a campaign calls, with all that a call needs."""

    position: int
    """Its place in the list, from 1."""
    id: str | int
    """As it was given; by default the number. The campaign's result shows it."""
    key: str
    """The id as text, by which the contact is recognised in all runs of the task."""
    to_number: str
    call_context: str | None
    """Its own, or the campaign's, rendered."""
    metadata: Mapping[str, Any]
    """Its own, merged over the campaign's; without the task's identity."""
    callback_url: str | None
    timezone: str | None
    fields: Mapping[str, Any]
    """All that was given, with ``to_number``, ``id`` and ``timezone``, for templates."""

    def as_asked(self) -> dict[str, Any]:
        """Return what ``may_call`` gets: the same and what else a call has, as for a single call."""
        call = {name: getattr(self, name) for name in ("call_context", "metadata", "callback_url")}
        return {**self.fields, **call}


class Reject(NamedTuple):
    """A contact that can't be called, and why, without any of its values."""

    position: int
    """Its place in the list, from 1."""
    reason: str


def read_contacts(
    given: object,
    *,
    call_context: Render | None = None,
    metadata: Mapping[str, Any] | None = None,
    callback_url: str | None = None,
    timezone: str | None = None,
    limits: DialLimits | None = None,
    mark: Mark | None = None,
) -> tuple[list[Contact], list[Reject]]:
    """Check all contacts of a campaign, without a request.

    Args:
        given: A list of numbers and dicts, or any other iterable of them that has an order; or such a list as
            text, JSON or Python, which a rendered template is.
        call_context: Renders the campaign's own context for a contact that has none.
        metadata: The campaign's, over which a contact's is merged, key by key.
        callback_url: The campaign's, for contacts that have none.
        timezone: The same.
        limits: With calling hours, a contact whose time zone is unknown is rejected.
        mark: Adds the identity to metadata, so that its size is checked, too.

    Returns:
        The contacts that can be called, and one reject for each of the others, both in their order.

    Raises:
        TelzinoArgumentError: ``contacts`` isn't such a list, or an argument of the campaign is invalid.
    """
    reader = _Reader(
        call_context,
        checked_metadata(metadata or {}),
        checked_callback_url(callback_url) if callback_url else None,
        checked_zone(timezone) if timezone else None,
        _hours_check(limits),
        mark,
    )
    for position, each in enumerate(listed(given), 1):
        reader.read(position, each)
    return reader.result()


def contacts_error(contacts: Sequence[Contact], rejects: Sequence[Reject]) -> TelzinoArgumentError:
    """Build the one error about all contacts that can't be called."""
    total = len(contacts) + len(rejects)
    named = [f"position {each.position:,}: {each.reason.rstrip('.')}" for each in rejects[:MAX_NAMED_REJECTS]]
    if len(rejects) > len(named):
        named.append(f"and {len(rejects) - len(named):,} more")
    is_or_are = "is" if len(rejects) == 1 else "are"
    return TelzinoArgumentError(
        f"{len(rejects):,} of {total:,} contacts {is_or_are} invalid, and nobody is called: "
        f"{'; '.join(named)}."
    )


def check_literal_contacts(given: object) -> None:
    """Check contacts that stand in the DAG file, when it is parsed; anything else is known only at run time.

    Raises:
        TelzinoArgumentError: A contact is invalid. The message names the positions.
    """
    literal = ContactSource.of(given).given
    if not isinstance(literal, (list, tuple)):
        return
    contacts, rejects = read_contacts(literal)
    if rejects:
        raise contacts_error(contacts, rejects)


class _Problems(list[str]):
    """What is wrong with a contact."""

    def of(self, check: Callable[..., Value], *given: Any) -> Value | None:
        """Call a check; add what it raises."""
        try:
            return check(*given)
        except TelzinoArgumentError as error:
            self.append(str(error.args[0]))
            return None


@dataclass
class _Reader:
    """Reads contacts one by one, by what holds for all of a campaign."""

    render: Render | None
    metadata: Mapping[str, Any]
    callback_url: str | None
    timezone: str | None
    check_hours: Callable[[Mapping[str, Any]], object] | None
    mark: Mark | None
    contacts: list[Contact] = field(default_factory=list)
    problems: dict[int, _Problems] = field(default_factory=lambda: defaultdict(_Problems))
    """By position."""
    numbers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Where each number is, also of a contact that has a problem."""
    keys: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Where each id is."""

    def read(self, position: int, given: object) -> None:
        """Read a contact, and note its problems."""
        problems = _Problems()
        contact = self._read(position, given, problems)
        if problems:
            self.problems[position] = problems
        elif contact is not None:
            self.contacts.append(contact)

    def _read(self, position: int, given: object, problems: _Problems) -> Contact | None:
        entry = problems.of(_as_dict, given)
        if entry is None:
            return None
        to_number = problems.of(_checked_number_in, entry)
        contact_id = problems.of(_checked_id, entry.get("id"), to_number)
        timezone = self._own(entry, "timezone", checked_zone, problems) or self.timezone
        callback_url = self._own(entry, "callback_url", checked_callback_url, problems) or self.callback_url
        call_context = self._own(entry, "call_context", checked_context, problems)
        metadata = self._own(entry, "metadata", self._merged, problems) or self.metadata
        if to_number is not None:
            self.numbers[to_number].append(position)
        if contact_id is not None:
            self.keys[str(contact_id)].append(position)
        if problems or to_number is None or contact_id is None:
            return None
        fields = {**entry, "to_number": to_number, "id": contact_id, "timezone": timezone}
        if call_context is None and self.render is not None:
            call_context = problems.of(_rendered, self.render, fields)
        if self.mark is not None:
            problems.of(_check_marked, self.mark, metadata, str(contact_id))
        if self.check_hours is not None:
            problems.of(self.check_hours, fields)
        key = str(contact_id)
        return Contact(
            *(position, contact_id, key, to_number, call_context, metadata, callback_url, timezone, fields)
        )

    @staticmethod
    def _own(
        entry: Mapping[str, Any], name: str, check: Callable[[Any], Value], problems: _Problems
    ) -> Value | None:
        """Check what a contact has instead of the campaign's. An empty cell of a table is nothing."""
        value = entry.get(name)
        return None if value is None or (isinstance(value, str) and not value) else problems.of(check, value)

    def _merged(self, own: object) -> dict[str, Any]:
        return checked_metadata({**self.metadata, **checked_metadata(own)})

    def result(self) -> tuple[list[Contact], list[Reject]]:
        """Return the contacts that can be called, and the rejects, after the last one was read."""
        repeated = dict(_repeated(self.keys, "id")) | dict(_repeated(self.numbers, "number"))
        for position, problem in repeated.items():
            self.problems[position].append(problem)
        rejects = [Reject(position, " ".join(found)) for position, found in sorted(self.problems.items())]
        return [each for each in self.contacts if each.position not in repeated], rejects


def _as_dict(given: object) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    if isinstance(given, (str, int, float)):  # a number, right or wrong
        return {"to_number": given}
    raise TelzinoArgumentError(
        f"It should be a phone number (text) or a dict with `to_number`; its type is {type(given).__name__}."
    )


def _checked_number_in(given: Mapping[str, Any]) -> str:
    if "to_number" not in given:
        other = next((name for name in given if str(name).lower() in _NUMBER_NAMES), None)
        fix = "." if other is None else f": rename {str(other).lower()!r}."
        raise TelzinoArgumentError(f"It has no `to_number`{fix}")
    to_number = given["to_number"]
    if isinstance(to_number, str) and any(mark in to_number for mark in TEMPLATE_MARKS):
        raise TelzinoArgumentError(
            "`to_number` is a template, but a contact is never rendered. Make all of `contacts` a template."
        )
    return checked_number(to_number)


def _checked_id(given: object, to_number: str | None) -> str | int | None:
    if given is None:
        return to_number
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise TelzinoArgumentError(
            f"`id` should be text or a whole number, but is of type {type(given).__name__}."
        )
    try:
        text = str(given)
    except ValueError:  # Python converts no number of more than 4,300 digits
        text = "0" * (MAX_ID_CHARACTERS + 1)
    if not text.strip() or len(text) > MAX_ID_CHARACTERS:
        raise TelzinoArgumentError(
            f"`id` should have 1 to {MAX_ID_CHARACTERS} characters. It has {len(text)}."
        )
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise TelzinoArgumentError("`id` contains a NUL or a lone surrogate, which Airflow can't store.")
    return given


def _rendered(render: Render, fields: Mapping[str, Any]) -> str:
    try:
        text = render(fields)
    except Exception as error:  # templates can raise anything
        # Not chained: its message may contain the contact.
        raise TelzinoArgumentError(
            f"`call_context` can't be rendered for this contact: {type(error).__name__}."
        ) from None
    return checked_context(text)


def _check_marked(mark: Mark, metadata: Mapping[str, Any], key: str) -> None:
    """Check the size of the metadata with what the task adds to it."""
    checked_metadata(mark(metadata, key))


def _hours_check(limits: DialLimits | None) -> Callable[[Mapping[str, Any]], object] | None:
    """Return a check that a contact's time zone is known, and that it may ever be called there."""
    if limits is None or limits.hours is None:
        return None
    now = pendulum.now("UTC")
    next_opening = functools.cache(limits.next_opening)  # many contacts share their zones
    return lambda fields: next_opening(tuple(zones_of(fields)), now)


def _repeated(positions: Mapping[str, list[int]], what: str) -> Iterable[tuple[int, str]]:
    """Yield each position of those that share a value, with what is wrong."""
    for group in positions.values():
        for position in group if len(group) > 1 else ():
            other = group[1] if position == group[0] else group[0]
            yield position, f"It has the same {what} as position {other:,}."
