"""What a campaign knows from its earlier worker runs, as it survives a deferral."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from airflow_provider_telzino.placing.contacts import Contact

MAX_SETTLED = 2_000
"""Contacts that are remembered. Airflow stores them in a column of 64 KB on MySQL. Should there be more, the
others are asked about again: harmless, since none of them was called."""


class Settled(NamedTuple):
    """Why a contact is not called any more, whatever its calls."""

    outcome: str
    error: str | None
    """Why the API refused the call."""


@dataclass(frozen=True)
class CampaignMemory:
    """What a campaign knows from its earlier worker runs. All else is in Telzino's list of calls."""

    was_deferred: bool = False
    """Whether this process resumes the campaign."""
    agent_id: str | None = None
    """The agent that it began with."""
    started: datetime | None = None
    """When it first started since its last clear, as far as that is known."""
    has_read_list: bool = False
    """Whether it has read the agent's list. Until then, calls of an earlier try may show an earlier start."""
    known_until: datetime | None = None
    """Until when it may have placed calls: the list shows them some time later. ``None`` if unknown."""
    clock_lead: float = 0.0
    """By how many seconds Telzino's clock is ahead of ours."""
    settled: Mapping[str, Settled] = field(default_factory=dict)
    """By the contact's key."""
    was_refused: bool = False
    """Whether the trigger before this worker run was refused, while the worker before it was not."""

    def to_json(self, contacts: Iterable[Contact]) -> dict[str, Any]:
        """Return it as arguments of the resume method. Contacts are named by their position only."""
        groups: dict[Settled, list[list[int]]] = {}
        count = 0
        for contact in contacts:
            if (settled := self.settled.get(contact.key)) and count < MAX_SETTLED:
                count += 1
                groups.setdefault(settled, []).append([contact.position, _checksum(contact)])
        return {
            "agent_id": self.agent_id,
            "started": None if self.started is None else self.started.isoformat(),
            "has_read_list": self.has_read_list,
            "known_until": None if self.known_until is None else self.known_until.isoformat(),
            "clock_lead": self.clock_lead,
            "settled": [[*settled, positions] for settled, positions in groups.items()],
            "was_refused": self.was_refused,
        }

    @classmethod
    def restored(cls, stored: Mapping[str, Any], contacts: Iterable[Contact]) -> CampaignMemory:
        """Read it in the process that resumes the campaign. What Airflow has dropped is unknown."""
        by_place = {(contact.position, _checksum(contact)): contact.key for contact in contacts}
        settled: dict[str, Settled] = {}
        for outcome, error, positions in stored.get("settled") or ():
            for position, checksum in positions:
                if key := by_place.get((position, checksum)):
                    settled[key] = Settled(outcome, error)
        return cls(
            was_deferred=True,
            agent_id=stored.get("agent_id"),
            started=_moment(stored.get("started")),
            has_read_list=bool(stored.get("has_read_list")),
            known_until=_moment(stored.get("known_until")),
            clock_lead=float(stored.get("clock_lead") or 0.0),
            settled=settled,
            was_refused=bool(stored.get("was_refused")),
        )


def _checksum(contact: Contact) -> int:
    """Tell whether a position holds another contact now. It is far too short to find a number by it."""
    return zlib.crc32(f"{contact.key} {contact.to_number}".encode()) & 0xFFFF


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
