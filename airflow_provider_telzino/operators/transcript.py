"""``TelzinoGetTranscriptOperator``: gets the transcript of a call."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator

from airflow_provider_telzino.api.arguments import (
    check_literals,
    checked_agent_of,
    checked_ended_record,
    checked_optional_agent_id,
    checked_transcript,
    id_of,
    naming_the_connection,
    naming_the_task,
)
from airflow_provider_telzino.exceptions import (
    TelzinoArgumentError,
    TelzinoNotFoundError,
    TelzinoNoTranscriptError,
    TelzinoUnreadableAnswerError,
)
from airflow_provider_telzino.models import awaits_transcript
from airflow_provider_telzino.rules.waiting import DEFAULT_POLL_INTERVAL, MIN_POLL_INTERVAL, flag, seconds
from airflow_provider_telzino.waiting.parse_checks import ParseChecks

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook

TranscriptContent = Literal["text", "entries", "log"]

DEFAULT_TRANSCRIPT_TIMEOUT = 60.0  # seconds until a transcript must be there


def checked_content(content: TranscriptContent) -> TranscriptContent:
    """Check what of a transcript is to be pushed."""
    if content not in get_args(TranscriptContent):
        known = ", ".join(get_args(TranscriptContent))
        raise TelzinoArgumentError(f"`content` should be one of {known}.")
    return content


class TelzinoGetTranscriptOperator(ParseChecks, BaseOperator):
    """Push the transcript of a call to XCom. It is searched for in the agent's newest 5,000 call logs.

    Args:
        transcript_id: The transcript (UUID), or the final record of its call, such as ``place.output``; then
            the record's ``agent_id`` is used unless the task names an agent. A record of a completed call
            that has no ``transcript_id`` yet is requested again until it has one. Templated.
        content: What to push: the ``text``, the ``entries`` (a list of ``text``, ``speaker``, ``timestamp``,
            ``is_partial``, ``created_at``), or the whole call ``log`` as the API gives it.
        include_partial: Keep partial entries: those that a later entry replaced while somebody was speaking.
        agent_id: The agent that made the call (UUID); by default the record's or the connection's. Templated.
        telzino_conn_id: The Airflow connection, of type ``telzino``. Templated.
        skip_on_missing: Skip the task if the call never connected, instead of failing it.
        poll_interval: Seconds between two requests for what isn't there yet, or a ``timedelta``.
        timeout: Seconds until the wait for ``transcript_id`` and call log gives up, or a ``timedelta``.

    Raises:
        TelzinoNoTranscriptError: The call never connected. The task fails without retries.
        TelzinoNotFoundError: There is no ``transcript_id`` or no call log when ``timeout`` is over, or the
            log has no text.
        TelzinoError: The API refused; see ``airflow_provider_telzino.exceptions``.
    """

    template_fields: Sequence[str] = ("transcript_id", "agent_id", "telzino_conn_id")
    ui_color, ui_fgcolor = "#f3d6f5", "#5b1a63"  # purple

    def __init__(
        self,
        *,
        transcript_id: str | Mapping[str, Any],
        content: TranscriptContent = "text",
        include_partial: bool = False,
        agent_id: str | None = None,
        telzino_conn_id: str = "telzino_default",
        skip_on_missing: bool = False,
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL,
        timeout: float | timedelta = DEFAULT_TRANSCRIPT_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with naming_the_task(self.task_id):
            self.content = checked_content(content)
            self.poll_interval = max(seconds("poll_interval", poll_interval), MIN_POLL_INTERVAL)
            self.timeout = seconds("timeout", timeout)
            self.skip_on_missing = flag("skip_on_missing", skip_on_missing)
            self.include_partial = flag("include_partial", include_partial)
        self.transcript_id = transcript_id
        self.agent_id = agent_id
        self.telzino_conn_id = telzino_conn_id
        self.check_template_fields()

    @classmethod
    def check_arguments(cls, given: Mapping[str, Any]) -> None:
        """Check those of a task's arguments that are literals."""
        flags = ("include_partial", "skip_on_missing")
        check_literals(
            given,
            transcript_id=checked_transcript,
            content=checked_content,
            agent_id=checked_optional_agent_id,
            poll_interval=functools.partial(seconds, "poll_interval"),
            timeout=functools.partial(seconds, "timeout"),
            **{name: functools.partial(flag, name) for name in flags},
        )

    def execute(self, context: Context) -> Any:
        """Find the call log, and wait a little if it, or the transcript's id, isn't there yet.

        Returns:
            Text, entries or call log, for XCom.
        """
        from airflow_provider_telzino.hooks.telzino import TelzinoHook

        transcript_id, deadline = self.transcript_id, time.monotonic() + self.timeout
        with TelzinoHook(self.telzino_conn_id, checked_agent_of(transcript_id, self.agent_id)) as hook:
            if isinstance(transcript_id, Mapping):
                transcript_id = self._id_of(hook, transcript_id, deadline)
            log = self._wait_for_log(hook, transcript_id, deadline)
        if self.content == "text":
            return self._text_of(log)
        if self.content == "log" and self.include_partial:
            return log
        entries = self._entries_of(log)
        return entries if self.content == "entries" else {**log, "transcript_json": entries}

    def _id_of(self, hook: TelzinoHook, record: Mapping[str, Any], deadline: float) -> str:
        """Return the id of a call's transcript; wait for it if the call's record doesn't have it yet."""
        with naming_the_connection(self.telzino_conn_id):
            checked_ended_record(record)
        if awaits_transcript(record):
            record = self._wait_for_id(hook, record["id"], deadline)
        if record.get("transcript_id") is not None:
            return str(record["transcript_id"])
        never = f"The call ended with {record['status']}: it never connected, so it has no transcript."
        if self.skip_on_missing:
            raise AirflowSkipException(f"{never} Skipped, since `skip_on_missing` is set.")
        raise TelzinoNoTranscriptError(
            f"{never} To skip the task instead, set `skip_on_missing=True`.",
            conn_id=self.telzino_conn_id,
            call_id=id_of(record),
        )

    def _wait_for_id(self, hook: TelzinoHook, call_id: str, deadline: float) -> Record:
        """Request the record of a call that has ended until it has a ``transcript_id``."""
        self.log.info("The record of call %s had no `transcript_id` yet. Requesting it again.", call_id)
        while True:
            left = max(0.0, deadline - time.monotonic())
            record = hook.get_call(call_id, retry_for=left)
            if not awaits_transcript(record):
                return record
            if left == 0:
                raise TelzinoNotFoundError(
                    f"The call ended with {record['status']}, but its record had no `transcript_id` when the "
                    f"timeout of {self.timeout:g} s was over. Give the task a longer `timeout`, or retries.",
                    conn_id=self.telzino_conn_id,
                    call_id=call_id,
                )
            self._pause(deadline)

    def _wait_for_log(self, hook: TelzinoHook, transcript_id: str, deadline: float) -> Record:
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
                self.log.info("%s Searching again.", error.sentence)
                self._pause(deadline)

    def _pause(self, deadline: float) -> None:
        """Sleep until the next request is due, which is the last one at the deadline."""
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
