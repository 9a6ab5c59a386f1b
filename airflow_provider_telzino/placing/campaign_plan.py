"""What a campaign will do, for a person to approve; and whether it is still what was approved."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import pendulum

from airflow_provider_telzino.exceptions import TelzinoArgumentError, TelzinoPlanChangedError
from airflow_provider_telzino.placing.contact_source import name_of, parsed
from airflow_provider_telzino.placing.contacts import Contact, Reject
from airflow_provider_telzino.rules.attempts import RedialRules
from airflow_provider_telzino.rules.permission import DialLimits, zones_of

UNKNOWN_ZONE = "unknown"
SEVERAL_ZONES = "several"

Plan = dict[str, Any]
Zones = tuple[str, ...]


def make_plan(
    contacts: Sequence[Contact],
    rejects: Sequence[Reject],
    *,
    settings: Mapping[str, Any],
    limits: DialLimits,
    redialling: RedialRules,
    now: pendulum.DateTime,
) -> Plan:
    """Say what a campaign that starts now would do. Nobody is called, and ``may_call`` isn't asked.

    Args:
        contacts: Those that can be called.
        rejects: Those that can't.
        settings: See :func:`fingerprint_of`.
        limits: When people may be called.
        redialling: How often.
        now: The time.

    Returns:
        The plan, for XCom. It has nobody's data.
    """
    zones = Counter(map(_zones, contacts))
    deadline = now + limits.dial_timeout
    in_time = {each: count for each, count in zones.items() if limits.next_opening(each, now) < deadline}
    return {
        "contacts": len(contacts),
        "rejects": [{"position": each.position, "reason": each.reason} for each in rejects],
        "time_zones": _zone_counts(zones),
        "calls_at_most": len(contacts) * (redialling.max_attempts if redialling.redial_on else 1),
        "not_in_time": len(contacts) - sum(in_time.values()),
        "first_dial": _iso(min((limits.next_opening(each, now) for each in in_time), default=None)),
        "last_dial": _iso(max((limits.last_closing(each, deadline) for each in in_time), default=None)),
        "fingerprint": fingerprint_of(contacts, settings=settings, limits=limits, redialling=redialling),
    }


def fingerprint_of(
    contacts: Iterable[Contact], *, settings: Mapping[str, Any], limits: DialLimits, redialling: RedialRules
) -> str:
    """Return a hash of all that decides who is called, when, how often and with what words.

    Of ``call_context``, it has the template and the fields of each contact, not the text that a run makes of
    them. Of ``may_call``, it has the name.

    Args:
        contacts: In their order.
        settings: The campaign's other arguments, such as ``call_context``, ``metadata``, ``callback_url``,
            ``timezone``, ``agent_id`` and ``max_active_calls``.
        limits: When people may be called.
        redialling: How often.
    """
    digest = hashlib.sha256(_text(["settings", settings, limits, redialling]))
    for contact in contacts:
        digest.update(b"\n" + _text(contact.fields))
    return digest.hexdigest()


def check_approval(approved_plan: object, fingerprint: str) -> None:
    """Check that a campaign is the one that was approved.

    Args:
        approved_plan: A plan, its fingerprint, or one of the two as text, which a rendered template is.
        fingerprint: The campaign's own.

    Raises:
        TelzinoArgumentError: It is neither of these; an empty one isn't, either.
        TelzinoPlanChangedError: It is the plan of something else.
    """
    approved = approved_plan.strip() if isinstance(approved_plan, str) else approved_plan
    if isinstance(approved, str) and not _is_fingerprint(approved):
        try:
            approved = parsed(approved)
        except ValueError:
            approved = None
    if isinstance(approved, Mapping):
        approved = approved.get("fingerprint")
    if not _is_fingerprint(approved):
        raise TelzinoArgumentError(
            "`approved_plan` should be the plan that a campaign with `dry_run=True` pushes, or its "
            f"`fingerprint`. It is neither, but of type {type(approved_plan).__name__}, so nobody is called. "
            "Has the task that makes the plan been run, and has it pushed an XCom?"
        )
    if approved != fingerprint:
        raise TelzinoPlanChangedError(
            "Contacts or settings of the campaign have changed since its plan was approved, so nobody is "
            "called. Make a plan again (`dry_run=True`), and have it approved."
        )


def _is_fingerprint(value: object) -> bool:
    digits = "0123456789abcdef"
    return isinstance(value, str) and len(value) == 64 and all(each in digits for each in value)


def _zones(contact: Contact) -> Zones:
    try:
        return tuple(zones_of(contact.fields))
    except TelzinoArgumentError:  # none is known; with calling hours, the contact would have been rejected
        return ()


def _zone_counts(zones: Mapping[Zones, int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for each, count in zones.items():
        name = SEVERAL_ZONES if len(each) > 1 else each[0] if each else UNKNOWN_ZONE
        counts[name] += count
    return dict(counts.most_common())


def _iso(moment: pendulum.DateTime | None) -> str | None:
    return None if moment is None else moment.in_timezone("UTC").isoformat(timespec="seconds")


def _text(value: object) -> bytes:
    """Return JSON that is the same for the same value in every process."""
    return json.dumps(_canonical(value)).encode()


def _canonical(value: object) -> Any:
    """Turn a value into JSON; what JSON doesn't have becomes the text of it, with its type."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        items = [[_canonical(key), _canonical(each)] for key, each in value.items()]
        return {"mapping": sorted(items, key=json.dumps)}
    if isinstance(value, (list, tuple)):
        return list(map(_canonical, value))
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(map(_canonical, value), key=json.dumps)}
    if is_dataclass(value) and not isinstance(value, type):
        return _canonical({each.name: getattr(value, each.name) for each in fields(value)})
    if callable(value):
        return {"function": name_of(value)}
    return {type(value).__name__: str(value)}
