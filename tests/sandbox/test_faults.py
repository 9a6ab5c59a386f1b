"""Faults as a client meets them, and the rules that decide them."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
import requests

from airflow_provider_telzino.sandbox import DEFAULT_AGENT_ID, Faults, Sandbox
from airflow_provider_telzino.sandbox.faults import TokenBucket
from airflow_provider_telzino.sandbox.server import listening_socket

CALLS = f"/v1/agents/{DEFAULT_AGENT_ID}/outbound-calls"
GOOD = {"to_number": "+18135551234"}


def test_status_for_the_next_requests(sandbox: Sandbox, api: requests.Session) -> None:
    """A fault affects so many matching requests, and no others."""
    sandbox.faults.next("GET", "outbound-calls", status=503, times=3)

    posted = api.post(CALLS, json=GOOD).status_code
    elsewhere = api.get("/v1/agents").status_code
    statuses = [api.get(CALLS).status_code for _ in range(4)]

    assert (posted, elsewhere, statuses) == (202, 200, [503, 503, 503, 200])


def test_faults_in_their_order(sandbox: Sandbox, api: requests.Session) -> None:
    """Several faults are used one after the other."""
    for status in (500, 429, 401):
        sandbox.faults.next(status=status)

    assert [api.get(CALLS).status_code for _ in range(4)] == [500, 429, 401, 200]


def test_path_is_a_regular_expression(sandbox: Sandbox, api: requests.Session) -> None:
    """So that a fault can affect only the list."""
    call = sandbox.place()
    sandbox.faults.next("GET", "outbound-calls$", status=500)

    assert api.get(f"{CALLS}/{call['id']}").status_code == 200
    assert api.get(CALLS).status_code == 500


@pytest.mark.parametrize("value", ["2", "0", "-1", "Wed, 21 Oct 2037 07:28:00 GMT", "soon", "1e400", ""])
def test_retry_after(sandbox: Sandbox, api: requests.Session, value: str) -> None:
    """`Retry-After` can be any text."""
    sandbox.faults.next(status=429, retry_after=value)

    assert api.get(CALLS).headers["Retry-After"] == value


def test_any_header(sandbox: Sandbox, api: requests.Session) -> None:
    """So can any header."""
    sandbox.faults.next(status=503, headers={"X-Proxy": "here"})

    assert api.get(CALLS).headers["X-Proxy"] == "here"


def test_raw_body(sandbox: Sandbox, api: requests.Session) -> None:
    """An answer can be anything, such as a login page with status 200."""
    sandbox.faults.next(raw_body=b"<html>", content_type="text/html")

    answer = api.get(CALLS)

    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (
        200, b"<html>", "text/html",
    )  # fmt: skip


def test_huge_body(sandbox: Sandbox, api: requests.Session) -> None:
    """An answer can be far too large."""
    sandbox.faults.next(raw_body=b" " * 20_000_000)

    assert len(api.get(CALLS).content) == 20_000_000


def test_redirect(sandbox: Sandbox, api: requests.Session) -> None:
    """An answer can redirect to another host."""
    sandbox.faults.next(location="http://127.0.0.1:1/elsewhere")

    answer = api.get(CALLS)

    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:1/elsewhere")


def test_cut_off(sandbox: Sandbox, api: requests.Session) -> None:
    """The connection ends in the middle of the body; the next request has a new one."""
    sandbox.faults.next(cut_off=True)

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        api.get(CALLS)

    assert api.get(CALLS).status_code == 200


def test_reset(sandbox: Sandbox, api: requests.Session) -> None:
    """The connection is reset instead of an answer."""
    sandbox.faults.next(reset=True)

    with pytest.raises(requests.ConnectionError, match="reset"):
        api.get(CALLS)

    assert sandbox.requests[0].status is None
    assert api.get(CALLS).status_code == 200


def test_hang(sandbox: Sandbox, api: requests.Session) -> None:
    """No answer comes; the client gives up."""
    sandbox.faults.next(hang=True)

    with pytest.raises(requests.ReadTimeout):
        api.get(CALLS, timeout=0.1)

    assert api.get(CALLS).status_code == 200


def test_stop_while_a_request_hangs() -> None:
    """A sandbox stops before a request that it holds has timed out."""
    sandbox = Sandbox(clock="manual")
    sandbox.faults.next(hang=True)
    sandbox.start()
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(requests.get, f"{sandbox.url}/v1/agents", timeout=60)
        while not sandbox.requests:
            time.sleep(0.001)

        sandbox.stop()

        with pytest.raises(requests.ConnectionError):
            waiting.result()


def test_delay(sandbox: Sandbox, api: requests.Session) -> None:
    """An answer can come late."""
    sandbox.faults.next(delay=0.15)

    answer = api.get(CALLS)

    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 0.15


BAD_ENDS: list[dict[str, Any]] = [{"status": 500}, {"reset": True}, {"hang": True}, {"raw_body": b"<html>"}]


@pytest.mark.parametrize("after_commit", [False, True])
@pytest.mark.parametrize("fault", BAD_ENDS)
def test_before_and_after_the_commit(
    sandbox: Sandbox, api: requests.Session, fault: dict[str, Any], after_commit: bool
) -> None:
    """A POST can go wrong before its call is placed, or after that, which looks the same to the client."""
    sandbox.faults.next("POST", after_commit=after_commit, **fault)

    lost = pytest.raises(requests.RequestException) if fault.keys() & {"reset", "hang"} else nullcontext()
    with lost:
        assert api.post(CALLS, json=GOOD, timeout=0.2).status_code != 202

    assert len(sandbox.calls) == after_commit


@pytest.mark.parametrize("fault", [{"cut_off": True}, {"delay": 0.5}])
def test_lost_answer(sandbox: Sandbox, api: requests.Session, fault: dict[str, Any]) -> None:
    """A fault that changes the API's own answer doesn't prevent the call."""
    sandbox.faults.next("POST", **fault)

    with pytest.raises(requests.RequestException):
        api.post(CALLS, json=GOOD, timeout=0.2)

    assert len(sandbox.calls) == 1


@pytest.mark.parametrize("fault", [{}, {"after_commit": True}, {"retry_after": "2"}, {"headers": {"A": "b"}}])
def test_faults_that_would_do_nothing(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    """A fault without an effect is an error in the test that adds it."""
    with pytest.raises(ValueError, match=r"[Gg]ive"):
        sandbox.faults.next("GET", **fault)


def test_clear(sandbox: Sandbox, api: requests.Session) -> None:
    """Faults that have not been used can be removed."""
    sandbox.faults.next(status=500, times=5)
    waiting = sandbox.faults.waiting

    sandbox.faults.clear()

    assert (waiting, sandbox.faults.waiting) == (5, 0)
    assert api.get(CALLS).status_code == 200


def test_error_rate(sandbox: Sandbox, api: requests.Session) -> None:
    """About so many requests fail, and of the POSTs about half after the call was placed."""
    sandbox.faults.error_rate = 0.5

    statuses = [api.post(CALLS, json=GOOD).status_code for _ in range(200)]

    failed = statuses.count(500)
    assert 60 < failed < 140
    assert 0.2 * failed < len(sandbox.calls) - statuses.count(202) < 0.8 * failed


def test_rates_repeat_with_the_seed() -> None:
    """The same seed lets the same requests fail."""

    def run(seed: int) -> list[int | None]:
        faults = Faults(error_rate=0.3, rate_limit_rate=0.3, seed=seed)
        return [faults.for_request("GET", "/", 0).status for _ in range(50)]

    assert run(3) == run(3) != run(4)
    assert set(run(3)) == {None, 429, 500}


@pytest.mark.parametrize(("retry_after", "header"), [(None, None), ("7", "7"), ("auto", "100")])
def test_rate_limit(
    sandbox: Sandbox, api: requests.Session, retry_after: str | None, header: str | None
) -> None:
    """What is beyond the limit is a 429, with `Retry-After` or without."""
    sandbox.faults.rate_limit = 0.01
    sandbox.faults.retry_after = retry_after

    answers = [api.get(CALLS) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].headers.get("Retry-After") == header


def test_rate_limit_rate(sandbox: Sandbox, api: requests.Session) -> None:
    """429 can come at random, too."""
    sandbox.faults.rate_limit_rate = 1

    assert api.get(CALLS).status_code == 429


def test_token_bucket() -> None:
    """A limit allows a burst of one second's worth, then so many requests a second."""
    bucket = TokenBucket(2)

    assert [bucket.take(0), bucket.take(0)] == [0, 0]
    assert bucket.take(0) == 0.5
    assert bucket.take(0.25) == 0.25
    assert bucket.take(0.5) == 0
    assert [bucket.take(1_000) for _ in range(3)] == [0, 0, 0.5]


