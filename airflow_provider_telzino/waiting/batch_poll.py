"""What a worker knows of the calls of a batch: which have ended, and their final records."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_telzino.api.call_lists import CallOfAgent
from airflow_provider_telzino.api.retry import RETRY_FOR
from airflow_provider_telzino.exceptions import TelzinoError, TelzinoRateLimitError
from airflow_provider_telzino.models import has_ended, is_conclusive
from airflow_provider_telzino.rules.batch import Progress, progress_text
from airflow_provider_telzino.rules.waiting import OutcomePolicy

if TYPE_CHECKING:
    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook

ITEMS_WORTH_A_REQUEST = 10  # items of other calls in the list cost as much as one call's own record


class Observed(NamedTuple):
    """What was last observed of a call."""

    status: str
    has_ended: bool
    record: dict[str, Any] | None = None
    """The final record, or its ``record_fields``; ``None`` if it wasn't read yet."""


class BatchPoll:
    """Polls the calls of a batch on a worker, by pages of their agents' lists, and reads their final records.

    Args:
        hook: Sends the requests.
        calls: The calls in the order of the results, each with its agent. A call may be among them twice.
        policy: Says what is kept of a record.
        log: The logger for the progress.
        default_agent_id: The agent of those calls for which neither task nor record named one.
    """

    def __init__(
        self,
        hook: TelzinoHook,
        calls: Sequence[CallOfAgent],
        *,
        policy: OutcomePolicy,
        log: Any,
        default_agent_id: str | None,
    ) -> None:
        self.default_agent_id = default_agent_id
        self._hook = hook
        self._given = calls
        self._policy = policy
        self._log = log
        self._calls = list(dict.fromkeys(calls))
        self._observed: dict[CallOfAgent, Observed] = {}
        self._missing: set[CallOfAgent] = set()
        self._lacking: set[str] = set()
        self._progress = Progress(self.total, now=-math.inf, delay=0.0)

    # --- What is known ---

    @property
    def total(self) -> int:
        """How many calls there are. One that was given twice counts once."""
        return len(self._calls)

    @property
    def counts(self) -> Counter[str]:
        """How many calls have ended, by status."""
        return Counter(each.status for each in self._observed.values() if each.has_ended)

    @property
    def is_complete(self) -> bool:
        """Whether all records are final, but for those of calls that the API doesn't know."""
        return not self._where(lambda call: not self._is_read(call))

    @property
    def has_records(self) -> bool:
        """Whether any final record was read."""
        return any(each.record is not None for each in self._observed.values())

    def live(self) -> list[CallOfAgent]:
        """Return the calls that were last seen live."""
        return self._where(lambda call: call in self._observed and not self._observed[call].has_ended)

    def awaited(self) -> list[CallOfAgent]:
        """Return the calls to wait for: those that aren't known to have ended, or else whose record lacks."""
        return self._where(self._may_be_live) or self._where(lambda call: not self._is_read(call))

    def missing_positions(self) -> list[int]:
        """Return the positions, from 1, of the calls that the API doesn't know."""
        return [position for position, call in enumerate(self._given, start=1) if call in self._missing]

    def records(self) -> list[dict[str, Any] | None]:
        """Return the final records in the order of the calls, with ``None`` where there is none."""
        if self._lacking:
            names = ", ".join(sorted(self._lacking))
            self._log.warning("Some records have no field %s: it is not pushed.", names)
        return [observed.record if (observed := self._observed.get(call)) else None for call in self._given]

    def __str__(self) -> str:
        return progress_text(self.total, self.counts, len(self._missing))

    # --- Requests ---

    def poll(self, *, retry_for: float) -> None:
        """Poll the calls that aren't known to have ended, and read the records of all if none is live.

        Args:
            retry_for: Seconds for which failures of a poll are retried.

        Raises:
            TelzinoTransientError: The API was not available. What was read before stays.
            TelzinoError: The API refused.
        """
        unlisted: list[CallOfAgent] = []
        by_agent = sorted(self._where(self._may_be_live), key=lambda call: call.agent_id or "")
        for agent_id, calls in itertools.groupby(by_agent, key=lambda call: call.agent_id):
            unlisted += self._read_list(agent_id, calls, retry_for)
        # One that isn't there yet may be a moment later.
        self._read(unlisted, retry_for=retry_for, not_found_is_final=True)
        if self._progress.is_due(self.counts.total(), time.monotonic()):
            self._log.info("%s.", str(self))
        if not self.live():
            self.read_records()

    def read_records(self) -> None:
        """Read the records of the calls that aren't live. Those that the API doesn't know are missing."""
        live = set(self.live())
        calls = self._where(lambda call: not self._is_read(call) and call not in live)
        self._missing.update(self._read(calls, retry_for=RETRY_FOR))

    def _read_list(
        self, agent_id: str | None, calls: Iterable[CallOfAgent], retry_for: float
    ) -> list[CallOfAgent]:
        """Read an agent's list as far as that is worth it. Returns the calls that it didn't show."""
        wanted = {call.call_id: call for call in calls}
        others = 0
        if len(wanted) <= ITEMS_WORTH_A_REQUEST:
            return list(wanted.values())
        try:
            for item in self._hook.list_calls(agent_id=agent_id, retry_for=retry_for):
                call = wanted.pop(item["id"].lower(), None) if is_conclusive(item) else None
                if call is None:
                    others += 1
                else:
                    self._observed[call] = Observed(item["status"], has_ended(item))
                if others >= ITEMS_WORTH_A_REQUEST * len(wanted):
                    break
        except TelzinoRateLimitError:
            raise
        except TelzinoError as error:
            # If it isn't only the list that fails, the calls' own records will, too.
            self._log.warning("%s Requesting %s calls singly.", error.sentence, f"{len(wanted):,}")
        return list(wanted.values())

    def _read(self, calls: Sequence[CallOfAgent], **arguments: Any) -> list[CallOfAgent]:
        """Read calls' own records. Returns the calls that the API doesn't know."""
        from airflow_provider_telzino.hooks.records import fetch_records

        found = fetch_records(self._hook, calls, log=self._log, keep=self._observe, **arguments)
        observed = dict(zip(calls, found, strict=True))
        self._observed.update({call: each for call, each in observed.items() if each is not None})
        return [call for call, each in observed.items() if each is None]

    def _observe(self, record: Record) -> Observed:
        if not has_ended(record):
            return Observed(record["status"], has_ended=False)
        self._lacking |= self._policy.lacking(record)
        return Observed(record["status"], has_ended=True, record=self._policy.pick(record))

    def _where(self, test: Callable[[CallOfAgent], bool]) -> list[CallOfAgent]:
        return [call for call in self._calls if call not in self._missing and test(call)]

    def _may_be_live(self, call: CallOfAgent) -> bool:
        return call not in self._observed or not self._observed[call].has_ended

    def _is_read(self, call: CallOfAgent) -> bool:
        return call in self._observed and self._observed[call].record is not None
