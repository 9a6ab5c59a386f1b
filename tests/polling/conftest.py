"""What the tests of polls over real HTTP share."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Iterator

import pytest

from airflow_provider_telzino.polling.channel import Channel
from airflow_provider_telzino.polling.poller import AgentPoller
from tests.support.polling import Clock


@pytest.fixture
async def clock() -> AsyncIterator[Clock]:
    """The event loop's clock, which the test moves."""
    loop = asyncio.get_running_loop()
    yield Clock(loop)
    del loop.time  # back to the class's own


@pytest.fixture(autouse=True, scope="module")
def _collect_quickly() -> Iterator[None]:
    """Leave what exists already, mostly Airflow's modules, out of every garbage collection."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """No poller, channel or open session outlives the waits of a test."""
    gc.collect()  # What other tests have left must not be found here.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert AgentPoller._pollers == {}
    assert Channel._channels == {}
    assert [str(each.message) for each in caught if "nclosed" in str(each.message)] == []
