"""The retry rules: tables for ``Retry-After``, and the bounds of every wait."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
import tenacity

from airflow_provider_telzino.api import retry
from airflow_provider_telzino.exceptions import (
    TelzinoError,
    TelzinoNotFoundError,
    TelzinoUnavailableError,
)

NOW = datetime(2026, 6, 11, 12, 0, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("   ", None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("86400", 86400.0),
        ("86401", None),
        ("99999999999999999999", None),
        ("-5", None),
        ("+5", None),
        ("1e3", None),
        ("1_000", None),
        ("٣", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("5, 10", None),
        ("Thu, 11 Jun 2026 12:00:30 GMT", 30.0),
        ("Thu, 11 Jun 2026 14:00:30 +0200", 30.0),
        ("Thu, 11 Jun 2026 12:00:30 -0000", 30.0),
        ("Thursday, 11-Jun-26 12:00:30 GMT", 30.0),
        ("Thu, 11 Jun 2026 11:59:00 GMT", 0.0),
        ("Fri, 12 Jun 2026 13:00:00 GMT", None),
        ("Thu, 11 Jun 9999 12:00:30 GMT", None),
        ("Thu, 99 Jun 2026 12:00:30 GMT", None),
        ("Thu, 11 Jun 0001 00:00:00 +2359", 0.0),
        ("\x00", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    """Seconds and HTTP dates are read; invalid, negative and absurdly large values count as no header."""
    assert retry.parse_retry_after(header, now=NOW) == seconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Thu, 11 Jun 2026 12:00:00 GMT", 30.0),
        ("Thu, 11 Jun 2026 11:59:00 GMT", 90.0),  # the server's clock is slow, or ours is fast
        ("Thu, 11 Jun 2026 13:00:00 GMT", 0.0),
        ("Thu, 11 Jun 2026 14:00:00 +0200", 30.0),
        ("Thu, 11 Jun 2026 12:00:10 -0000", 20.0),
        ("Thu, 11 Jun 1926 12:00:00 GMT", None),
        # Without a valid date it is our own clock that counts.
        (None, 30.0),
        ("", 30.0),
        ("yesterday", 30.0),
        ("1781179200", 30.0),
        ("Thu, 99 Jun 2026 12:00:00 GMT", 30.0),
        ("\ud800", 30.0),
    ],
)
def test_a_retry_after_date_counts_from_the_date_of_the_answer(date: str | None, seconds: float) -> None:
    """Server and worker may disagree about the time."""
    wait = retry.parse_retry_after("Thu, 11 Jun 2026 12:00:30 GMT", date, now=NOW)

    assert wait == seconds


def test_the_date_of_the_answer_does_not_change_seconds() -> None:
    """They count from now in any case."""
    assert retry.parse_retry_after("7", "Thu, 11 Jun 1926 12:00:00 GMT", now=NOW) == 7


def test_backoff_grows_to_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upper bound of the jitter doubles with each failure, up to the cap."""
    monkeypatch.setattr(retry, "_jitter", lambda low, high: high)

    waits = [retry.backoff(n, floor=0, time_left=1e9) for n in (1, 2, 3, 4, 7, 8, 1_000)]

    assert waits == [1, 2, 4, 8, 60, 60, 60]


def test_backoff_has_full_jitter() -> None:
    """A wait lies anywhere between 0 and its upper bound, so that clients spread out."""
    waits = [retry.backoff(5, floor=0, time_left=1e9) for _ in range(500)]

    assert all(0 <= wait <= 16 for wait in waits)
    assert min(waits) < 4
    assert max(waits) > 12


def test_retry_after_is_a_floor_and_time_left_a_ceiling() -> None:
    """No wait is shorter than the server requires, nor longer than the time that is left."""
    assert retry.backoff(1, floor=30, time_left=100) == 30
    assert retry.backoff(1, floor=30, time_left=10) == 10
    assert retry.backoff(9, floor=0, time_left=-1) == 0


