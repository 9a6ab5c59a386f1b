"""Places a task's call exactly once: carries out what ``airflow_provider_telzino.rules.dialling`` decides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.exceptions import (
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoTransientError,
    TelzinoUnknownPlacementError,
)
from airflow_provider_telzino.models import has_ended
from airflow_provider_telzino.placing.search import CallSearch, InconclusiveSearchError
from airflow_provider_telzino.placing.task_run import read_task_run
from airflow_provider_telzino.placing.task_state import StoredState, UnreadableError, UnwritableError
from airflow_provider_telzino.rules import dialling
from airflow_provider_telzino.rules.dialling import (
    Attach,
    Dial,
    SearchPlan,
    TaskState,
    decide,
    exhaustive_search,
    plan_search,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook


class CallPlacer:
    """Finds the call that a task has already placed, or places it.

    Args:
        hook: The hook of the task's connection.
        agent_id: The agent that calls.
        context: Airflow's context.
        log: The task's logger.
    """

    def __init__(self, hook: TelzinoHook, agent_id: str, context: Context, log: Any) -> None:
        self.run = read_task_run(context)
        self._hook = hook
        self._agent_id = agent_id
        self._stored = StoredState(context, log)
        self._search = CallSearch(hook, agent_id, self.run.identity)
        self._log = log

    def next_step(self, *, fail_on: Collection[str], reattach: bool) -> Attach | Dial:
        """Search for the task's earlier calls, and decide whether to continue with one of them or to dial.

        Args:
            fail_on: The outcomes after which the task dials again.
            reattach: Whether a cleared task continues with a call that has ended well.

        Returns:
            What to do. A call to continue with has its agent's id.

        Raises:
            TelzinoUnknownPlacementError: Whether there is such a call could not be determined.
        """
        state = self._read_state()
        # A stored call to continue with needs no search.
        stored = [] if state.call is None else [state.call]
        step = decide(stored, self.run, fail_on=fail_on, reattach=reattach)
        if isinstance(step, Dial):
            plan = plan_search(self.run, state)
            step = self._search_and_decide(plan, fail_on=fail_on, reattach=reattach)
        if isinstance(step, Attach):
            self._log.info(
                "Continuing with call %s, which this task has placed: %s.", step.call["id"], step.why
            )
        else:
            self._log.info("Placing a call: %s.", step.why)
        return step

    def dial(
        self,
        to_number: str,
        call_context: str | None,
        metadata: Mapping[str, Any],
        callback_url: str | None,
        *,
        is_killed: Callable[[], bool],
    ) -> Record:
        """Place the call. If the API's answer is lost, search for the call.

        Args:
            to_number: See the hook's ``place_call``, as for the next three.
            call_context: Same.
            metadata: Same.
            callback_url: Same.
            is_killed: Returns whether the task has been killed meanwhile.

        Returns:
            The API's answer with the agent's id, or the call as the list has it.

        Raises:
            TelzinoUnknownPlacementError: The answer was lost, and the call was not found; or another process
                may be running the task.
        """
        began = datetime.now(timezone.utc)

        def before_send() -> None:
            self._store_dialling()
            if is_killed():
                raise TelzinoError(
                    "The task was killed before it dialled.", conn_id=self._hook.telzino_conn_id
                )

        request = (to_number, call_context, metadata, callback_url)
        try:
            call = self._hook.place_call(*request, self._agent_id, before_send=before_send)
        except TelzinoTransientError as error:
            if not error.maybe_received:
                raise
            self._log.warning("%s Searching for the call.", error)
            call = self._find_lost(error, began)
            self._log.info("Found call %s: it was placed, only the answer was lost.", call["id"])
            return self._store(call)
        call = self._store(call)
        self._log.info("Placed call %s.", call["id"])
        return call

    def find(self) -> Record:
        """Find the call that the task has placed last, for a task that resumes. Never dials.

        Returns:
            The call with its agent's id.

        Raises:
            TelzinoUnknownPlacementError: It was not found.
        """
        state = self._read_state()
        if state.call is not None:
            return state.call
        step = self._search_and_decide(exhaustive_search(self.run.since), fail_on=(), reattach=True)
        if isinstance(step, Dial):
            raise self._unknown("The call that this task waits for is not in the agent's list.")
        return step.call

    # --- Airflow's task state ---

    def _read_state(self) -> TaskState:
        try:
            ids = self._stored.call()
            # Before the first try nobody can have stored this: that saves a request to Airflow.
            since = None if ids is not None or self.run.is_first else self._stored.dialling_since()
        except UnreadableError as error:
            self._log.warning(
                "Could not read this task's state from Airflow (%s). Searching the agent's list instead.",
                error,
            )
            return TaskState(is_readable=False)
        return TaskState(
            is_supported=self._stored.is_supported,
            call=None if ids is None else self._get_stored(*ids),
            dialling_since=since,
        )

    def _get_stored(self, call_id: str, agent_id: str) -> Record:
        try:
            return {**self._hook.get_call(call_id, agent_id), "agent_id": agent_id}
        except TelzinoNotFoundError as error:
            raise self._unknown(
                f"The task's state in Airflow names call {call_id}, but the API does not know it. Does the "
                "connection's Host still point to the same Telzino? If this persists, trigger a new DAG run, "
                "which has no earlier calls."
            ) from error

    def _store_dialling(self) -> None:
        try:
            self._stored.store_dialling()
        except UnwritableError as error:
            raise self._unknown(
                f"Could not record in Airflow that this task is about to dial ({error}): Airflow's API is "
                "unavailable, or another process is running the task."
            ) from error

    def _store(self, call: Record) -> Record:
        self._stored.store_call(call["id"], self._agent_id)
        return {**call, "agent_id": self._agent_id}

    # --- The agent's list ---

    def _search_and_decide(
        self, plan: SearchPlan, *, fail_on: Collection[str], reattach: bool
    ) -> Attach | Dial:
        try:
            for own in self._search.passes(plan):
                calls = [self._up_to_date(call) for call in own]
                step = decide(calls, self.run, fail_on=fail_on, reattach=reattach)
                if isinstance(step, Attach):
                    return Attach(self._store(step.call), step.why)
        except InconclusiveSearchError as error:
            raise self._unknown(
                f"Could not determine whether this task has already placed a call. {error}"
            ) from error
        return step  # every search has at least one pass

    def _find_lost(self, lost: TelzinoTransientError, began: datetime) -> Record:
        """Find the call of a POST whose answer was lost."""
        earlier = frozenset(self._search.found)
        failure = f"The request to place the call failed: {lost.args[0]}"
        try:
            for own in self._search.passes(exhaustive_search(began - dialling.CLOCK_MARGIN)):
                for call in own:
                    if call["id"] not in earlier:
                        return call
        except (InconclusiveSearchError, TelzinoError) as error:
            raise self._unknown(f"{failure} The search for the call failed, too: {error.args[0]}") from error
        raise self._unknown(
            f"{failure} No call of this task appeared in the agent's list within "
            f"{sum(dialling.LIST_LAG_PAUSES):g} s."
        ) from lost

    def _up_to_date(self, call: Record) -> Record:
        """Return a call's own record unless the call has ended: the status in a list may be outdated."""
        if has_ended(call):
            return call
        try:
            return self._hook.get_call(call["id"], self._agent_id, retry_for=0)
        except (TelzinoNotFoundError, TelzinoTransientError):  # the list knows more at this moment
            return call

    def _unknown(self, message: str) -> TelzinoUnknownPlacementError:
        return TelzinoUnknownPlacementError(
            f"{message} So that nobody is called twice, the task doesn't dial. A retry searches again.",
            conn_id=self._hook.telzino_conn_id,
        )
