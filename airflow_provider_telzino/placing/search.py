"""Searches an agent's list for the calls of a task, as far as a plan says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.api.endpoints import MAX_PAGE_SIZE
from airflow_provider_telzino.exceptions import TelzinoTransientError
from airflow_provider_telzino.rules.identity import TaskRun
from airflow_provider_telzino.rules.search import MAX_SINGLE_REQUESTS, SearchPass, SearchPlan

if TYPE_CHECKING:
    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook


class InconclusiveSearchError(Exception):
    """An exhaustive search could not be carried out to its end. The message says why."""


class CallSearch:
    """Searches for the calls of one task.

    Args:
        hook: The hook of the task's connection.
        agent_id: The agent whose list is searched.
        run: The task instance that runs.
        log: The task's logger.
        keep: What is kept of each call that is found; by default all of it.
    """

    sleep = staticmethod(lambda seconds: time.sleep(seconds))  # tests replace either

    def __init__(
        self,
        hook: TelzinoHook,
        agent_id: str,
        run: TaskRun,
        log: Any,
        keep: Callable[[Record], Record] = dict,
    ) -> None:
        self._hook = hook
        self._agent_id = agent_id
        self._run = run
        self._log = log
        self._keep = keep

    def passes(self, plan: SearchPlan) -> Iterator[list[Record]]:
        """Search as planned, until the caller has what it needs.

        Yields:
            After each pass through the list: the calls of the task in this DAG run, of any map index, each
            with its ``agent_id``.

        Raises:
            InconclusiveSearchError: The search had to be exhaustive, but could not be.
        """
        for pause in plan.pauses:
            if pause:
                self._log.info(
                    "No call found that this task may have placed; the list may show a new call late. "
                    "Searching again in %g s.",
                    pause,
                )
                self.sleep(pause)
            try:
                found = self._one_pass(plan)
            except TelzinoTransientError as error:
                if not plan.is_exhaustive:
                    raise
                raise InconclusiveSearchError(error.args[0]) from error
            yield [{**call, "agent_id": self._agent_id} for call in found]

    def _one_pass(self, plan: SearchPlan) -> list[Record]:
        search = SearchPass(self._run, plan, self._keep)
        for items, more in self._hook.call_pages(self._agent_id):
            if not search.add_page(items, more):
                break
        if not plan.is_exhaustive:
            return search.found
        if not search.is_complete:
            raise InconclusiveSearchError(
                f"The agent has placed more than {plan.max_pages * MAX_PAGE_SIZE:,} calls since this task "
                "may first have dialled, which are too many to search."
            )
        if len(search.unidentified) > MAX_SINGLE_REQUESTS:
            raise InconclusiveSearchError(
                f"The agent's list does not say who placed its calls, and {len(search.unidentified)} calls "
                "are too many to request one by one."
            )
        for call_id in search.unidentified:
            search.add_record(self._hook.get_call(call_id, self._agent_id))
        return search.found
