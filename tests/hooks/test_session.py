"""``TelzinoHook.get_conn()``: the session that the hook's methods send over, and that its user may use."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from airflow_provider_telzino.hooks.telzino import TelzinoHook
from airflow_provider_telzino.sandbox import ACCESS_TOKEN, Sandbox
from tests.conftest import CALL_ID, ConnectionSetter
from tests.hooks.conftest import NUMBER
from tests.support.http_servers import RECORD, RawServer, serving

REDIRECT = (
    b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=b; Path=/\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)


def prepared_response(request: requests.PreparedRequest) -> requests.Response:
    """An answer as libraries that mock requests make it: without a connection below."""
    response = requests.Response()
    response.status_code = 200
    response.request = request
    response.raw = io.BytesIO(json.dumps(RECORD).encode())
    return response


class Recorder(HTTPAdapter):
    """An adapter of a user, which notes what it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str | None, str | None]] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send it on."""
        self.sent.append((request.method, request.headers.get("Authorization")))
        return super().send(request, *args, **kwargs)


@pytest.fixture
def hook(connected: None) -> Iterator[TelzinoHook]:
    """A hook whose connection leads to the sandbox."""
    with TelzinoHook() as hook:
        yield hook


class TestSharedSession:
    """What a user does to the session counts for every method of the hook."""

    def test_a_mounted_adapter(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """All requests pass through it, that for a token included, also after the hook was closed."""
        connect(sandbox, oauth=True)
        call = sandbox.add_call("completed")
        hook, adapter = TelzinoHook(), Recorder()
        hook.get_conn().mount("http://", adapter)

        hook.get_call(call["id"])
        list(hook.list_calls())
        hook.place_call(NUMBER)
        hook.close()
        hook.get_call(call["id"])
        hook.close()

        token = sandbox.requests[1].headers["authorization"]
        assert adapter.sent == [
            ("POST", None),
            ("GET", token),
            ("GET", token),
            ("POST", token),
            ("GET", token),
        ]

    def test_an_adapter_that_answers_by_itself(self, hook: TelzinoHook) -> None:
        """It need not be urllib3's."""

        class Canned(BaseAdapter):
            def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
                return prepared_response(request)

            def close(self) -> None:
                pass

        hook.get_conn().mount("http://", Canned())

        assert hook.get_call(CALL_ID) == RECORD

    def test_a_patched_method(self, hook: TelzinoHook, monkeypatch: pytest.MonkeyPatch) -> None:
        """Tests replace ``send`` of a session, or of all adapters, as the library ``responses`` does."""
        with monkeypatch.context() as patched:
            patched.setattr(HTTPAdapter, "send", lambda _, request, *__, **___: prepared_response(request))
            assert hook.get_call(CALL_ID) == RECORD

        monkeypatch.setattr(hook.get_conn(), "send", lambda request, **_: prepared_response(request))
        assert hook.get_call(CALL_ID) == RECORD

    def test_a_response_hook_that_reads_the_body(self, sandbox: Sandbox, hook: TelzinoHook) -> None:
        """A body that a user's hook has read before is still there."""
        call = sandbox.add_call("completed")
        lengths: list[int] = []
        hook.get_conn().hooks["response"].append(lambda answer, **_: lengths.append(len(answer.content)))

        assert hook.get_call(call["id"]) == call
        assert lengths[0] > 0


class TestRequestsOfTheUser:
    """A request for which the hook has no method."""

    def test_it_is_authenticated(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """It carries the token, fetched if need be."""
        connect(sandbox, oauth=True)
        with TelzinoHook() as hook:
            answer = hook.get_conn().get(f"{sandbox.url}/v1/agents")

        assert answer.status_code == 200
        assert [each.method for each in sandbox.requests] == ["POST", "GET"]

    def test_the_token_goes_nowhere_else(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """Another host, or another port of the same host, gets no token."""
        for other in ("https://api.telzino.example", "http://127.0.0.1:1", "http://127.0.0.1"):
            connect(other)
            with TelzinoHook() as hook:
                answer = hook.get_conn().get(f"{sandbox.url}/v1/agents")

            assert answer.status_code == 401
            assert "authorization" not in sandbox.requests[-1].headers

    def test_netrc_is_ignored(
        self, sandbox: Sandbox, hook: TelzinoHook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Its credentials go neither in the token's place nor to another host."""
        (tmp_path / ".netrc").write_text("default login other password hunter2\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

        hook.get_conn().get(f"{sandbox.url}/v1/agents")
        hook.get_conn().get(sandbox.url.replace("127.0.0.1", "localhost") + "/v1/agents")

        assert sandbox.requests[0].headers["authorization"] == f"Bearer {ACCESS_TOKEN}"
        assert "authorization" not in sandbox.requests[1].headers

    def test_redirects_and_cookies_are_ignored(self, connect: ConnectionSetter) -> None:
        """A redirect is returned as it is, and no later request carries a cookie."""
        server = RawServer(REDIRECT, REDIRECT)
        connect(server.url)

        with serving(server), TelzinoHook() as hook:
            answers = [hook.get_conn().get(f"{server.url}/here", allow_redirects=True) for _ in range(2)]

        assert [each.status_code for each in answers] == [302, 302]
        assert [each.split()[1] for each in server.requests] == [b"/here", b"/here"]
        assert b"cookie" not in server.requests[1].lower()

    def test_it_has_the_connections_timeout(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """A request that names no timeout ends all the same."""
        connect(sandbox, extra={"timeout": 0.2})
        sandbox.faults.next("GET", "agents", hang=True)

        with TelzinoHook() as hook, pytest.raises(requests.Timeout):
            hook.get_conn().get(f"{sandbox.url}/v1/agents")

    def test_no_proxy_is_used_for_this_machine(self, sandbox: Sandbox, hook: TelzinoHook) -> None:
        """Not even a proxy that the user has set."""
        hook.get_conn().proxies["http"] = "http://127.0.0.1:1"

        prepared = requests.Request("GET", f"{sandbox.url}/v1/agents")
        answer = hook.get_conn().send(hook.get_conn().prepare_request(prepared))

        assert answer.status_code == 200
