"""``TelzinoGetTranscriptOperator``: gets the transcript of a call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_telzino.api.arguments import is_uuid, naming_the_task
from airflow_provider_telzino.exceptions import (
    TelzinoConfigurationError,
    TelzinoNotFoundError,
    TelzinoNoTranscriptError,
    TelzinoUnreadableAnswerError,
)
from airflow_provider_telzino.models import has_ended
from airflow_provider_telzino.rules.waiting import DEFAULT_POLL_INTERVAL, MIN_POLL_INTERVAL, seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook

TranscriptContent = Literal["text", "entries", "log"]

DEFAULT_TRANSCRIPT_TIMEOUT = 60.0  # seconds until a transcript must be in the call logs


class TelzinoGetTranscriptOperator(BaseOperator):
    """Push the transcript of a call to XCom. It is searched for in the agent's newest 5,000 call logs.

    Args:
        transcript_id: The transcript (UUID), or the final record of its call, such as ``place.output``; then
            the record's ``agent_id`` is used unless the task names an agent. Templated.
        content: What to push: the ``text``, the ``entries`` (a list of ``text``, ``speaker``, ``timestamp``,
            ``is_partial``, ``created_at``), or the whole call ``log`` as the API gives it.
        include_partial: Keep partial entries: those that a later entry replaced while somebody was speaking.
        agent_id: The agent that made the call (UUID); by default the record's or the connection's. Templated.
        telzino_conn_id: The Airflow connection, of type ``telzino``. Templated.
        poll_interval: Seconds between two searches, or a ``timedelta``.
        timeout: Seconds until the wait for a call log that isn't there yet gives up, or a ``timedelta``.

    Raises:
        TelzinoNoTranscriptError: The call never connected. The task fails without retries.
        TelzinoNotFoundError: The call log is not there when ``timeout`` is over, or has no text.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    template_fields: Sequence[str] = ("transcript_id", "agent_id", "telzino_conn_id")
    ui_color = "#e6f1f2"

    def __init__(
        self,
        *,
        transcript_id: str | Mapping[str, Any],
        content: TranscriptContent = "text",
        include_partial: bool = False,
        agent_id: str | None = None,
        telzino_conn_id: str = "telzino_default",
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL,
        timeout: float | timedelta = DEFAULT_TRANSCRIPT_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with naming_the_task(self.task_id):
            if content not in get_args(TranscriptContent):
                known = ", ".join(get_args(TranscriptContent))
                raise TelzinoConfigurationError(f"`content` should be one of {known}.")
            self.poll_interval = max(seconds("poll_interval", poll_interval), MIN_POLL_INTERVAL)
            self.timeout = seconds("timeout", timeout)
        self.transcript_id = transcript_id
        self.content = content
        self.include_partial = include_partial
        self.agent_id = agent_id
        self.telzino_conn_id = telzino_conn_id

    def execute(self, context: Context) -> Any:
        """Find the call log, and wait a little if it isn't there yet.

        Returns:
            Text, entries or call log, for XCom.
        """
        from airflow_provider_telzino.hooks.telzino import TelzinoHook

        agent_id, transcript_id = self.agent_id, self.transcript_id
        if isinstance(transcript_id, Mapping):
            agent_id = agent_id or transcript_id.get("agent_id")
            transcript_id = self._id_in(transcript_id)
        with TelzinoHook(self.telzino_conn_id, agent_id) as hook:
            log = self._wait_for(hook, transcript_id)
        if self.content == "text":
            return self._text_of(log)
        if self.content == "log" and self.include_partial:
            return log
        entries = self._entries_of(log)
        return entries if self.content == "entries" else {**log, "transcript_json": entries}

    def _wait_for(self, hook: TelzinoHook, transcript_id: str) -> Record:
        deadline = time.monotonic() + self.timeout
        known: set[str] = set()  # so that further searches read only the newest logs
        while True:
            left = deadline - time.monotonic()
            is_last = left <= 0
            try:
                # The last search reads all of them again: the order of call logs isn't documented.
                return hook.get_transcript(transcript_id, known=None if is_last else known)
            except TelzinoNotFoundError as error:
                if is_last:
                    raise
                self.log.info("%s Searching again.", error)
                time.sleep(min(self.poll_interval, max(0.0, deadline - time.monotonic())))

    def _text_of(self, log: Record) -> str:
        text = log.get("transcript_text")
        if not isinstance(text, str):
            raise TelzinoNotFoundError(
                f"Call log {log['id']} has no `transcript_text`. Choose `entries` or `log` as `content` to "
                "push the rest of it.",
                conn_id=self.telzino_conn_id,
            )
        return text

    def _entries_of(self, log: Record) -> list[Any]:
        entries = log.get("transcript_json")
        if entries is None:
            return []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise TelzinoUnreadableAnswerError(
                f"The `transcript_json` of call log {log['id']} is not a list of objects. Choose `text` as "
                "`content`, or `log` with `include_partial=True`, which pushes the log as it is.",
                conn_id=self.telzino_conn_id,
            )
        return [entry for entry in entries if self.include_partial or not entry.get("is_partial")]

    def _id_in(self, record: Mapping[str, Any]) -> str:
        # Only an id is named: whatever else stands there may be personal data.
        call_id = record.get("id") if is_uuid(record.get("id")) else None
        about: dict[str, Any] = {"conn_id": self.telzino_conn_id, "call_id": call_id}
        missing = [name for name in ("status", "transcript_id") if name not in record]
        if missing:
            raise TelzinoConfigurationError(
                f"The call record has no {' and no '.join(f'`{each}`' for each in missing)}. If it was cut "
                "by `record_fields`, add it there.",
                **about,
            )
        if not isinstance(record["status"], str):
            kind = type(record["status"]).__name__
            raise TelzinoConfigurationError(
                f"The `status` of the call record should be text, but is of type {kind}.", **about
            )
        if not has_ended(record):
            raise TelzinoConfigurationError(
                f"The call record is not final: its status is {record['status']}. Wait until the call has "
                "ended.",
                **about,
            )
        if record["transcript_id"] is None:
            raise TelzinoNoTranscriptError(
                f"The call ended with {record['status']}; its record has no `transcript_id`.", **about
            )
        return str(record["transcript_id"])
