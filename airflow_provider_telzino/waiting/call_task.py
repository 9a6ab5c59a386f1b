"""A task about one call: it requests the call's record, and ends according to the outcome."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_telzino.api.arguments import checked_agent_of, naming_the_connection
from airflow_provider_telzino.exceptions import (
    TelzinoCallEndedBadlyError,
    TelzinoNotFoundError,
    TelzinoOutcomeError,
    TelzinoTransientError,
)
from airflow_provider_telzino.rules.waiting import UNKNOWN, outcome_name
from airflow_provider_telzino.waiting.call_link import TelzinoCallLink
from airflow_provider_telzino.waiting.outcome_task import OutcomeTask

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

    from airflow_provider_telzino.api.settings import Settings
    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook


class CallTask(OutcomeTask):
    """A task about one call. A mixin of all that wait for one."""

    operator_extra_links: Collection[BaseOperatorLink] = (TelzinoCallLink(),)
    template_fields: Sequence[str] = ("call_id", "agent_id", "telzino_conn_id")

    call_id: Any
    settings_in_use: Settings | None = None
    """The connection, once the task runs."""

    # --- The record ---

    def hook(self) -> TelzinoHook:
        """Create the hook for this task's connection and agent."""
        from airflow_provider_telzino.hooks.telzino import TelzinoHook

        hook = TelzinoHook(self.telzino_conn_id, self._agent_id())
        self.settings_in_use = hook.settings
        if hook.settings.call_url is None:
            # Airflow writes an XCom for each link of each task that runs, also for one that leads nowhere.
            self.operator_extra_links = ()
        return hook

    def poll(
        self, hook: TelzinoHook, *, retry_for: float = 0, not_found_is_final: bool = False
    ) -> Record | None:
        """Request the call's record; ``None`` if it is temporarily unavailable."""
        try:
            return hook.get_call(self.call_id, retry_for=retry_for)
        except TelzinoNotFoundError as error:
            if not_found_is_final:
                raise
            self.log.warning("%s", error)
        except TelzinoTransientError as error:
            self.log.warning("%s", error)
        return None

    def _agent_id(self) -> str | None:
        with naming_the_connection(self.telzino_conn_id):
            return checked_agent_of(self.call_id, self.agent_id)

    # --- The outcome ---

    def finish(self, context: Context, record: Mapping[str, Any]) -> dict[str, Any]:
        """End the task according to the call's outcome.

        Returns:
            The record, or its ``record_fields``, for XCom.

        Raises:
            TelzinoOutcomeError: The status is in ``fail_on``. The record has been pushed.
            AirflowSkipException: The status is in ``skip_on``. The record has been pushed.
        """
        status = record["status"]
        if self.policy.is_success(status):
            return self.policy.success_value(record, self.log)
        self._push(context, self.policy.cut(record, self.log))
        outcome = status if outcome_name(status) != UNKNOWN else f'{status} (not documented: "{UNKNOWN}")'
        if self.policy.is_skip(status):
            raise AirflowSkipException(f"Call {record['id']} ended with {outcome}, which is in `skip_on`.")
        with self._softly():
            raise self.outcome_error(status)(
                f"The call ended with {outcome}{_sip_code(record)}, which is in `fail_on`."
                + (" Its record is in XCom." if self.do_xcom_push else ""),
                conn_id=self.telzino_conn_id,
                call_id=record["id"],
            )

    def outcome_error(self, status: str) -> type[TelzinoOutcomeError]:
        """Choose the error for a status of ``fail_on``. For a task that only waits, a retry is no use."""
        return TelzinoCallEndedBadlyError


def _sip_code(record: Mapping[str, Any]) -> str:
    code = record.get("sip_status_code")
    return f" (SIP {code})" if isinstance(code, int) else ""
