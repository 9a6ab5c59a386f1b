"""``test_connection()``, which Airflow's *Test* button calls."""

from __future__ import annotations

from typing import Any

from airflow_provider_telzino.hooks.telzino import TelzinoHook
from airflow_provider_telzino.sandbox import (
    Sandbox,
)
from tests.conftest import ConnectionSetter
from tests.hooks.conftest import OTHER_ID


def test_with_a_default_agent(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """The default agent is read, so that a wrong one is found."""
    connect(sandbox, oauth=True)
    assert TelzinoHook().test_connection() == (
        True,
        "Telzino accepts the credentials. The default agent exists.",
    )

    connect(sandbox, extra={"agent_id": OTHER_ID})
    works, words = TelzinoHook().test_connection()
    assert not works
    assert "404" in words


def test_without_a_default_agent(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """Without one, the cheapest list is read."""
    connect(sandbox, extra={"agent_id": None})

    assert TelzinoHook().test_connection() == (
        True,
        "Telzino accepts the credentials. No default agent is set.",
    )
    assert sandbox.requests[0].query == {"page": "1", "limit": "1"}


def test_it_never_raises(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """Whatever is wrong with the connection is returned as a sentence, after a single try."""
    sandbox.faults.next("GET", "agents", status=503, times=9)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"host": "http://telzino.example"}, "in the clear"),
        ({"password": ""}, "no credentials"),
        ({"host": "http://127.0.0.1:1"}, "connection failed"),
        ({}, "503"),
    ]
    for fields, words in wrong:
        connect(sandbox, **fields)
        works, message = TelzinoHook().test_connection()
        assert not works
        assert words in message
    assert len(sandbox.requests) == 1


def test_a_connection_that_does_not_exist() -> None:
    """The result says to create it."""
    works, message = TelzinoHook("no_such_connection").test_connection()

    assert not works
    assert "Create it" in message
    assert "no_such_connection" in message
