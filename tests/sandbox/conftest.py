"""A sandbox whose clock stands still, and a client with a token for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


class Client(requests.Session):
    """A session that takes paths instead of URLs."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["Authorization"] = f"Bearer {ACCESS_TOKEN}"
        self._base_url = base_url

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        """Send a request, for 10 s at most."""
        options["timeout"] = options.get("timeout") or 10
        options["allow_redirects"] = False
        return super().request(method, self._base_url + str(url), *args, **options)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Yield a sandbox with two agents and a manual clock."""
    with Sandbox(clock="manual", agents=2) as sandbox:
        yield sandbox


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[requests.Session]:
    """Yield a client of that sandbox."""
    with Client(sandbox.url) as client:
        yield client
