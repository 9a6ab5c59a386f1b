"""One table of raw answers, as a server may send them: both hooks read each in the same way."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from airflow_provider_telzino import exceptions
from tests.conftest import CALL_ID, ConnectionSetter
from tests.hooks.conftest import NUMBER, HookMaker
from tests.support.http_servers import RECORD, RawServer, serving

BODY = json.dumps(RECORD).encode()
GZIPPED = gzip.compress(BODY)
BOMB = gzip.compress(b" " * 50_000_000)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"


def answer(body: bytes = BODY, *headers: bytes, start: bytes = OK) -> bytes:
    """An answer with these headers and a correct length."""
    lines = b"".join(each + b"\r\n" for each in headers)
    return start + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunks(body: bytes, size: int = 7) -> bytes:
    """A body in chunks."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


def deflated(body: bytes, wbits: int) -> bytes:
    """A body compressed by zlib, with or without its header."""
    compressor = zlib.compressobj(wbits=wbits)
    return compressor.compress(body) + compressor.flush()


READABLE = {
    "plain": answer(),
    "gzip that nobody asked for": answer(GZIPPED, b"Content-Encoding: gzip"),
    "gzip in chunks": CHUNKED + b"Content-Encoding: gzip\r\n\r\n" + chunks(GZIPPED),
    "deflate": answer(deflated(BODY, 15), b"Content-Encoding: deflate"),
    "deflate without its header": answer(deflated(BODY, -15), b"Content-Encoding: deflate"),
    "an unknown encoding of no effect": answer(BODY, b"Content-Encoding: identity"),
    "a header of 9 KB": answer(BODY, b"X-Long: " + b"a" * 9_000),
    "a header of 32 KB": answer(BODY, b"X-Long: " + b"a" * 32_700),
    "90 headers, 32 KB in all": answer(BODY, *(b"X-%d: %s" % (each, b"a" * 350) for each in range(90))),
    "a repeated header": answer(BODY, b"X-Twice: 1", b"X-Twice: 2"),
    "a folded header": answer(BODY, b"X-Folded: one\r\n two"),
    "a header in Latin-1": answer(BODY, b"X-Latin: \xe9\xff"),
    "an invalid cookie": answer(BODY, b"Set-Cookie: \xff=;;;"),
    "chunks": CHUNKED + b"\r\n" + chunks(BODY),
    "chunks with extensions and trailers": (
        CHUNKED + b"\r\n%x;a=b\r\n" % len(BODY) + BODY + b"\r\n0\r\nX-Trailer: 1\r\n\r\n"
    ),
    "no length": OK + b"\r\n" + BODY,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "no reason": answer(start=b"HTTP/1.1 200\r\n"),
    "line feeds alone": answer().replace(b"\r\n", b"\n"),
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
    "102 first": b"HTTP/1.1 102 Processing\r\n\r\n" + answer(),
    "103 first, twice": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2 + answer(),
}

UNREADABLE = {
    "no body": answer(b""),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "gzip that isn't": answer(BODY, b"Content-Encoding: gzip"),
    "gzip that ends too early": answer(GZIPPED[:-12], b"Content-Encoding: gzip"),
    "an encoding that can't be decoded": answer(b"\x0b\x02\x80", b"Content-Encoding: br"),
    "a gzipped body of 50 MB": answer(BOMB, b"Content-Encoding: gzip"),
    "a gzipped body of 50 MB in chunks": (
        CHUNKED + b"Content-Encoding: gzip\r\n\r\n" + chunks(BOMB, size=10_000)
    ),
    "a body of 11 MB": answer(b" " * 11_000_000),
    "a header of 70 KB": answer(BODY, b"X-Long: " + b"a" * 70_000),
    "the same length twice": answer(BODY, b"Content-Length: %d" % len(BODY)),
    "two lengths": answer(BODY, b"Content-Length: 5"),
    "a length that isn't a number": OK + b"Content-Length: ten\r\n\r\n" + BODY,
    "a length and chunks": CHUNKED + b"Content-Length: 5\r\n\r\n" + chunks(BODY),
    "a length beyond the body": OK + b"Content-Length: 1000\r\n\r\n" + BODY,
    "chunks without an end": CHUNKED + b"\r\n" + chunks(BODY)[:-5],
    "chunks cut off": CHUNKED + b"\r\n" + chunks(BODY)[:-20],
    "chunks of an invalid size": CHUNKED + b"\r\nzz\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": answer(start=b"HTTP/2 200 OK\r\n"),
    "a status of two digits": answer(start=b"HTTP/1.1 20 OK\r\n"),
}

DROPPED = {
    "nothing": b"",
    "103 alone": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}


def by_name(table: dict[str, bytes]) -> pytest.MarkDecorator:
    """Run a test for each answer of a table."""
    return pytest.mark.parametrize("sent", table.values(), ids=table.keys())


@by_name(READABLE)
def test_an_unusual_answer_is_read(sent: bytes, connect: ConnectionSetter, make_hook: HookMaker) -> None:
    """What one library accepts, the other accepts."""
    server = RawServer(sent)
    connect(server.url)

    with serving(server):
        record = make_hook().get_call(CALL_ID, retry_for=0)

    assert record == RECORD


@by_name(UNREADABLE)
def test_an_answer_that_can_not_be_read(sent: bytes, connect: ConnectionSetter, make_hook: HookMaker) -> None:
    """What one library refuses, the other refuses, with the same error; a POST may have been received."""
    server = RawServer(sent)
    connect(server.url)

    with serving(server), pytest.raises(exceptions.TelzinoUnreadableAnswerError) as caught:
        make_hook().place_call(NUMBER)

    assert caught.value.maybe_received
    assert len(server.requests) == 1


@by_name(DROPPED)
def test_a_connection_that_ends_without_an_answer(
    sent: bytes, connect: ConnectionSetter, make_hook: HookMaker
) -> None:
    """The API counts as unavailable; a POST may have been received."""
    server = RawServer(sent)
    connect(server.url)

    with serving(server), pytest.raises(exceptions.TelzinoUnavailableError) as caught:
        make_hook().place_call(NUMBER)

    assert caught.value.maybe_received
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([b"Retry-After: 7"], 7),
        ([b"Retry-After: 7", b"Retry-After: 90"], 7),
        ([b"retry-after:   7  "], 7),
        ([b"Retry-After: \xe9"], None),
        ([], None),
    ],
)
def test_retry_after(
    headers: list[bytes], seconds: float | None, connect: ConnectionSetter, make_hook: HookMaker
) -> None:
    """Of several values, the first one counts."""
    server = RawServer(answer(b"{}", *headers, start=b"HTTP/1.1 429 Too Many Requests\r\n"))
    connect(server.url)

    with serving(server), pytest.raises(exceptions.TelzinoRateLimitError) as caught:
        make_hook().get_call(CALL_ID, retry_for=0)

    assert caught.value.retry_after == seconds
