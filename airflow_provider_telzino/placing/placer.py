"""Places a task's calls, each exactly once: finds those that it has placed, and dials if the rules say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.exceptions import (
    TelzinoBadRequestError,
    TelzinoCredentialsError,
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoPermissionError,
    TelzinoTransientError,
    TelzinoUnknownPlacementError,
)
from airflow_provider_telzino.models import has_ended
from airflow_provider_telzino.placing.memory import Memory
from airflow_provider_telzino.placing.search import CallSearch, InconclusiveSearchError
from airflow_provider_telzino.placing.task_run import read_task_run
from airflow_provider_telzino.placing.task_state import (
    CallId,
    StoredCalls,
    TaskState,
    UnreadableError,
)
from airflow_provider_telzino.rules import search as rules
from airflow_provider_telzino.rules.attempts import (
    Attach,
    Dial,
    Done,
    RedialRules,
    Step,
    WaitUntil,
    next_step,
)
from airflow_provider_telzino.rules.identity import History, identity_in, with_identity
from airflow_provider_telzino.version_compat import clears_delete_task_state

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook

REFUSALS = (
    TelzinoBadRequestError,
    TelzinoCredentialsError,
    TelzinoPermissionError,
    TelzinoNotFoundError,
)
"""Answers to a POST that say for certain that no call was placed."""


class CallPlacer:
    """Finds the calls that a task has placed, decides what follows, and dials.

    Args:
        hook: The hook of the task's connection.
        agent_id: The agent that calls.
        context: Airflow's context.
        log: The task's logger.
        to_number: The number that the task calls.
        redialling: When it calls again.
        memory: What it knows from earlier.
    """

    def __init__(
        self,
        hook: TelzinoHook,
        agent_id: str,
        context: Context,
        log: Any,
        *,
        to_number: str,
        redialling: RedialRules,
        memory: Memory,
    ) -> None:
        self.run = read_task_run(context)
        self.history = History()
        """The task's calls, once ``next_step`` has found them."""
        self.started = memory.started or datetime.now(timezone.utc)
        """When the task first started since its last clear, as far as that is known."""
        self.agent_id = agent_id
        self._hook = hook
        self._to_number = to_number
        self._redialling = redialling
        self._memory = memory
        self._state = TaskState(context, log)
        self._clears_delete_state = clears_delete_task_state(context["ti"])
        self._log = log

    def next_step(self, *, find_all: bool = False) -> Step:
        """Find the task's calls, as far as that is needed, and decide what follows.

        Args:
            find_all: Find all of them, even those that don't matter for what follows.

        Raises:
            TelzinoUnknownPlacementError: Whether there is such a call could not be determined.
        """
        stored, known = self._known_calls()
        step = self._decide(known.calls)
        plan = self._plan_search(known, step)
        # An outcome may not be the last one if a later dial is unaccounted for.
        may_have_newer = isinstance(step, Done) and known.dialling_since is not None
        if plan is not None and (isinstance(step, (Dial, WaitUntil)) or may_have_newer or find_all):
            step = self._search(plan, known.calls, (stored and stored.dialling_agent) or self.agent_id)
        if self.history.attempts:
            self._store_calls()
        self._warn_of_other_numbers()
        return step

    def dial(
        self,
        dial: Dial,
        call_context: str | None,
        metadata: Mapping[str, Any],
        callback_url: str | None,
        *,
        check: Callable[[], None],
        check_again: Callable[[], None],
    ) -> Record:
        """Place a call. If the API's answer is lost, search for the call.

        Args:
            dial: The step that was decided.
            call_context: See the hook's ``place_call``, as for the next two.
            metadata: Same, as the DAG author gave it.
            callback_url: Same.
            check: Called before each POST. If it raises, nothing is sent.
            check_again: Called directly before each POST, after Airflow has confirmed that this process runs
                the task, which may take a while. If it raises, nothing is sent.

        Returns:
            The API's answer with the agent's id, or the call as the list has it.

        Raises:
            TelzinoUnknownPlacementError: The answer was lost, and the call was not found; or another process
                may be running the task.
        """
        began = datetime.now(timezone.utc)

        def before_send() -> None:
            try:
                check()
                self._state.confirm_dialling(
                    *(self.agent_id, self.started, self.run.generation), conn_id=self._hook.telzino_conn_id
                )
                check_again()
            except BaseException:
                # Nothing is sent, and whatever was sent before has placed no call.
                self._store_calls()
                raise

        marked = with_identity(metadata, self.run, dial.attempt)
        request = (self._to_number, call_context, marked, callback_url)
        try:
            call = self._hook.place_call(*request, self.agent_id, before_send=before_send)
        except REFUSALS:
            self._store_calls()
            raise
        except TelzinoTransientError as error:
            if not error.maybe_received:
                self._store_calls()
                raise
            self._log.warning("%s Searching for the call.", error.sentence)
            call = self._find_lost(error, began, identity_in({"request_metadata": marked}))
            self._log.info("Found call %s: it was placed, only the answer was lost.", call["id"])
        else:
            self._log.info("Placed call %s.", call["id"])
        # The answer has no metadata; as a call of the task's history it has that which was sent.
        call = {**call, "agent_id": self.agent_id}
        placed = {"to_number": self._to_number, **call, "request_metadata": marked}
        self.history = History.of((placed, *self.history.current), self.run, self._to_number)
        self._store_calls()
        return call

    def memory(self, call: Mapping[str, Any] | None = None) -> Memory:
        """Return what the task has to know later.

        Args:
            call: The call that it continues or ends with; then calls of other rounds don't matter.
        """
        calls = self.history.attempts if call is None else self.history.attempts_with(dict(call))
        return replace(self._memory, started=self.started, has_waited=False).with_calls(calls)

    # --- What is known ---

    def _known_calls(self) -> tuple[StoredCalls | None, rules.KnownCalls]:
        """Get the calls that the task knows from its deferral, and from Airflow's task state."""
        ids = [CallId.of(call) for call in self._memory.calls or ()]
        try:
            stored = self._state.read()
        except UnreadableError as error:
            self._log.warning(
                "Could not read this task's state from Airflow (%s). Searching the agent's list instead.",
                error,
            )
            calls, _ = self._own(ids)
            return None, rules.KnownCalls(is_readable=False, calls=calls)
        if stored is None or stored.generation != self.run.generation:
            self._state.store_start(self.started, self.run.generation, self.run.expanded_at)
        else:
            self.started = min(self.started, stored.started)
            self.run = replace(self.run, expanded_at=stored.expanded_at)
        self.run = replace(self.run, started=self.started)
        calls, all_foreign = self._own([*ids, *(stored.calls if stored else ())])
        return stored, rules.KnownCalls(
            is_supported=self._state.is_supported,
            # If none is this task's, then what is stored says nothing: it comes from another Telzino, or
            # another contact had this map index.
            is_readable=not all_foreign,
            # Airflow doesn't always report the clear itself: see `TaskRun.was_cleared`.
            may_be_deleted=stored is None and self._clears_delete_state,
            calls=calls,
            dialling_since=stored.dialling_since if stored else None,
        )

    def _own(self, ids: Iterable[CallId]) -> tuple[tuple[Record, ...], bool]:
        """Get calls by their ids; return those that are this task's, and whether there are only others."""
        calls = [self._get(each) for each in dict.fromkeys(ids)]
        if self.run.is_mapped:
            history = History.of(calls, self.run, self._to_number)
            own = (*history.current, *history.earlier)
        else:  # they are known to be all, even if the number has changed since
            own = tuple(each for each in calls if self.run.is_same_task(each) and self.run.is_own_index(each))
        return own, bool(calls) and not own

    def _get(self, call: CallId) -> Record:
        try:
            return {**self._hook.get_call(call.id, call.agent_id), "agent_id": call.agent_id}
        except TelzinoNotFoundError as error:
            raise self._unknown(
                f"This task has placed call {call.id}, but the API does not know it. Does the connection "
                "still lead to the same Telzino account? If the call is gone for good, docs/placing.md says "
                "how to call again."
            ) from error

    def _decide(self, calls: Iterable[Record]) -> Step:
        unique = {call["id"]: call for call in reversed([*calls])}
        self.history = History.of(unique.values(), self.run, self._to_number)
        waited_after = self._memory.waited_after(unique.values())
        now = datetime.now(timezone.utc)
        return next_step(self.history, self.run, self._redialling, now, waited_after)

    def _warn_of_other_numbers(self) -> None:
        for call in self.history.current:
            if (call.get("to_number") or self._to_number) != self._to_number:
                self._log.warning(
                    "Call %s went to another number than the task has now. Clear the task to call the new "
                    "number.",
                    call["id"],
                )

    # --- What has to be searched ---

    def _plan_search(self, known: rules.KnownCalls, step: Step) -> rules.SearchPlan | None:
        if not self._memory.was_deferred or self._state.is_supported or not known.is_readable:
            return rules.plan_search(self.run, known)
        until = self._memory.known_until
        if until is None:
            return rules.exhaustive_search(self.run.since)
        if not isinstance(step, Dial):
            return None
        # Airflow may run the same resumption twice, for example if a scheduler dies. Before 3.3 only the list
        # shows what the first process did, long enough ago that it needs no pauses.
        since = until - rules.CLOCK_MARGIN
        return rules.SearchPlan(since, rules.MAX_SEARCH_PAGES, (0.0,), is_exhaustive=False)

    def _search(self, plan: rules.SearchPlan, known: Sequence[Record], agent_id: str) -> Step:
        """Search the list until a call is found that the task has to wait for, or to end with."""
        known_ids = {call["id"] for call in known}
        if plan.is_exhaustive:
            self._log.info("Searching the agent's list for a call that this task may have placed before.")
        try:
            for found in CallSearch(self._hook, agent_id, self.run, self._log).passes(plan):
                own = History.of(found, self.run, self._to_number)
                new = [call for call in (*own.current, *own.earlier) if call["id"] not in known_ids]
                step = self._decide((*known, *map(self._up_to_date, new)))
                if new and isinstance(step, (Attach, Done)):
                    break
        except InconclusiveSearchError as error:
            raise self._unknown(
                f"Could not determine whether this task has already placed a call. {error}"
            ) from error
        return step

    def _up_to_date(self, call: Record) -> Record:
        """Return a call's own record unless the call has ended: the status in a list may be outdated."""
        if has_ended(call):
            return call
        try:
            record = self._hook.get_call(call["id"], call["agent_id"], retry_for=0)
        except (TelzinoNotFoundError, TelzinoTransientError):  # the list knows more at this moment
            return call
        return {**record, "agent_id": call["agent_id"]}

    def _find_lost(self, lost: TelzinoTransientError, began: datetime, identity: Mapping[str, Any]) -> Record:
        """Find the call of a POST whose answer was lost."""
        earlier = {call["id"] for call in (*self.history.current, *self.history.earlier)}
        failure = f"The request to place the call failed: {lost.args[0]}"
        plan = rules.exhaustive_search(began - rules.CLOCK_MARGIN)
        try:
            for found in CallSearch(self._hook, self.agent_id, self.run, self._log).passes(plan):
                for call in found:
                    if identity_in(call) == identity and call["id"] not in earlier:
                        return call
        except (InconclusiveSearchError, TelzinoError) as error:
            raise self._unknown(f"{failure} The search for the call failed, too: {error.args[0]}") from error
        raise self._unknown(
            f"{failure} No call of this task appeared in the agent's list within "
            f"{sum(rules.LIST_LAG_PAUSES):g} s."
        ) from lost

    # --- What is stored ---

    def _store_calls(self) -> None:
        calls = [CallId.of({"agent_id": self.agent_id, **call}) for call in self.history.attempts]
        self._state.store_calls(calls, self.started, self.run.generation)

    def _unknown(self, message: str) -> TelzinoUnknownPlacementError:
        return TelzinoUnknownPlacementError(
            f"{message} So that nobody is called twice, the task doesn't dial. A retry searches again.",
            conn_id=self._hook.telzino_conn_id,
        )
