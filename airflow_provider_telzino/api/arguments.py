"""Checks of a user's arguments, before anything is sent.

Every error names the field, its limit and the fix, but never the value, which may be personal data.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from airflow_provider_telzino.exceptions import TelzinoArgumentError, TelzinoConfigurationError
from airflow_provider_telzino.models import CallStatus, awaits_transcript, has_ended

MAX_CONTEXT_CHARACTERS = 4_000
MAX_METADATA_BYTES = 16 * 1024

TEMPLATE_MARKS = ("{{", "{%")  # text with one of them is a Jinja template

_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_VISIBLE = re.compile(r"[^\s\x00-\x1f\x7f]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@contextlib.contextmanager
def naming_the_connection(conn_id: str) -> Iterator[None]:
    """Let an error about the arguments name the connection that was used."""
    try:
        yield
    except TelzinoConfigurationError as error:
        error.conn_id = conn_id
        raise


@contextlib.contextmanager
def naming_the_task(task_id: str) -> Iterator[None]:
    """Let an error about the arguments name the task: the import error of a DAG does not."""
    try:
        yield
    except TelzinoConfigurationError as error:
        error.task_id = task_id
        raise


def is_literal(value: object) -> bool:
    """Whether a value is known when the DAG is parsed: it has no template, and doesn't stand for another."""
    if isinstance(value, str):
        return not any(mark in value for mark in TEMPLATE_MARKS)
    if isinstance(value, Mapping):
        return all(map(is_literal, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(is_literal, value))
    # What Airflow resolves when the task runs: an XComArg and its kind, a function, an object with templates.
    return not (callable(value) or hasattr(value, "resolve") or hasattr(value, "template_fields"))


def check_literals(given: Mapping[str, Any], **checks: Callable[[Any], object]) -> None:
    """Check the arguments of these names, as far as they are given and literals."""
    for name, check in checks.items():
        if name in given and is_literal(given[name]):
            check(given[name])


def is_uuid(value: object) -> bool:
    """Whether a value is text that can be an id of Telzino's."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def checked_uuid(field: str, value: object, fix: str) -> str:
    """Check an id before it becomes part of a path.

    Args:
        field: Its name, for the error.
        value: What was given. The error doesn't repeat it, since it may be a whole record.
        fix: What to do, for the error.

    Returns:
        The id as the API writes it, in lower case.
    """
    text = str(value) if isinstance(value, UUID) else value
    text = text.strip() if isinstance(text, str) else ""
    if not is_uuid(text):
        raise TelzinoArgumentError(f"`{field}` should be a UUID, but is {_kind(value)}. {fix}")
    return text.lower()


def checked_call_id(value: object) -> str:
    """Check a call's id: a UUID, or a record that has an ``id``."""
    if isinstance(value, Mapping):
        value = value.get("id")
    fix = "Use the `id` that placing the call returned, or the record itself (`call_id=place.output`)."
    if isinstance(value, str) and value.lstrip().startswith("{"):
        fix = "Jinja turned a record into text: pass the XCom itself instead (`call_id=place.output`)."
    return checked_uuid("call_id", value, fix)


def checked_agent_id(value: object) -> str:
    """Check an agent's id. It is required: the API has no default agent."""
    where = "Set it as `agent_id` of the task or hook, or as Agent ID in the connection."
    if value is None or value == "":
        raise TelzinoArgumentError(f"There is no `agent_id`. {where}")
    return checked_uuid("agent_id", value, where)


def checked_agent_of(call: object, agent_id: object) -> str | None:
    """Check the agent that made a call: the one that the task names, or else the one in the call's record.

    Returns:
        Its id; ``None`` if neither names one, which means the connection's.
    """
    if not agent_id and isinstance(call, Mapping):
        agent_id = call.get("agent_id")
    return checked_agent_id(agent_id) if agent_id else None


def id_of(record: Mapping[str, Any]) -> str | None:
    """Return the id of a record for an error. If it isn't one, it may be personal data."""
    call_id = record.get("id")
    return call_id if is_uuid(call_id) else None


def checked_transcript(value: object) -> None:
    """Check what names a transcript: its id, or the record of a call that has ended."""
    if isinstance(value, Mapping):
        checked_ended_record(value)
        if value["transcript_id"] is None:  # There is none, or none yet.
            return
        value = value["transcript_id"]
    checked_transcript_id(value)


def checked_transcript_id(value: object) -> str:
    """Check a transcript's id."""
    return checked_uuid("transcript_id", value, "Take it from the record of a completed call.")


def checked_ended_record(record: Mapping[str, Any]) -> None:
    """Check a record that stands for its call's transcript: complete enough, and of a call that has ended."""
    call_id = id_of(record)
    missing = [name for name in ("status", "transcript_id") if name not in record]
    problem = None
    if missing:
        problem = (
            f"The call record has no {' and no '.join(f'`{each}`' for each in missing)}. If it was cut by "
            "`record_fields`, add it there."
        )
    elif not isinstance(record["status"], str):
        problem = f"The `status` of the call record should be text, but is {_kind(record['status'])}."
    elif not has_ended(record):
        problem = (
            f"The call record is not final: its status is {record['status']}. Wait until the call has ended."
        )
    elif awaits_transcript(record) and call_id is None:
        problem = (
            "The call record has no `transcript_id` yet, and no `id` to request it again. If it was cut by "
            "`record_fields`, add `id` there."
        )
    if problem is not None:
        raise TelzinoArgumentError(problem, call_id=call_id)


def checked_optional_agent_id(value: object) -> str | None:
    """Check the id of the agent that a task names; ``None`` if it names none."""
    return checked_agent_id(value) if value else None


def checked_status(value: str | CallStatus) -> CallStatus:
    """Check a status to filter by."""
    try:
        return CallStatus(value)
    except ValueError:
        known = ", ".join(CallStatus)
        raise TelzinoArgumentError(f"`status` should be one of {known}.") from None


def checked_number(to_number: object) -> str:
    """Check a phone number: E.164, as the API requires."""
    if not isinstance(to_number, str) or not _E164.fullmatch(to_number):
        fix = ""
        if isinstance(to_number, (int, float)):
            fix = (
                " With `render_template_as_native_obj=True`, a template's text becomes a number: put quotes "
                "around it, as in \"'{{ params.to_number }}'\"."
            )
        raise TelzinoArgumentError(
            "`to_number` should be a phone number in E.164 form: '+', country code and number, at most 15 "
            f"digits and nothing else, such as +18135551234. It is {_kind(to_number)}.{fix}"
        )
    return to_number


def checked_context(call_context: object) -> str:
    """Check ``call_context``: text of limited length."""
    if not isinstance(call_context, str):
        fix = ""
        if isinstance(call_context, (int, float, Mapping, list, tuple, set)):
            fix = (
                " With `render_template_as_native_obj=True`, a template's text becomes a Python value if it "
                'reads like one: add a word to the template, as in "Details: {{ params.details }}".'
            )
        raise TelzinoArgumentError(f"`call_context` should be text, but is {_kind(call_context)}.{fix}")
    try:
        call_context.encode()
    except UnicodeEncodeError:
        raise TelzinoArgumentError(
            "`call_context` contains a lone surrogate, which is no character: it can't be sent as UTF-8."
        ) from None
    if len(call_context) > MAX_CONTEXT_CHARACTERS:
        raise TelzinoArgumentError(
            f"`call_context` has {len(call_context):,} characters; "
            f"the API accepts at most {MAX_CONTEXT_CHARACTERS:,}."
        )
    return call_context


def checked_metadata(metadata: object) -> dict[str, Any]:
    """Check ``metadata``: a JSON object of limited size."""
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        what = "a mapping with keys of other types" if isinstance(metadata, Mapping) else _kind(metadata)
        fix = ""
        if isinstance(metadata, str):
            fix = (
                " A template of a whole mapping becomes text: give a mapping of templates, such as "
                "{'crm_id': '{{ params.crm_id }}'}, or set `render_template_as_native_obj=True` for the DAG."
            )
        raise TelzinoArgumentError(
            f"`metadata` should be a mapping with text keys (a JSON object), but is {what}.{fix}"
        )
    try:
        size = _json_bytes(metadata, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise _not_json(metadata) from None
    if size > MAX_METADATA_BYTES:
        raise TelzinoArgumentError(
            f"`metadata` has {size:,} bytes as JSON; the API accepts at most {MAX_METADATA_BYTES:,}."
        )
    return dict(metadata)


def _json_bytes(metadata: Mapping[str, Any], *, allow_nan: bool) -> int:
    """Return the size of compact UTF-8, the smallest form of JSON, so that nothing that fits is refused."""
    compact = json.dumps(dict(metadata), ensure_ascii=False, separators=(",", ":"), allow_nan=allow_nan)
    return len(compact.encode())


def _not_json(metadata: Mapping[str, Any]) -> TelzinoArgumentError:
    """Build the error about metadata with a value that JSON doesn't have."""
    try:
        _json_bytes(metadata, allow_nan=True)
    except (TypeError, ValueError, RecursionError):
        return TelzinoArgumentError(
            "`metadata` contains a value that JSON doesn't have (such as a date, a set or a lone surrogate). "
            "Convert it to text or a number first."
        )
    return TelzinoArgumentError(
        "`metadata` contains NaN or infinity, which JSON doesn't have. Omit it, or convert it to text."
    )


def checked_callback_url(callback_url: object) -> str:
    """Check the URL of a webhook."""
    try:
        url = urlsplit(callback_url) if isinstance(callback_url, str) else None
        good = url is not None and url.scheme == "https" and bool(url.hostname)
        good = good and _VISIBLE.fullmatch(str(callback_url)) is not None
    except ValueError:
        good = False
    if not good or not isinstance(callback_url, str):
        raise TelzinoArgumentError(
            f"`callback_url` should be a URL that begins with https://. It is {_kind(callback_url)}."
        )
    return callback_url


def _kind(value: object) -> str:
    """Describe a value without showing it."""
    return (
        f"text of {len(value):,} characters" if isinstance(value, str) else f"of type {type(value).__name__}"
    )
