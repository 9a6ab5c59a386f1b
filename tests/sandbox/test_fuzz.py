"""The sandbox against its own OpenAPI document: all that schemathesis finds to try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, DEFAULT_AGENT_ID, Sandbox

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUNDED = settings(
    max_examples=settings().max_examples // 3, deadline=None, suppress_health_check=list(HealthCheck)
)


def described(**parameters: str) -> Any:
    """Return the OpenAPI document, with a good token and these values of parameters for all requests."""
    config = schemathesis.Config.from_dict(
        {"headers": {"Authorization": f"Bearer {ACCESS_TOKEN}"}, "parameters": parameters}
    )
    with Sandbox() as sandbox:
        return schemathesis.openapi.from_url(f"{sandbox.url}/openapi.json", config=config)


anything = described()
one_agent = described(agentId=DEFAULT_AGENT_ID).include(path_regex="agentId")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield the address of a sandbox that has some calls."""
    with Sandbox(clock="manual", keep_requests=False) as sandbox:
        for status in ("completed", "busy", "dialing"):
            sandbox.add_call(status)
        yield sandbox.url


@anything.parametrize()  # type: ignore[untyped-decorator]  # schemathesis gives it no type
@BOUNDED
def test_every_request(case: schemathesis.Case[Any], url: str) -> None:
    """Valid and invalid requests get the answers that the document promises, and never a 500."""
    case.call_and_validate(base_url=url)


@one_agent.parametrize()  # type: ignore[untyped-decorator]  # same
@BOUNDED
def test_requests_at_an_agent_with_calls(case: schemathesis.Case[Any], url: str) -> None:
    """The same for an agent that exists."""
    case.call_and_validate(base_url=url)


def test_the_document_is_complete() -> None:
    """It names the limits, the token, and 400 instead of FastAPI's 422."""
    raw = anything.raw_schema
    listing = raw["paths"]["/v1/agents/{agentId}/outbound-calls"]["get"]
    limit = next(parameter for parameter in listing["parameters"] if parameter["name"] == "limit")["schema"]

    assert set(listing["responses"]) == {"200", "400", "401", "403", "404", "429", "500"}
    assert listing["security"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 100, 50)
    assert "422" not in str(raw["paths"])
