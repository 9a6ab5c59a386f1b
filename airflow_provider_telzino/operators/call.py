"""Operators for one call: get its record, or place it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.api import endpoints
from airflow_provider_telzino.api.arguments import (
    check_literals,
    checked_agent_id,
    checked_call_id,
    checked_metadata,
    naming_the_connection,
)
from airflow_provider_telzino.exceptions import OUTCOME_ERRORS, TelzinoOutcomeError
from airflow_provider_telzino.placing.placer import CallPlacer
from airflow_provider_telzino.rules.dialling import Dial, with_identity
from airflow_provider_telzino.rules.waiting import CallEvent
from airflow_provider_telzino.waiting.arguments import WaitingOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook

ANSWER_FIELDS = ("id", "status", "room_name", "created_at", "agent_id")  # of a call that isn't waited for


class TelzinoGetCallOperator(WaitingOperator):
    """Push a call's final record to XCom; wait for it if the call hasn't ended.

    With Airflow's ``multiple_outputs=True``, each field of the record is an XCom of its own, too. A bad
    outcome fails the task without retries, since a call's outcome doesn't change.

    Args:
        call_id: The call (UUID), or a record that has an ``id``, such as ``place.output``; then its
            ``agent_id`` is used unless the task names an agent. Templated.
        wait_for_completion: Wait until the call has ended. ``False`` pushes the record as it is now, whatever
            the status.
        kwargs: ``poll_interval``, ``soft_fail`` and the parameters that all waits share, which are documented
            with :class:`~airflow_provider_telzino.waiting.arguments.WaitingTask` and in docs/waiting.md; and
            those of Airflow's ``BaseOperator``.

    Raises:
        TelzinoCallEndedBadlyError: The call ended in a status of ``fail_on``.
        TelzinoTimeoutError: The call had not ended when ``timeout`` was over.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    def __init__(self, *, call_id: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.call_id = call_id
        self.check_template_fields()
        self.use_triggerer()

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        super().check_arguments(given)
        check_literals(given, call_id=checked_call_id)

    def execute(self, context: Context) -> Any:
        """Get the record; wait for it if the call has not ended.

        Returns:
            The record, for XCom.
        """
        if not self.wait_for_completion:
            with self._softly(), self.hook() as hook:
                return self.policy.cut(hook.get_call(self.call_id), self.log)
        return self.wait_for_call(context)


class TelzinoPlaceCallOperator(WaitingOperator):
    """Place a call, **exactly once**, and push its final record to XCom.

    A retry, a crash of any process or a lost answer never leads to a second call: the task continues with the
    call that it has placed. A retry dials again only if that call ended in a status of ``fail_on``: with
    ``retries=3`` and ``fail_on=("no_answer", "busy")`` people who could not be reached are called again.

    Args:
        to_number: The phone number, E.164. Templated.
        call_context: Text appended to the agent's system prompt; at most 4,000 characters. Templated.
        metadata: JSON object, echoed in the record as ``request_metadata``; at most 16 KB, together with the
            task's identity, which is added under the key ``airflow``. Templated.
        callback_url: ``https://`` URL that Telzino POSTs the result to. Templated.
        wait_for_completion: Wait until the call has ended. ``False`` pushes the API's answer (``id``,
            ``status``, ``room_name``, ``created_at``) with the ``agent_id`` added, so that a sensor can wait.
        reattach: What a cleared task does if its call has ended well: ``True`` pushes that call's record
            again, ``False`` places another call. With a call that is still live it continues in either case.
        kwargs: See :class:`~airflow_provider_telzino.waiting.arguments.WaitingOperator`.

    Raises:
        TelzinoConfigurationError: An argument is invalid. Nothing was dialled.
        TelzinoNoAnswerError, TelzinoBusyError, TelzinoCallFailedError: The call ended in this status, which
            is in ``fail_on``. A retry dials again.
        TelzinoTimeoutError: The call had not ended when ``timeout`` was over. A retry continues to wait.
        TelzinoUnknownPlacementError: Whether the call was placed is unknown, so the task doesn't dial. A
            retry searches again.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    template_fields: Sequence[str] = (
        "to_number",
        "call_context",
        "metadata",
        "callback_url",
        "agent_id",
        "telzino_conn_id",
    )
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012 - as Airflow declares it
    can_start_in_triggerer = False  # a trigger may run twice at the same time
    after_timeout = "The call may still be in progress; a retry of the task continues to wait for it."

    def __init__(
        self,
        *,
        to_number: str,
        call_context: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        callback_url: str | None = None,
        reattach: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.to_number = to_number
        self.call_context = call_context
        self.metadata = metadata
        self.callback_url = callback_url
        self.reattach = reattach
        self.call_id: str | None = None  # once the call is placed or found
        self._killed = False
        self.use_triggerer()

    def execute(self, context: Context) -> Any:
        """Place the call, or continue with the one that an earlier try has placed.

        Returns:
            The final record, or the API's answer if the task doesn't wait, for XCom.
        """
        with self._softly(), self.hook() as hook:
            call, is_new = self._placed_call(hook, context)
        self.call_id, self.agent_id = call["id"], call["agent_id"]
        if not self.wait_for_completion:
            return self.policy.cut({name: call[name] for name in ANSWER_FIELDS if name in call}, self.log)
        # The answer to placing a call has its status: a poll would add nothing.
        return self.wait_for_call(context, known=call if is_new else None)

    def restore_call(self, context: Context, event: CallEvent) -> None:
        """Take the call from the event; find it if no event names it. Never dials."""
        if event.is_from_airflow:
            with self.hook() as hook:
                call = CallPlacer(hook, self._agent(hook), context, self.log).find()
            self.call_id, self.agent_id = call["id"], call["agent_id"]
            return
        if event.call_id is None:
            raise self.unknown_event()
        self.call_id = event.call_id
        super().restore_call(context, event)

    def on_kill(self) -> None:
        """Log that the call continues, and dial no more: Airflow lets the task run for some more seconds."""
        self._killed = True
        call = f"Call {self.call_id}" if self.call_id else "A call that is being placed"
        self.log.warning(
            "The task was killed, but Telzino documents no way to end a call. %s continues; if the task is "
            "retried or cleared, it continues with that call.",
            call,
        )

    def outcome_error(self, status: str) -> type[TelzinoOutcomeError]:
        """Choose the error for a status of ``fail_on``. Airflow may retry it, and the retry dials again."""
        return OUTCOME_ERRORS.get(status, TelzinoOutcomeError)

    def _placed_call(self, hook: TelzinoHook, context: Context) -> tuple[Record, bool]:
        """Find or place the task's call. Returns it with its ``agent_id``, and whether it is new."""
        agent_id = self._agent(hook)
        placer = CallPlacer(hook, agent_id, context, self.log)
        with naming_the_connection(self.telzino_conn_id):
            metadata = with_identity(
                checked_metadata(self.metadata or {}), placer.run, reattach=self.reattach
            )
            request = (self.to_number, self.call_context, metadata, self.callback_url)
            # Everything is checked before anything is searched or dialled.
            endpoints.place_call_request(agent_id, *request)
        step = placer.next_step(fail_on=self.policy.fail_on, reattach=self.reattach)
        if isinstance(step, Dial):
            return placer.dial(*request, is_killed=lambda: self._killed), True
        if step.call.get("to_number", self.to_number) != self.to_number:
            self.log.warning(
                "Call %s went to another number than the task has now. Clear the task with `reattach=False` "
                "to place a new one.",
                step.call["id"],
            )
        return step.call, False

    def _agent(self, hook: TelzinoHook) -> str:
        with naming_the_connection(self.telzino_conn_id):
            return checked_agent_id(self.agent_id or hook.settings.agent_id)
