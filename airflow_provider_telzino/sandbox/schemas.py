"""The API's requests and answers as types, which check requests and make up the OpenAPI document."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from airflow_provider_telzino.sandbox.lifecycle import Status

MAX_CALL_CONTEXT_CHARACTERS = 4_000
MAX_METADATA_BYTES = 16 * 1024
MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 50

UUID_PATTERN = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
E164_PATTERN = "^[+][1-9][0-9]{1,14}$"
CALLBACK_URL_PATTERN = "^https://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?([/?#][!-~]*)?$"
_CALLBACK_URL = re.compile(
    r"https://(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?([/?#][!-~]*)?"
)


def _public_https_url(url: str) -> str:
    """Check ``callback_url``. Only literal addresses are checked: the sandbox resolves no names."""
    match = _CALLBACK_URL.fullmatch(url)
    if match is None:
        raise ValueError("it must be a https:// URL")
    host = match["host"].strip("[]").rstrip(".").lower()
    try:
        private = not ipaddress.ip_address(host).is_global
    except ValueError:
        private = host == "localhost" or host.endswith(".localhost")
    if private:
        raise ValueError("it must not lead to a private network")
    return url


def _plain_json_of_limited_size(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        compact = json.dumps(metadata, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(compact.encode())
    except (ValueError, RecursionError):
        raise ValueError("it must be JSON without NaN, Infinity and lone surrogates") from None
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"it has {size} bytes as JSON; at most {MAX_METADATA_BYTES} are allowed")
    return metadata


_UUID_SCHEMA = {"format": "uuid"}
AgentId = Annotated[
    str, Path(alias="agentId", pattern=UUID_PATTERN, description="The agent", json_schema_extra=_UUID_SCHEMA)
]
CallId = Annotated[
    str, Path(alias="callId", pattern=UUID_PATTERN, description="The call", json_schema_extra=_UUID_SCHEMA)
]
PageNumber = Annotated[int, Query(ge=1, description="Which page; the first is 1")]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="How many items a page has at most")]
StatusFilter = Annotated[
    Status | SkipJsonSchema[None], Query(description="Only calls that have this status now")
]
Uuid = Annotated[str, Field(json_schema_extra=_UUID_SCHEMA)]
Timestamp = Annotated[
    str, Field(description="ISO 8601 with microseconds and offset", json_schema_extra={"format": "date-time"})
]


class TokenRequest(BaseModel):
    """OAuth 2.0 client credentials."""

    client_id: StrictStr
    client_secret: StrictStr
    audience: StrictStr
    grant_type: Literal["client_credentials"]


class Token(BaseModel):
    """An access token."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds")


class CallRequest(BaseModel):
    """A call to place."""

    to_number: Annotated[StrictStr, Field(pattern=E164_PATTERN, description="E.164")]
    # Optional fields may be left out, but null is not documented, so it is refused.
    call_context: Annotated[
        StrictStr, Field(max_length=MAX_CALL_CONTEXT_CHARACTERS, description="Appended to the system prompt")
    ] = Field(default_factory=str)
    metadata: Annotated[
        dict[str, Any],
        AfterValidator(_plain_json_of_limited_size),
        Field(description="At most 16 KB as JSON; echoed in the record as `request_metadata`"),
    ] = Field(default_factory=dict)
    callback_url: Annotated[
        StrictStr,
        AfterValidator(_public_https_url),
        WithJsonSchema({"type": "string", "pattern": CALLBACK_URL_PATTERN}),
    ] = Field(default_factory=str)


class AcceptedCall(BaseModel):
    """The answer to placing a call."""

    model_config = ConfigDict(extra="forbid")
    id: Uuid
    status: Literal["queued"]
    room_name: str
    created_at: Timestamp


class ListedCall(BaseModel):
    """A call in a list."""

    model_config = ConfigDict(extra="forbid")
    id: Uuid
    agent_id: Uuid
    to_number: str
    status: str
    request_metadata: dict[str, Any] | None
    transcript_id: Uuid | None
    error: str | None
    sip_status_code: int | None
    created_at: Timestamp
    answered_at: Timestamp | None
    ended_at: Timestamp | None
    duration: int | None


class CallRecord(ListedCall):
    """A call's record."""

    call_context: str | None
    callback_url: str | None
    callback_delivered: bool | None
    summary_text: str | None


class Pagination(BaseModel):
    """The position of a page among all pages."""

    page: int
    limit: int
    total: int
    totalPages: int  # noqa: N815 - the API's spelling
    hasNext: bool  # noqa: N815 - same
    hasPrev: bool  # noqa: N815 - same


class CallPage(BaseModel):
    """A page of calls."""

    data: list[ListedCall]
    pagination: Pagination


class Agent(BaseModel):
    """An agent."""

    id: Uuid
    name: str


class AgentAnswer(BaseModel):
    """One agent."""

    data: Agent


class AgentPage(BaseModel):
    """A page of agents."""

    data: list[Agent]
    pagination: Pagination


class TranscriptEntry(BaseModel):
    """One line of a conversation."""

    text: str
    speaker: str
    timestamp: float = Field(description="Seconds from the start")
    is_partial: bool
    created_at: Timestamp


class SessionFigures(BaseModel):
    """Figures of a conversation."""

    caller_id: str
    total_entries: int
    final_entries: int


class CallLog(BaseModel):
    """The transcript of a call."""

    model_config = ConfigDict(extra="forbid")
    id: Uuid
    agent_id: Uuid
    room_name: str
    transcript_text: str
    transcript_json: list[TranscriptEntry]
    entry_count: int
    call_duration: int
    call_started_at: Timestamp
    call_ended_at: Timestamp
    session_data: SessionFigures
    summary_text: str
    recording_url: str | None
    created_at: Timestamp
    updated_at: Timestamp


class CallLogPage(BaseModel):
    """A page of call logs."""

    data: list[CallLog]
    pagination: Pagination


class Problem(BaseModel):
    """An error. Telzino does not document this shape."""

    error: str
    message: str