def test_latency(sandbox: Sandbox, api: requests.Session) -> None:
    """All answers can be slow."""
    sandbox.faults.latency = (0.05, 0.06)

    assert api.get(CALLS).elapsed.total_seconds() >= 0.05


@pytest.mark.parametrize(
    "wrong",
    [{"latency": (2.0, 1.0)}, {"latency": (-1.0, 1.0)}, {"error_rate": 1.1}, {"rate_limit_rate": -0.1},
     {"rate_limit": 0.0}],
)  # fmt: skip
def test_invalid_faults(wrong: dict[str, Any]) -> None:
    """They are refused."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Faults(**wrong)


def test_faults_affect_only_the_api(sandbox: Sandbox, api: requests.Session) -> None:
    """The live page still works while the API is down."""
    sandbox.faults.error_rate = 1

    assert [api.get(path).status_code for path in ("/", "/sandbox/calls.json", CALLS)] == [200, 200, 500]


def test_requests_are_recorded(sandbox: Sandbox, api: requests.Session) -> None:
    """Tests can inspect what was sent and the status of the answer."""
    api.post(CALLS, json=GOOD, headers={"User-Agent": "test/1"})
    api.get(f"{CALLS}?page=2&status=busy")

    post, get = sandbox.requests
    assert (post.method, post.path, post.json, post.status) == ("POST", CALLS, GOOD, 202)
    assert post.headers["user-agent"] == "test/1"
    assert (get.method, get.query, get.body, get.status) == ("GET", {"page": "2", "status": "busy"}, b"", 200)


def test_requests_need_not_be_recorded() -> None:
    """A sandbox that runs for days doesn't fill its memory with them."""
    with Sandbox(keep_requests=False) as sandbox:
        requests.get(f"{sandbox.url}/v1/agents", timeout=10)

        assert sandbox.requests == []


