"""Requests and answers as values, for tests of the API without I/O."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_telzino.api import endpoints
from airflow_provider_telzino.api.messages import ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import Settings
from tests.conftest import AGENT_ID, CALL_ID

SETTINGS = Settings(
    conn_id="telzino_test",
    base_url="https://api.telzino.com",
    client_id="client",
    secret="s3cret-of-the-client",
    agent_id=None,
    audience="https://api.telzino.com/",
    timeout=30,
    ca_bundle=None,
)
NUMBER = "+18135551234"
GET_CALL = endpoints.get_call_request(AGENT_ID, CALL_ID)
LIST_CALLS = endpoints.list_calls_request(AGENT_ID, None)


def place(**changes: Any) -> ApiRequest:
    """Build the request that places a call, with some arguments changed."""
    arguments = {"to_number": NUMBER, "call_context": None, "metadata": None, "callback_url": None}
    return endpoints.place_call_request(AGENT_ID, **(arguments | changes))


def answer(status: int = 200, content: object = None, **more: Any) -> ApiAnswer:
    """Build an answer with JSON in it."""
    return ApiAnswer(status, json.dumps(content).encode(), **more)
