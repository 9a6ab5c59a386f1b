"""What the tests of placing share: a Telzino whose list lags, and clocks that only tests move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import time_machine

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator
from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator
from airflow_provider_telzino.placing.search import CallSearch
from airflow_provider_telzino.placing.wave import Wave
from airflow_provider_telzino.sandbox import Sandbox
from tests.conftest import ConnectionSetter
from tests.support.placed_calls import LIST_LAG, START, Clock


@pytest.fixture
def traveller() -> Iterator[time_machine.Traveller]:
    """The clock of the tasks, which stands still until a test moves it."""
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def sandbox(traveller: time_machine.Traveller) -> Iterator[Sandbox]:
    """A Telzino whose list shows a call 5 seconds late."""
    with Sandbox(clock="manual", list_lag=LIST_LAG) as running:
        yield running


@pytest.fixture
def clock(sandbox: Sandbox, traveller: time_machine.Traveller) -> Clock:
    """The clocks of the tasks and of Telzino; pauses pass on both."""
    return Clock(sandbox, traveller)


@pytest.fixture
def surroundings(
    sandbox: Sandbox,
    clock: Clock,
    connect: ConnectionSetter,
    quick_retries: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection to the sandbox, and pauses of tasks that pass on the tests' clocks."""
    connect(sandbox)
    monkeypatch.setattr(CallSearch, "sleep", clock.advance)
    for sleeper in (TelzinoPlaceCallOperator, TelzinoCampaignOperator, Wave):
        monkeypatch.setattr(sleeper, "sleep", clock.advance)