@pytest.mark.parametrize(
    ("retry_for", "elapsed", "expected"),
    [(60, 0, 30), (60, 40, 20), (60, 59.9, 1), (60, 70, 1), (0, 0, 30)],
)
def test_a_request_has_no_more_time_than_is_left(retry_for: float, elapsed: float, expected: float) -> None:
    """The last attempts are cut short, but have at least a second; a single attempt has its whole timeout."""
    rules = retry.RetryRules(idempotent=True, retry_for=retry_for, log=None)

    assert rules.request_time(1000.0, 1000.0 + elapsed, 30.0) == pytest.approx(expected)


@pytest.mark.parametrize("elapsed", [0, 59.9, 70])
def test_a_request_that_rings_a_person_has_its_whole_timeout(elapsed: float) -> None:
    """If it were cut short, its answer would be lost although a call was placed."""
    rules = retry.RetryRules(idempotent=False, retry_for=60, log=None)

    assert rules.request_time(1000.0, 1000.0 + elapsed, 30.0) == 30


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize(
    ("retry_for", "elapsed", "retry_after", "expected"),
    [
        (60, 0, None, False),
        (60, 0, 30, False),
        (60, 0, 60, False),
        (60, 0, 60.1, True),
        (60, 40, 20, False),
        (60, 40, 21, True),
        (60, 60, None, True),
        (60, 70, 0, True),
        (0, 0, 1, True),
    ],
)
def test_no_attempt_is_made_before_the_api_allows_it(
    retry_for: float, elapsed: float, retry_after: float | None, expected: bool, idempotent: bool
) -> None:
    """If that is beyond the time left, the request fails at once. It used to be sent too early."""
    rules = retry.RetryRules(idempotent=idempotent, retry_for=retry_for, log=None).arguments()
    state = failed(429, elapsed, retry_after)

    stops = rules["stop"](state)

    assert stops is expected
    assert stops or rules["wait"](state) >= (retry_after or 0)


@pytest.mark.parametrize(
    "answers",
    [
        [(0, 404, True), (1, 404, True), (3, 404, True), (14.9, 404, True), (15, 404, False)],
        [(0, 404, True), (10, 503, True), (12, 404, True), (26.9, 404, True), (27, 404, False)],
        [(50, 404, True), (64, 404, True), (65.1, 404, False)],
    ],
)
def test_a_404_is_final_after_its_time(answers: list[tuple[float, int, bool]]) -> None:
    """Counted from the first 404 of an unbroken series, however many there are."""
    rules = retry.RetryRules(idempotent=True, retry_for=1e9, log=None).arguments()

    assert [rules["retry"](failed(status, at)) for at, status, _ in answers] == [
        expected for *_, expected in answers
    ]


def test_the_last_attempt_after_a_404_is_made_when_it_is_final() -> None:
    """Not much later, whatever the backoff."""
    rules = retry.RetryRules(idempotent=True, retry_for=1e9, log=None).arguments()
    rules["retry"](failed(404, 2))
    last = failed(404, 16.5)
    last.attempt_number = 30

    assert rules["retry"](last)
    assert rules["wait"](last) == pytest.approx(0.5)


def test_a_404_to_a_post_is_final() -> None:
    """A request that may have dialled is never repeated."""
    rules = retry.RetryRules(idempotent=False, retry_for=1e9, log=None).arguments()

    assert rules["retry"](failed(404, 0)) is False


def failed(status: int, elapsed: float, retry_after: float | None = None) -> tenacity.RetryCallState:
    """Make tenacity's state after a failed attempt, so many seconds after the start of the first one."""
    error: TelzinoError
    if status == 404:
        error = TelzinoNotFoundError("404")
    else:
        error = TelzinoUnavailableError(str(status), retry_after=retry_after)
    state = tenacity.RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
    state.set_exception((type(error), error, None))
    state.start_time, state.outcome_timestamp = 0.0, elapsed
    return state
