"""The backoff that all requests of a connection share, as tables: no clock, no network."""

from __future__ import annotations

import pytest

from airflow_provider_telzino.api.backoff import SharedBackoff
from airflow_provider_telzino.exceptions import TelzinoUnavailableError

NOW = 1_000.0
ROUNDING = 1e-6  # seconds


def failure(retry_after: float | None = None) -> TelzinoUnavailableError:
    """Make the error of a request that failed."""
    return TelzinoUnavailableError("The API is away.", retry_after=retry_after)


def fail_in_a_row(backoff: SharedBackoff, times: int) -> float:
    """Let requests fail, each right after the pause of the one before; return when the last one failed."""
    now = NOW
    for _ in range(times):
        now += backoff.pause(now)
        backoff.fail(failure(), now)
    return now


def test_without_a_failure_there_is_no_pause() -> None:
    """Requests are sent at once."""
    backoff = SharedBackoff()

    assert backoff.pause(NOW) == 0.0
    assert backoff.problem is None


@pytest.mark.parametrize(("failures", "longest"), [(1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (200, 16.0)])
def test_the_pause_grows_with_each_failure_in_a_row(failures: int, longest: float) -> None:
    """Exponentially with full jitter, up to 16 s, so that a recovery is soon noticed."""
    for _ in range(50):
        backoff = SharedBackoff()

        now = fail_in_a_row(backoff, failures)

        assert 0.0 <= backoff.pause(now) <= longest + ROUNDING
        assert backoff.failures == failures


@pytest.mark.parametrize("retry_after", [30.0, 3_600.0, 86_400.0])
@pytest.mark.parametrize("failures_before", [0, 4, 200])
def test_no_request_is_sent_before_retry_after(retry_after: float, failures_before: int) -> None:
    """A ``Retry-After`` beyond the backoff counts exactly, however many failures there were."""
    backoff = SharedBackoff()
    now = fail_in_a_row(backoff, failures_before) + 16.0

    backoff.fail(failure(retry_after), now)

    assert backoff.pause(now) == pytest.approx(retry_after)


@pytest.mark.parametrize("retry_after", [0.0, 0.5, 3.0])
def test_a_retry_after_below_the_backoff_is_a_floor(retry_after: float) -> None:
    """The backoff may be longer, but not shorter."""
    for _ in range(50):
        backoff = SharedBackoff()
        now = fail_in_a_row(backoff, 4) + 16.0

        backoff.fail(failure(retry_after), now)

        assert retry_after - ROUNDING <= backoff.pause(now) <= 16.0 + ROUNDING


def test_requests_that_fail_during_a_pause_count_once() -> None:
    """They were in flight together, and failed for the same reason."""
    backoff = SharedBackoff()

    results = [backoff.fail(failure(10.0), NOW + delay) for delay in (0.0, 1.0, 2.0)]

    assert results == [True, False, False]
    assert backoff.failures == 1


@pytest.mark.parametrize(("retry_after", "pause"), [(None, 8.0), (5.0, 8.0), (60.0, 60.0)])
def test_a_failure_during_a_pause_may_only_lengthen_it(retry_after: float | None, pause: float) -> None:
    """By its own ``Retry-After``."""
    backoff = SharedBackoff()
    backoff.fail(failure(10.0), NOW)

    backoff.fail(failure(retry_after), NOW + 2.0)

    assert backoff.pause(NOW + 2.0) == pause


def test_a_success_ends_a_row_of_failures() -> None:
    """The next failure starts with the shortest backoff; the end of the outage is known."""
    backoff = SharedBackoff()
    now = fail_in_a_row(backoff, 5) + 16.0

    ended = [backoff.succeed(now), backoff.succeed(now + 5.0)]

    assert ended == [5, 0]
    assert (backoff.problem, backoff.failures, backoff.recovered_at) == (None, 0, now)


def test_a_success_does_not_end_the_pause_that_is_on() -> None:
    """What was in flight may still be answered; the API asked for no more."""
    backoff = SharedBackoff()
    backoff.fail(failure(10.0), NOW)

    backoff.succeed(NOW + 1.0)

    assert backoff.pause(NOW + 1.0) == 9.0
