"""Puts the outcomes of a campaign's contacts together, in the order of the contacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow_provider_telzino.placing.campaign import Finished
from airflow_provider_telzino.placing.campaign_memory import Settled
from airflow_provider_telzino.placing.contacts import Contact
from airflow_provider_telzino.rules.campaign_results import NOT_CALLED, Summary, result_of


class FinalRecord(NamedTuple):
    """What a campaign needs of a call's record."""

    status: str
    talk_time: float
    """In seconds."""
    kept: Mapping[str, Any]
    """What is pushed of it."""


@dataclass(frozen=True)
class CampaignResults:
    """What a campaign pushes when nobody is called any more."""

    rows: list[dict[str, Any]]
    """One for each contact."""
    summary: Summary
    overdue: int
    """How many calls have not ended within their timeout."""


def collect_results(
    contacts: Sequence[Contact],
    finished: Finished,
    settled: Mapping[str, Settled],
    fetch: Callable[[Sequence[str]], Sequence[FinalRecord | None]],
) -> CampaignResults:
    """Put the outcomes together.

    Args:
        contacts: All contacts.
        finished: Where they are.
        settled: Why some were never called, by their key.
        fetch: Gets the records of calls, in the order of their ids; ``None`` for one that the API doesn't
            know any more.
    """
    by_key = {each.contact.key: each for each in (*finished.ended, *finished.overdue)}
    in_order = [by_key[contact.key] for contact in contacts]
    called = [each.call["id"] for each in in_order if each.call is not None]
    records = dict(zip(called, fetch(called), strict=True))
    rows, summary = [], Summary()
    for each in in_order:
        reason = settled.get(each.contact.key, Settled(NOT_CALLED, None))
        record = None if each.call is None else records[each.call["id"]]
        if each.call is None:
            outcome = reason.outcome
        else:
            outcome = str(each.call["status"]) if record is None else record.status
        summary.add(outcome, each.attempts, record.talk_time if record else 0.0)
        kept = record.kept if record else None
        rows.append(result_of(each.contact.id, outcome, each.attempts, kept, reason.error))
    return CampaignResults(rows, summary, len(finished.overdue))
