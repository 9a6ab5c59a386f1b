"""What both hooks share, which is all that isn't I/O: the connection type, and how requests are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_telzino.api import arguments, endpoints
from airflow_provider_telzino.api.messages import ApiRequest
from airflow_provider_telzino.api.retry import RetryRules
from airflow_provider_telzino.api.settings import Settings
from airflow_provider_telzino.exceptions import (
    TelzinoConfigurationError,
    TelzinoConnectionNotFoundError,
    TelzinoNotFoundError,
)
from airflow_provider_telzino.get_provider_info import CONN_TYPE, HOOK_NAME

DEFAULT_CONN_ID = "telzino_default"
MAX_TRANSCRIPT_PAGES = 250  # of 20 call logs: how far back a search for a transcript goes


class TelzinoHookBase(BaseHook):
    """The connection type, and how an API request is checked and built.

    Args:
        telzino_conn_id: The Airflow connection, of type ``telzino``.
        agent_id: The agent (UUID) for all methods; by default the connection's.
    """

    conn_name_attr = "telzino_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = CONN_TYPE
    hook_name = HOOK_NAME

    def __init__(self, telzino_conn_id: str = DEFAULT_CONN_ID, agent_id: str | None = None) -> None:
        super().__init__()
        self.telzino_conn_id = telzino_conn_id
        self.agent_id = agent_id

    def _build(
        self, settings: Settings, agent_id: str | None, build: Callable[..., ApiRequest], *args: Any
    ) -> ApiRequest:
        """Build a request to an agent: the method's, or else the hook's, or else the connection's."""
        try:  # not `naming_the_connection`, which is slower: this is part of each poll in the triggerer
            return build(agent_id or self.agent_id or settings.agent_id, *args)
        except TelzinoConfigurationError as error:
            error.conn_id = self.telzino_conn_id
            raise

    def _rules(self, idempotent: bool, retry_for: float) -> RetryRules:
        return RetryRules(idempotent=idempotent, retry_for=retry_for, log=self.log)

    def _transcript_id(self, transcript_id: object) -> str:
        with arguments.naming_the_connection(self.telzino_conn_id):
            return arguments.checked_transcript_id(transcript_id)

    def _no_such_transcript(self, transcript_id: str) -> TelzinoNotFoundError:
        return TelzinoNotFoundError(
            f"Transcript {transcript_id} is not among the agent's newest "
            f"{MAX_TRANSCRIPT_PAGES * endpoints.LOG_PAGE_SIZE:,} call logs. Check that it is the "
            "`transcript_id` of a call of this agent; it may take a moment to appear after the call.",
            conn_id=self.telzino_conn_id,
        )

    def _no_such_connection(self) -> TelzinoConnectionNotFoundError:
        return TelzinoConnectionNotFoundError(
            "There is no Airflow connection with this id, or Airflow could not read it. Create it, with the "
            "type Telzino: under Admin, Connections, with `airflow connections add`, or in the environment.",
            conn_id=self.telzino_conn_id,
        )
