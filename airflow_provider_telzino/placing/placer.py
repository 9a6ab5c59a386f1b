"""Places a task's call exactly once: the shell around the rules in ``airflow_provider_telzino.placing``."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.exceptions import (
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoTransientError,
    TelzinoUnknownPlacementError,
)
from airflow_provider_telzino.models import has_ended
from airflow_provider_telzino.placing.task_state import KeptCall, UnreadableError, UnwritableError
from airflow_provider_telzino.rules import dialling
from airflow_provider_telzino.rules.dialling import Attach, Dial, Search, TaskRun, created_at, decide

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook


class CallPlacer:
    """Finds the call that a task has placed before, or places it.

    Args:
        hook: The hook of the task's connection.
        agent_id: The agent that calls.
        context: Airflow's context.
        log: The task's logger.
    """

    def __init__(self, hook: TelzinoHook, agent_id: str, context: Context, log: Any) -> None:
        self.run = TaskRun.from_context(context)
        self._hook = hook
        self._agent_id = agent_id
        self._kept = KeptCall(context, log)
        self._log = log
        self._known: set[str] = set()  # ids of the task's calls that were seen before it dials

    def next_step(self, *, fail_on: Collection[str], reattach: bool) -> Attach | Dial:
        """Look for the task's earlier calls, and decide whether it goes on with one of them or dials.

        Raises:
            TelzinoUnknownPlacementError: Whether there is such a call can't be known now.
        """
        rules: dict[str, Any] = {"fail_on": fail_on, "reattach": reattach}
        try:
            kept = self._kept.recall()
            dialled_since = None if kept or self.run.is_first else self._kept.dialled_since()
        except UnreadableError as error:
            self._log.warning("Airflow can't tell whether it has kept this task's call: %s.", error)
            return self._told(self._look_until_sure(self.run, rules))
        if kept is not None:
            call = self._get_kept(*kept)
            step = decide([call], self.run, **rules)
            if isinstance(step, Attach):
                return self._told(step)
            # Before it dials, it still has to look: a crash may have come before a newer call was kept.
            return self._told(self._look_until_sure(self._since(created_at(call)), rules))
        # If no process has dialled by Airflow's books, there is a cheap look all the same: they may be wrong,
        # such as after its database was restored or Airflow was upgraded between the tries.
        if self.run.is_first:
            return self._told(self._decide(self._look(self.run, at_most=1), rules))
        if self._kept.is_possible and dialled_since is None and not self.run.was_cleared:
            pages = dialling.MAX_SEARCH_PAGES
            return self._told(self._decide(self._look(self.run, at_most=pages), rules))
        return self._told(self._look_until_sure(self._since(dialled_since), rules))

    def dial(
        self,
        to_number: str,
        call_context: str | None,
        metadata: Mapping[str, Any],
        callback_url: str | None,
        *,
        is_killed: Callable[[], bool],
    ) -> Record:
        """Place the call. If the answer is lost, find out what became of it.

        Args:
            to_number: See the hook's ``place_call``, as for the next three.
            call_context: Same.
            metadata: Same.
            callback_url: Same.
            is_killed: Says whether the task was killed meanwhile.

        Returns:
            The API's answer with the agent's id, or the call as the list has it.

        Raises:
            TelzinoUnknownPlacementError: The answer was lost, and the call didn't show up in the list; or
                another process may have the task now.
        """
        began = datetime.now(timezone.utc)

        def check() -> None:
            self._mark_dialling()
            if is_killed():
                raise TelzinoError(
                    "The task was killed before it dialled.", conn_id=self._hook.telzino_conn_id
                )

        what = (to_number, call_context, metadata, callback_url)
        try:
            call = self._keep(self._hook.place_call(*what, self._agent_id, before_send=check))
        except TelzinoTransientError as error:
            if not error.maybe_received:
                raise
            self._log.warning("%s Looking for it.", error)
            return self._keep(self._find_lost(error, began))
        self._log.info("Placed call %s.", call["id"])
        return call

    def find(self) -> Record:
        """Find the call that the task placed last. Never dials.

        Returns:
            The call with its agent's id.

        Raises:
            TelzinoUnknownPlacementError: There is none to be found.
        """
        rules: dict[str, Any] = {"fail_on": (), "reattach": True}
        try:
            kept = self._kept.recall()
        except UnreadableError:
            kept = None
        if kept is not None:
            return self._get_kept(*kept)
        step = self._look_until_sure(self.run, rules)
        if isinstance(step, Dial):
            raise self._unknown("The call that this task waits for can't be found in the agent's list.")
        return {**step.call, "agent_id": self._agent_id}

    def _get_kept(self, call_id: str, agent_id: str) -> Record:
        try:
            return {**self._hook.get_call(call_id, agent_id), "agent_id": agent_id}
        except TelzinoNotFoundError as error:
            raise self._unknown(
                f"Airflow has kept call {call_id} for this task, but the API doesn't know it. Does the "
                f"connection's Host still lead to the same Telzino? {dialling.WAY_OUT}"
            ) from error

    def _mark_dialling(self) -> None:
        try:
            self._kept.mark_dialling()
        except UnwritableError as error:
            raise self._unknown(
                f"Airflow did not take the mark that the task dials now ({error}): its API is away, or "
                "it has given the task to another process."
            ) from error

    def _look_until_sure(self, run: TaskRun, rules: dict[str, Any]) -> Attach | Dial:
        """Look again and again, until a call that an earlier process placed must have come into the list."""
        for pause in (0.0, *dialling.LIST_LAG_PAUSES):
            time.sleep(pause)
            try:
                step = self._decide(self._look(run), rules)
            except TelzinoTransientError as error:
                raise self._unknown(
                    f"Whether this task has placed a call before can't be known now: {error.args[0]}"
                ) from error
            if isinstance(step, Attach):
                self._keep(step.call)
                break
        return step

    def _decide(self, own: list[Record], rules: dict[str, Any]) -> Attach | Dial:
        """Decide by a call's own record unless it has ended: a list may be behind with its status."""
        return decide([call if has_ended(call) else self._fresh(call) for call in own], self.run, **rules)

    def _fresh(self, call: Record) -> Record:
        try:
            return self._hook.get_call(call["id"], self._agent_id, retry_for=0)
        except (TelzinoNotFoundError, TelzinoTransientError):  # then the list knows more
            return call

    def _find_lost(self, lost: TelzinoTransientError, began: datetime) -> Record:
        known, just_now = frozenset(self._known), self._since(began)
        for pause in (0.0, *dialling.LIST_LAG_PAUSES):
            time.sleep(pause)
            try:
                found = [call for call in self._look(just_now) if call["id"] not in known]
            except TelzinoError as error:
                raise self._unknown(
                    f"Placing the call got no good answer ({lost.args[0]}), and it can't be looked for now: "
                    f"{error.args[0]}"
                ) from error
            if found:
                self._log.info("Found call %s: it was placed, only the answer was lost.", found[0]["id"])
                return found[0]
        raise self._unknown(
            f"Placing the call got no good answer ({lost.args[0]}), and no call of this task came into the "
            f"agent's list within {sum(dialling.LIST_LAG_PAUSES):g} s."
        ) from lost

    def _look(self, run: TaskRun, *, at_most: int | None = None) -> list[Record]:
        """Search the agent's list once; the whole of it that matters, unless so many pages will do."""
        search = Search(run, at_most or dialling.MAX_SEARCH_PAGES)
        for items, more in self._hook.call_pages(self._agent_id):
            if not search.take(items, more):
                break
        if at_most is None:
            if not search.complete:
                raise self._unknown(
                    f"The agent has placed more than {dialling.MAX_SEARCH_PAGES * 100:,} calls since this "
                    f"DAG run was due, too many to look for this task's among them. {dialling.WAY_OUT}"
                )
            if len(search.unclear) > dialling.MAX_SINGLE_LOOKS:
                raise self._unknown(
                    f"The agent's list doesn't say who placed its calls, and {len(search.unclear)} are too "
                    "many to look at one by one."
                )
            for call_id in search.unclear:
                search.take_record(self._hook.get_call(call_id, self._agent_id))
        self._known.update(call["id"] for call in search.own)
        return search.own

    def _since(self, moment: datetime | None) -> TaskRun:
        """Narrow a search to calls that were placed from this moment on."""
        return self.run if moment is None else replace(self.run, since=moment - dialling.CLOCK_MARGIN)

    def _keep(self, call: Record) -> Record:
        self._kept.keep(call["id"], self._agent_id)
        return {**call, "agent_id": self._agent_id}

    def _told(self, step: Attach | Dial) -> Attach | Dial:
        if isinstance(step, Attach):
            self._log.info("Going on with call %s, which this task placed: %s.", step.call["id"], step.why)
        else:
            self._log.info("Placing a call: %s.", step.why)
        return step

    def _unknown(self, message: str) -> TelzinoUnknownPlacementError:
        return TelzinoUnknownPlacementError(
            f"{message} So as not to ring a person twice, the task doesn't dial. A retry looks again first.",
            conn_id=self._hook.telzino_conn_id,
        )
