"""Both hooks against a real HTTP server on loopback, test by test: what one does, the other does, too."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.api import retry
from airflow_provider_telzino.hooks.telzino import TelzinoHook
from airflow_provider_telzino.sandbox import (
    ACCESS_TOKEN,
    CLIENT_SECRET,
    DEFAULT_AGENT_ID,
    FORBIDDEN_AGENT_ID,
    Sandbox,
)
from tests.conftest import CALL_ID, ConnectionSetter
from tests.hooks.conftest import HookUnderTest

OTHER_ID = "00000000-0000-4000-8000-000000000000"
NUMBER = "+15005550100"


@pytest.fixture
def call(sandbox: Sandbox) -> dict[str, Any]:
    """A call in the sandbox that has ended."""
    return sandbox.add_call(status="completed", to_number=NUMBER)


UNENDING = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
MOVED = "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 1000\r\n\r\n"


@contextlib.contextmanager
def dribbling_server(head: str) -> Iterator[str]:
    """Answer with this head, then with a byte every 50 ms, forever."""
    stop = threading.Event()

    class Dribble(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(65_536)
                self.request.sendall(head.encode() or b"HTTP/1.1 200 OK\r\nX: ")
                while not stop.wait(0.05):
                    self.request.sendall(b" ")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dribble)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        stop.set()
        server.shutdown()
        thread.join()
        server.server_close()


def requests_to(sandbox: Sandbox, part: str) -> list[Any]:
    """The requests whose path has this part."""
    return [each for each in sandbox.requests if part in each.path]


class TestReading:
    """Getting and listing."""

    def test_get_call_gives_the_record_as_it_is(
        self, sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
    ) -> None:
        """The record is what the API says, field by field."""
        assert hook.get_call(call["id"]) == call

    def test_the_documented_record_passes_untouched(
        self, sandbox: Sandbox, hook: HookUnderTest, seed_record: dict[str, Any]
    ) -> None:
        """The documentation's own example comes through byte for byte."""
        sandbox.faults.next("GET", CALL_ID, raw_body=json.dumps(seed_record).encode())

        assert hook.get_call(CALL_ID) == seed_record

    def test_every_request_has_token_and_user_agent(
        self, sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
    ) -> None:
        """Requests say who they are and what sends them."""
        hook.get_call(call["id"])

        headers = sandbox.requests[-1].headers
        assert headers["user-agent"].startswith("airflow-provider-telzino/")
        assert headers["authorization"] == f"Bearer {ACCESS_TOKEN}"

    def test_list_calls_goes_through_all_pages(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """All calls come, newest first, each once, in pages of 100."""
        ids = [sandbox.place(NUMBER)["id"] for _ in range(250)]

        listed = [record["id"] for record in hook.list_calls()]

        assert listed == ids[::-1]
        assert [each.query["limit"] for each in requests_to(sandbox, "outbound-calls")] == ["100"] * 3

    def test_list_calls_of_one_status(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """The filter is the server's."""
        for status in ("busy", "completed", "busy"):
            sandbox.add_call(status=status)

        assert [record["status"] for record in hook.list_calls(status="busy")] == ["busy", "busy"]

    def test_get_transcript_finds_the_log(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """A transcript is found by its id in the call logs."""
        placed = [sandbox.place(NUMBER) for _ in range(3)]
        sandbox.clock.advance(3_600)
        transcript_id = sandbox.call(placed[0]["id"])["transcript_id"]

        log = hook.get_transcript(transcript_id)

        assert log["id"] == transcript_id
        assert log["transcript_text"]

    def test_a_transcript_that_does_not_exist(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """The search ends, and says where it looked."""
        sandbox.add_call(status="completed")

        with pytest.raises(exceptions.TelzinoNotFoundError, match="newest 5,000 call logs"):
            hook.get_transcript(OTHER_ID)

    def test_the_agent_of_a_method_wins(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """An agent given to the method is used instead of the connection's."""
        with pytest.raises(exceptions.TelzinoPermissionError):
            hook.get_call(CALL_ID, agent_id=FORBIDDEN_AGENT_ID)

        assert FORBIDDEN_AGENT_ID in sandbox.requests[-1].path

    def test_one_connection_is_kept_alive(
        self, sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
    ) -> None:
        """Ten looks travel over one TCP connection."""
        for _ in range(10):
            hook.get_call(call["id"])

        assert len({each.client for each in sandbox.requests}) == 1


class TestPlacing:
    """Placing a call: never twice."""

    def test_place_call_gives_the_answer_as_it_is(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """The answer is the documented one, and the body what was asked for."""
        answer = hook.place_call(NUMBER, call_context="Call John.", metadata={"crm": 1})

        assert set(answer) == {"id", "status", "room_name", "created_at"}
        assert hook.get_call(answer["id"])["call_context"] == "Call John."
        assert hook.get_call(answer["id"])["request_metadata"] == {"crm": 1}

    def test_metadata_is_sent_as_it_was_measured(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """Compact and in UTF-8: what just fits must not grow by escapes on its way."""
        metadata = {"ü": "ü" * 8_180, "n": [1, 2]}

        hook.place_call(NUMBER, metadata=metadata)

        (request,) = sandbox.requests
        assert '"metadata":{"ü":"üü'.encode() in request.body
        assert len(request.body) < 16_384 + 100
        assert request.headers["content-type"] == "application/json"
        assert sandbox.calls[0]["request_metadata"] == metadata

    def test_a_single_post(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """Who has to ask something before each POST tries again by himself."""
        sandbox.faults.next("POST", "outbound-calls$", status=429, retry_after="0", times=2)

        with pytest.raises(exceptions.TelzinoRateLimitError):
            hook.place_call(NUMBER, retry_for=0)

        assert len(sandbox.requests) == 1

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 500},
            {"status": 503, "retry_after": "0"},
            {"after_commit": True, "status": 500},
            {"after_commit": True, "reset": True},
            {"after_commit": True, "cut_off": True},
            {"raw_body": b"<html>ok</html>", "status": 200},
            {"reset": True},
        ],
        ids=str,
    )
    def test_a_post_that_may_have_been_received_is_not_sent_again(
        self, sandbox: Sandbox, hook: HookUnderTest, fault: dict[str, Any]
    ) -> None:
        """Whatever came instead of an answer, one POST was sent, and the error warns of the call."""
        sandbox.faults.next("POST", "outbound-calls", **fault)

        with pytest.raises(exceptions.TelzinoTransientError, match="may have been placed") as caught:
            hook.place_call(NUMBER)

        assert caught.value.maybe_received
        assert len(requests_to(sandbox, "outbound-calls")) == 1
        assert len(sandbox.calls) <= 1

    def test_a_refused_post_is_sent_again(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """A 429 dialled nobody, so the POST is tried again."""
        sandbox.faults.next("POST", "outbound-calls", status=429, retry_after="0", times=2)

        hook.place_call(NUMBER)

        assert len(requests_to(sandbox, "outbound-calls")) == 3
        assert len(sandbox.calls) == 1

    def test_a_post_whose_token_expired_is_sent_again(
        self, sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """A 401 dialled nobody either: a new token, and one call."""
        connect(sandbox, oauth=True)
        hook = make_hook()
        hook.place_call(NUMBER)
        sandbox.revoke_tokens()

        hook.place_call(NUMBER)

        assert len(sandbox.calls) == 2
        assert len(requests_to(sandbox, "/oauth/token")) == 2

    def test_a_failing_token_endpoint_is_no_reason_to_give_up(
        self, sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """While the token is fetched, nothing was dialled: it is retried even for a POST."""
        connect(sandbox, oauth=True)
        sandbox.faults.next("POST", "/oauth/token", status=503, times=2)

        make_hook().place_call(NUMBER)

        assert len(sandbox.calls) == 1

    def test_bad_input_is_never_sent(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """A number that isn't E.164 rings nowhere, and isn't repeated in the error."""
        with pytest.raises(exceptions.TelzinoConfigurationError, match="`to_number`") as caught:
            hook.place_call("813 555 6789")

        assert sandbox.requests == []
        assert "6789" not in str(caught.value)
        assert caught.value.conn_id == "telzino_default"


class TestToken:
    """OAuth client credentials."""

    def test_a_token_is_fetched_once(
        self, sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """One token serves all requests of a hook; it goes out as documented."""
        connect(sandbox, oauth=True)
        record = sandbox.add_call(status="completed")
        hook = make_hook()

        for _ in range(5):
            hook.get_call(record["id"])

        asked = requests_to(sandbox, "/oauth/token")
        assert len(asked) == 1
        assert asked[0].json == {
            "client_id": "sandbox",
            "client_secret": CLIENT_SECRET,
            "audience": "https://api.telzino.com/",
            "grant_type": "client_credentials",
        }
        assert "authorization" not in asked[0].headers

    def test_a_token_is_renewed_before_it_expires(
        self,
        sandbox: Sandbox,
        connect: ConnectionSetter,
        make_hook: Callable[[], HookUnderTest],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Shortly before its end a token counts as expired, so that no request meets a 401."""
        connect(sandbox, oauth=True)
        record = sandbox.add_call(status="completed")
        hook = make_hook()
        hook.get_call(record["id"])
        now = time.monotonic()
        monkeypatch.setattr("airflow_provider_telzino.api.token.time.monotonic", lambda: now + 86_400 - 30)

        hook.get_call(record["id"])

        assert len(requests_to(sandbox, "/oauth/token")) == 2
        assert [each.status for each in requests_to(sandbox, "outbound-calls")] == [200, 200]

    def test_a_refused_token_is_renewed_once(
        self, sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """After a 401 there is one new token; if that is refused, too, the error is final."""
        connect(sandbox, oauth=True)
        record = sandbox.add_call(status="completed")
        hook = make_hook()
        hook.get_call(record["id"])
        sandbox.faults.next("GET", "outbound-calls", status=401, times=2)

        with pytest.raises(exceptions.TelzinoCredentialsError, match="audience"):
            hook.get_call(record["id"])

        assert len(requests_to(sandbox, "/oauth/token")) == 2
        assert len(requests_to(sandbox, "outbound-calls")) == 3

    def test_many_at_once_fetch_one_token(
        self, sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """However many threads or coroutines ask at the same moment: one token, and one more after a 401."""
        connect(sandbox, oauth=True)
        record = sandbox.add_call(status="completed")
        hook = make_hook()

        hook.get_call_many_times_at_once(record["id"], 20)
        sandbox.revoke_tokens()
        hook.get_call_many_times_at_once(record["id"], 20)

        assert len(requests_to(sandbox, "/oauth/token")) == 2

    def test_a_wrong_secret(
        self, sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """The error names the fields to check, is final at once, and holds no secret."""
        connect(sandbox, login="sandbox", password="not-the-secret")

        with pytest.raises(exceptions.TelzinoCredentialsError, match="Login") as caught:
            make_hook().get_call(CALL_ID)

        assert len(sandbox.requests) == 1
        assert "not-the-secret" not in str(caught.value)

    def test_a_wrong_token(
        self, sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """A pasted token that is refused is final at once; there is nothing to renew it with."""
        connect(sandbox, password="expired-token")

        with pytest.raises(exceptions.TelzinoCredentialsError, match="one day") as caught:
            make_hook().get_call(CALL_ID)

        assert len(sandbox.requests) == 1
        assert "expired-token" not in str(caught.value)


class TestFaults:
    """Failures of a GET: retried when that can help, final at once when it can't."""

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 429},
            {"status": 500},
            {"status": 503, "retry_after": "0"},
            {"reset": True},
            {"cut_off": True},
            {"status": 200, "raw_body": b"<html>Sign in</html>"},
            {"status": 200, "raw_body": b""},
            {"status": 200, "raw_body": b"[]"},
            {"status": 404},
        ],
        ids=str,
    )
    def test_a_passing_fault_is_outlived(
        self, sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any], fault: dict[str, Any]
    ) -> None:
        """Twice a fault, then the record: the caller sees only the record."""
        sandbox.faults.next("GET", "outbound-calls", times=2, **fault)

        assert hook.get_call(call["id"])["status"] == "completed"
        assert len(sandbox.requests) == 3

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, exceptions.TelzinoBadRequestError),
            (403, exceptions.TelzinoPermissionError),
            (302, exceptions.TelzinoConfigurationError),
        ],
    )
    def test_a_final_error_is_final_at_once(
        self, sandbox: Sandbox, hook: HookUnderTest, status: int, error: type[Exception]
    ) -> None:
        """What a retry can't mend isn't retried."""
        sandbox.faults.next("GET", "outbound-calls", status=status, times=9)

        with pytest.raises(error):
            hook.get_call(CALL_ID)

        assert len(sandbox.requests) == 1

    def test_an_unknown_call(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """A 404 may be of a call too young to be visible: only after a while it is final."""
        with pytest.raises(exceptions.TelzinoNotFoundError, match=CALL_ID):
            hook.get_call(CALL_ID)

        assert len(sandbox.requests) > 3

    def test_a_call_that_is_visible_late(
        self, sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
    ) -> None:
        """It counts for how long a call is missing, not how often: the time is what the API needs."""
        sandbox.faults.next("GET", "outbound-calls", status=404, times=5)

        assert hook.get_call(call["id"]) == call

    def test_an_unknown_call_in_a_single_try(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """Who has no time for more gets the 404 at once."""
        with pytest.raises(exceptions.TelzinoNotFoundError):
            hook.get_call(CALL_ID, retry_for=0)

        assert len(sandbox.requests) == 1

    def test_an_unknown_agent(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """A POST to an unknown agent is refused, and not repeated."""
        with pytest.raises(exceptions.TelzinoNotFoundError):
            hook.place_call(NUMBER, agent_id=OTHER_ID)

        assert len(sandbox.requests) == 1

    def test_a_redirect_is_not_followed(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """A redirect, which would take the token elsewhere, is an error."""
        sandbox.faults.next("GET", "outbound-calls", location=f"{sandbox.url}/v1/agents")

        with pytest.raises(exceptions.TelzinoConfigurationError, match="redirect"):
            hook.get_call(CALL_ID)

        assert len(sandbox.requests) == 1

    def test_a_huge_body_is_not_read(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """A body of 20 MB is given up at 10."""
        sandbox.faults.next("GET", "outbound-calls", raw_body=b" " * 20 * 1024 * 1024)

        with pytest.raises(exceptions.TelzinoUnreadableAnswerError, match="larger than 10 MB"):
            hook.get_call(CALL_ID, retry_for=0)

    def test_a_server_that_never_answers(
        self, sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """The request ends after the connection's timeout, with an error that says so."""
        connect(sandbox, extra={"timeout": 0.3})
        sandbox.faults.next("GET", "outbound-calls", hang=True)

        with pytest.raises(exceptions.TelzinoUnavailableError, match=r"no answer within 0\.3 s"):
            make_hook().get_call(CALL_ID, retry_for=0)

    @pytest.mark.parametrize("head", ["", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", UNENDING, MOVED])
    def test_a_server_that_dribbles(
        self, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest], head: str
    ) -> None:
        """Headers or a body that come a byte at a time are given up when the timeout is over."""
        with dribbling_server(head) as url:
            connect(url, extra={"timeout": 0.5})
            started = time.monotonic()

            with pytest.raises(exceptions.TelzinoError) as caught:
                make_hook().get_call(CALL_ID, retry_for=0)

            assert time.monotonic() - started < 10
        if head != MOVED:
            assert "no answer within 0.5 s" in str(caught.value)

    @pytest.mark.parametrize("location", ["http://[bad", "/elsewhere"])
    def test_the_address_of_a_redirect_does_not_matter(
        self, sandbox: Sandbox, hook: HookUnderTest, location: str
    ) -> None:
        """A redirect isn't followed, so whatever it says is the same error."""
        sandbox.faults.next("GET", "outbound-calls", location=location)

        with pytest.raises(exceptions.TelzinoConfigurationError, match="redirect"):
            hook.get_call(CALL_ID)

    def test_a_404_after_an_outage_is_not_final(
        self, sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
    ) -> None:
        """Only 404s in a row count: a gateway that comes back may say anything for a moment."""
        for status in (503, 503, 503, 404, 404, 503, 404, 404):
            sandbox.faults.next("GET", "outbound-calls", status=status)

        assert hook.get_call(call["id"]) == call

    def test_a_hanging_token_endpoint_holds_nobody_longer_than_its_time(
        self, sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """Those who wait for another one's token have their own time limit."""
        connect(sandbox, oauth=True, extra={"timeout": 0.4})
        sandbox.faults.next("POST", "/oauth/token", hang=True, times=50)
        hook = make_hook()
        started = time.monotonic()

        with pytest.raises(exceptions.TelzinoUnavailableError):
            hook.get_call_many_times_at_once(CALL_ID, 10, retry_for=0)

        assert time.monotonic() - started < 3

    def test_a_list_without_end_ends(self, sandbox: Sandbox, hook: HookUnderTest) -> None:
        """A server that says "there is more" forever, but has nothing new, is not asked forever."""
        page = {"data": [{"id": CALL_ID, "status": "busy"}], "pagination": {"hasNext": True}}
        sandbox.faults.next("GET", "outbound-calls", raw_body=json.dumps(page).encode(), times=1_000)

        assert [record["id"] for record in hook.list_calls()] == [CALL_ID]
        assert len(sandbox.requests) == 4

    def test_nobody_listens(self, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]) -> None:
        """A refused connection is a clear error, and certain to have dialled nobody."""
        connect("http://127.0.0.1:1")

        with pytest.raises(exceptions.TelzinoUnavailableError, match="connection failed") as caught:
            make_hook().get_call(CALL_ID, retry_for=0)

        assert not caught.value.maybe_received

    def test_retries_end_when_their_time_is_over(
        self, sandbox: Sandbox, hook: HookUnderTest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The last error is raised after the time that was given, not later."""
        monkeypatch.setattr(retry, "BACKOFF_BASE", 0.05)
        sandbox.faults.next("GET", "outbound-calls", status=503, times=1_000)

        with pytest.raises(exceptions.TelzinoUnavailableError, match="503"):
            hook.get_call(CALL_ID, retry_for=0.3)

        assert 2 <= len(sandbox.requests) < 200

    def test_a_retry_after_beyond_the_time_left_fails_at_once(
        self, sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
    ) -> None:
        """No request is sent before the API allows it."""
        sandbox.faults.next("GET", "outbound-calls", status=429, retry_after="3600")

        with pytest.raises(exceptions.TelzinoRateLimitError) as caught:
            hook.get_call(call["id"], retry_for=30)

        assert caught.value.retry_after == 3_600
        assert [request.method for request in sandbox.requests].count("GET") == 1

    def test_retry_after_is_a_floor(
        self, sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
    ) -> None:
        """No look comes sooner than the server asked for."""
        sandbox.faults.next("GET", "outbound-calls", status=429, retry_after="0.4")
        started = time.monotonic()

        hook.get_call(call["id"])

        assert time.monotonic() - started >= 0.4

    def test_retries_are_logged_with_their_reason(
        self,
        sandbox: Sandbox,
        hook: HookUnderTest,
        call: dict[str, Any],
        task_log: pytest.LogCaptureFixture,
    ) -> None:
        """A retry says why and when, and to which call and connection."""
        sandbox.faults.next("GET", "outbound-calls", status=503)

        hook.get_call(call["id"])

        retries = [line for line in task_log.messages if "Trying again" in line]
        assert len(retries) == 1
        for part in ("503", "telzino_default", call["id"]):
            assert part in retries[0]


class TestSettings:
    """What the connection says reaches the wire, or is refused before anything does."""

    @pytest.mark.parametrize("call_id", ["", "x", f"{CALL_ID}/..", f"{CALL_ID}?a=b", f"../{CALL_ID}"])
    def test_bad_ids_never_reach_the_wire(self, sandbox: Sandbox, hook: HookUnderTest, call_id: str) -> None:
        """An id that is no UUID is refused here, and the error names the connection."""
        with pytest.raises(exceptions.TelzinoConfigurationError, match="`call_id`") as caught:
            hook.get_call(call_id)

        assert sandbox.requests == []
        assert caught.value.conn_id == "telzino_default"

    def test_a_missing_agent(
        self, sandbox: Sandbox, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """Without an agent anywhere, the error says where to set one."""
        connect(sandbox, extra={"agent_id": None})

        with pytest.raises(exceptions.TelzinoConfigurationError, match="Agent ID in the connection"):
            make_hook().get_call(CALL_ID)

    def test_a_plain_host_is_refused(
        self, connect: ConnectionSetter, make_hook: Callable[[], HookUnderTest]
    ) -> None:
        """http:// to another machine would send the token in the clear."""
        connect("http://telzino.example")

        with pytest.raises(exceptions.TelzinoConfigurationError, match="in the clear"):
            make_hook().get_call(CALL_ID)

    def test_credentials_of_netrc_stay_out(
        self,
        sandbox: Sandbox,
        hook: HookUnderTest,
        call: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Any,
    ) -> None:
        """Neither library puts credentials of ~/.netrc in the token's place."""
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password hunter2\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

        hook.get_call(call["id"])

        assert sandbox.requests[-1].headers["authorization"] == f"Bearer {ACCESS_TOKEN}"

    def test_proxies_are_not_used_for_this_machine(
        self, sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A plain http:// request to the sandbox must not leave the machine."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

        assert hook.get_call(call["id"])["id"] == call["id"]


def test_default_agent_of_the_connection(sandbox: Sandbox, hook: HookUnderTest) -> None:
    """The connection's default agent is the one that is asked."""
    with pytest.raises(exceptions.TelzinoNotFoundError):
        hook.get_call(CALL_ID)

    assert DEFAULT_AGENT_ID in sandbox.requests[-1].path


def test_a_hook_can_be_closed_and_used_again(
    sandbox: Sandbox, hook: HookUnderTest, call: dict[str, Any]
) -> None:
    """Closing frees the connections, not the hook."""
    hook.get_call(call["id"])
    hook.close()

    assert hook.get_call(call["id"])["id"] == call["id"]
    assert threading.active_count() < 50


class TestSession:
    """``TelzinoHook.get_conn()``: the session for what the hook has no method for."""

    def test_it_is_authenticated(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """A request over the session carries the token, fetched if need be."""
        connect(sandbox, oauth=True)
        with TelzinoHook() as hook:
            answer = hook.get_conn().get(f"{sandbox.url}/v1/agents", timeout=5)

        assert answer.status_code == 200
        assert [each.method for each in sandbox.requests] == ["POST", "GET"]

    def test_the_token_goes_nowhere_else(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """A request to another host, or one whose name begins alike, carries no token."""
        connect("https://api.telzino.example")
        with TelzinoHook() as hook:
            answer = hook.get_conn().get(f"{sandbox.url}/v1/agents", timeout=5)

        assert answer.status_code == 401
        assert "authorization" not in sandbox.requests[0].headers


class TestConnectionTest:
    """``test_connection()``, behind Airflow's *Test* button."""

    def test_with_a_default_agent(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
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

    def test_without_a_default_agent(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """Without one, the cheapest list is read."""
        connect(sandbox, extra={"agent_id": None})

        assert TelzinoHook().test_connection() == (
            True,
            "Telzino accepts the credentials. No default agent is set.",
        )
        assert sandbox.requests[0].query == {"page": "1", "limit": "1"}

    def test_it_never_raises(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """Whatever is wrong with the connection comes as words, after a single try."""
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

    def test_a_connection_that_does_not_exist(self) -> None:
        """Airflow's own words, as a result."""
        works, message = TelzinoHook("no_such_connection").test_connection()

        assert not works
        assert "no_such_connection" in message