def test_two_sandboxes_at_once() -> None:
    """Sandboxes share nothing, not even a port."""
    with Sandbox() as one, Sandbox() as other:
        one.place()

        assert one.url != other.url
        assert (len(one.calls), len(other.calls)) == (1, 0)


def test_the_port_is_free_after_the_end() -> None:
    """A stopped sandbox no longer answers, and another one can take its port."""
    with Sandbox() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with Sandbox(port=port) as again:
        assert again.url == sandbox.url


def test_a_port_in_use_is_an_error() -> None:
    """Starting on a port that is in use fails at once."""
    with Sandbox() as sandbox, pytest.raises(OSError, match="in use"):
        Sandbox(port=int(sandbox.url.rpartition(":")[2])).start()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::", "example.com", ""])  # noqa: S104 - refused
def test_only_loopback(host: str) -> None:
    """The sandbox can't be reached from other hosts: its credentials are public."""
    with pytest.raises(ValueError, match="loopback"):
        Sandbox(host=host).start()


def test_no_address_before_the_start() -> None:
    """A sandbox that was not started says so; one that runs can't be started again."""
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = Sandbox().url
    with Sandbox() as sandbox, pytest.raises(RuntimeError, match="already"):
        sandbox.start()


def test_answers_are_not_held_back() -> None:
    """Without `TCP_NODELAY`, an answer sent in two parts takes 40 ms."""
    with listening_socket("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
