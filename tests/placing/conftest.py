"""What the tests of placing share: a Telzino whose list lags, on a clock that only tests move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_telzino.placing.search import CallSearch
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ConnectionSetter
from tests.support.placed_calls import LIST_LAG


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A Telzino whose list shows a call 5 seconds late."""
    with Sandbox(clock="manual", list_lag=LIST_LAG) as running:
        yield running


@pytest.fixture
def surroundings(
    sandbox: Sandbox, connect: ConnectionSetter, quick_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection to the sandbox, and pauses of a search that pass on the sandbox's clock."""
    connect(sandbox, extra={"timeout": 0.5})
    monkeypatch.setattr(CallSearch, "sleep", sandbox.clock.advance)
