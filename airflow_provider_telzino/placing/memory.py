"""What a task that places calls knows from earlier: in this process, or before its deferral."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from airflow_provider_telzino.rules.search import CLOCK_MARGIN
from airflow_provider_telzino.xcom import attempt_summary

Calls = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Memory:
    """What a task knows of its calls. It survives a deferral in the arguments of the resume method."""

    calls: Calls | None = None
    """The task's calls, oldest first: ``id``, ``agent_id``, ``status``, ``created_at``. ``None`` if they are
    unknown: the task has just started, or Airflow has dropped the arguments, as ``dag.test()`` does."""
    started: datetime | None = None
    """When the task first started since its last clear, as far as that is known."""
    was_deferred: bool = False
    """Whether this process resumes the task."""
    known_until: datetime | None = None
    """If it does: the task has placed no other call before this time; ``None`` if that is unknown."""
    has_waited: bool = False
    """Whether the task has waited for its next attempt since it knew these calls."""

    def waited_after(self, found: Iterable[Mapping[str, Any]]) -> frozenset[str]:
        """Return the ids of the calls after which the task has waited.

        Args:
            found: The task's calls. If Airflow has dropped which ones the task knew, it has waited after
                these: ``dag.test()``, which does so, runs nothing else meanwhile.
        """
        known = found if self.calls is None else self.calls
        return frozenset(call["id"] for call in known) if self.has_waited else frozenset()

    @classmethod
    def restored(
        cls,
        attempts: Iterable[Mapping[str, Any]] | None = None,
        started: str | None = None,
        known_until: str | None = None,
        *,
        has_waited: bool = False,
    ) -> Memory:
        """Read it in the process that resumes the task. What Airflow has dropped is ``None``."""
        return cls(
            None if attempts is None else tuple(attempts),
            _moment(started),
            was_deferred=True,
            known_until=_moment(known_until),
            has_waited=has_waited,
        )

    def to_json(self, known_until: datetime) -> dict[str, Any]:
        """Return it as the arguments of a resume method, which ``restored`` gets."""
        return {
            "attempts": None if self.calls is None else list(self.calls),
            "started": None if self.started is None else self.started.isoformat(),
            "known_until": known_until.isoformat(),
        }

    def began_before(self, end: datetime | None) -> Memory:
        """Return the same of a task that has waited for a call until its end, on Telzino's clock.

        That clock may be behind ours. A call that went on over a clear must not seem to have ended before it.
        """
        if self.started is None or end is None or not self.started - CLOCK_MARGIN < end < self.started:
            return self
        return replace(self, started=end)

    def with_calls(self, calls: Iterable[Mapping[str, Any]]) -> Memory:
        """Return the same with other calls."""
        kept = tuple({**attempt_summary(call), "agent_id": call["agent_id"]} for call in calls)
        return replace(self, calls=kept)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
