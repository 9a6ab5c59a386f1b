"""The endpoints of Telzino's API: each function builds the request for one of them.

Ids and other arguments are checked here, so that nothing unchecked becomes part of a request. Both hooks
send what this module builds, and :mod:`.answers` reads what they receive, so they share every rule.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_telzino.api import arguments
from airflow_provider_telzino.api.messages import ApiRequest
from airflow_provider_telzino.models import CallStatus

MAX_PAGE_SIZE = 100
LOG_PAGE_SIZE = 20  # call logs contain a conversation twice: a hundred of them may exceed the limit of a body


def get_call_request(agent_id: object, call_id: object) -> ApiRequest:
    """``GET /v1/agents/{agentId}/outbound-calls/{callId}``: the call record."""
    checked = arguments.checked_call_id(call_id)
    return ApiRequest("GET", f"{_agent(agent_id)}/outbound-calls/{checked}", call_id=checked)


def list_calls_request(agent_id: object, status: str | CallStatus | None, page: int = 1) -> ApiRequest:
    """``GET /v1/agents/{agentId}/outbound-calls``: a page of an agent's calls, newest first."""
    params: dict[str, str | int] = {"page": page, "limit": MAX_PAGE_SIZE}
    if status is not None:
        params["status"] = arguments.checked_status(status).value
    return ApiRequest("GET", f"{_agent(agent_id)}/outbound-calls", params=params)


def list_logs_request(agent_id: object) -> ApiRequest:
    """``GET /v1/agents/{agentId}/call-logs``: the first page of an agent's transcripts."""
    params: dict[str, str | int] = {"page": 1, "limit": LOG_PAGE_SIZE}
    return ApiRequest("GET", f"{_agent(agent_id)}/call-logs", params=params)


def list_agents_request() -> ApiRequest:
    """``GET /v1/agents``: one agent that the token can see, which is the cheapest read."""
    return ApiRequest("GET", "/v1/agents", params={"page": 1, "limit": 1})


def get_agent_request(agent_id: object) -> ApiRequest:
    """``GET /v1/agents/{agentId}``: one agent."""
    return ApiRequest("GET", _agent(agent_id))


def next_page(request: ApiRequest) -> ApiRequest:
    """Build the request for the page after the one that a list request is for."""
    params = dict(request.params or {})
    return request._replace(params={**params, "page": int(params.get("page", 1)) + 1})


def place_call_request(
    agent_id: object, to_number: object, call_context: object, metadata: object, callback_url: object
) -> ApiRequest:
    """``POST /v1/agents/{agentId}/outbound-calls``: place a call.

    Raises:
        TelzinoConfigurationError: An argument exceeds one of the API's documented limits. The message has its
            name, the limit and its size, never its value, which may be personal data.
    """
    body: dict[str, Any] = {"to_number": arguments.checked_number(to_number)}
    if call_context is not None:
        body["call_context"] = arguments.checked_context(call_context)
    if metadata is not None:
        body["metadata"] = arguments.checked_metadata(metadata)
    if callback_url is not None:
        body["callback_url"] = arguments.checked_callback_url(callback_url)
    return ApiRequest("POST", f"{_agent(agent_id)}/outbound-calls", json=body)


def _agent(agent_id: object) -> str:
    return f"/v1/agents/{arguments.checked_agent_id(agent_id)}"
