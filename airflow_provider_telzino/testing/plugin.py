"""The pytest plugin, which pytest loads by itself. Until a test uses the fixture, it loads nothing else."""

from __future__ import annotations

import http.client
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_provider_telzino.testing.telzino import Telzino

TEST_RUN = "TELZINO_TEST_RUN"
"""The environment variable by which the hooks' transports know that a test runs them.

Processes that a test starts inherit it. The same name is in :mod:`airflow_provider_telzino.hooks.dial_guard`,
which can't be imported without Airflow."""
REAL_API = ".telzino.com"
"""Telzino's domain, as there."""

_RUNNING = pytest.StashKey["Telzino"]()
_PATCH = pytest.StashKey[pytest.MonkeyPatch]()


def pytest_configure(config: pytest.Config) -> None:
    """Let no test dial with the real API, whether it uses the fixture or not."""
    patch = config.stash[_PATCH] = pytest.MonkeyPatch()
    patch.setenv(TEST_RUN, "1")
    original = http.client.HTTPConnection.putrequest

    def putrequest(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Fail if this is a call, whatever client sends it: requests and urllib all come through here."""
        host = self._tunnel_host or self.host
        is_call = method.upper() == "POST" and "/outbound-calls" in url
        if is_call and TEST_RUN in os.environ and f".{host}".endswith(REAL_API):
            pytest.fail(
                f"A test was about to place a real call, by a POST to {host}. Nothing was sent. Use the "
                "fixture `telzino`, which sets the connection `telzino_default` to a sandbox."
            )
        original(self, method, url, *args, **kwargs)

    patch.setattr(http.client.HTTPConnection, "putrequest", putrequest)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the process as it was."""
    config.stash[_PATCH].undo()


@pytest.fixture
def telzino(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telzino]:
    """A Telzino of this test's own, with the connection ``telzino_default``, and a clock that sleeps move.

    See :class:`~airflow_provider_telzino.testing.telzino.Telzino`.
    """
    try:
        from airflow_provider_telzino.testing.telzino import Telzino
    except ModuleNotFoundError as error:
        pytest.fail(
            f"The fixture `telzino` needs {error.name}: pip install 'airflow-provider-telzino[testing]'.",
            pytrace=False,
        )
    with Telzino() as running:
        monkeypatch.setenv("AIRFLOW_CONN_TELZINO_DEFAULT", running.connection)
        request.node.stash[_RUNNING] = running
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that passed, but whose calls aren't those that it scripted."""
    result = yield
    running = item.stash.get(_RUNNING, None)
    if running is not None and (problems := running.problems()):
        pytest.fail("\n".join(problems), pytrace=False)
    return result
