"""Puts the outcomes of a campaign's contacts together, in the order of the contacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_telzino.api.call_lists import CallOfAgent
from airflow_provider_telzino.exceptions import TelzinoError
from airflow_provider_telzino.models import talk_seconds
from airflow_provider_telzino.placing.campaign import Finished
from airflow_provider_telzino.placing.campaign_memory import Settled
from airflow_provider_telzino.placing.contacts import Contact
from airflow_provider_telzino.rules.campaign_results import NOT_CALLED, Summary, result_of
from airflow_provider_telzino.rules.identity import Record
from airflow_provider_telzino.rules.waiting import OutcomePolicy

if TYPE_CHECKING:
    from airflow_provider_telzino.hooks.telzino import TelzinoHook


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
    problem: TelzinoError | None
    """Why contacts were not called that should have been."""


class RecordFetch:
    """Gets the final records of a campaign's calls, a few at a time.

    Args:
        hook: The hook of the task's connection.
        agent_id: The agent that made the calls.
        policy: What is pushed of a record.
        log: The task's logger.
    """

    def __init__(self, hook: TelzinoHook, agent_id: str, policy: OutcomePolicy, log: Any) -> None:
        self._hook = hook
        self._agent_id = agent_id
        self._policy = policy
        self._log = log
        self._lacking: set[str] = set()

    def __call__(self, ids: Sequence[str]) -> list[FinalRecord | None]:
        """Get them in the order of their ids; ``None`` for one that the API doesn't know any more."""
        from airflow_provider_telzino.hooks.records import fetch_records

        calls = [CallOfAgent(call_id, self._agent_id) for call_id in ids]
        records = fetch_records(self._hook, calls, log=self._log, keep=self._keep)
        if self._lacking:
            missing = ", ".join(sorted(self._lacking))
            self._log.warning("Records have no field %s: it is not pushed.", missing)
        return records

    def _keep(self, record: Record) -> FinalRecord:
        self._lacking |= self._policy.lacking(record)
        return FinalRecord(str(record["status"]), talk_seconds(record), self._policy.pick(record))


def collect_results(
    contacts: Sequence[Contact],
    finished: Finished,
    settled: Mapping[str, Settled],
    fetch: Callable[[Sequence[str]], Sequence[FinalRecord | None]],
    problem: TelzinoError | None = None,
) -> CampaignResults:
    """Put the outcomes together.

    Args:
        contacts: All contacts.
        finished: Where they are.
        settled: Why some were never called, by their key.
        fetch: Gets the records of calls, in the order of their ids; ``None`` for one that the API doesn't
            know any more.
        problem: Why contacts were not called that should have been.
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
    return CampaignResults(rows, summary, len(finished.overdue), problem)
