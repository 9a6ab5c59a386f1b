"""When a POST that surely wasn't received is sent again.

Not the hook's own rules: before each POST it has to be asked whether the task may still dial.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tenacity

from airflow_provider_telzino.api.retry import RETRY_FOR, backoff
from airflow_provider_telzino.exceptions import TelzinoTransientError

if TYPE_CHECKING:
    from airflow_provider_telzino.hooks.telzino import Record


def dial_until_received(may_dial: Callable[[], None], post: Callable[[], Record], log: Any) -> Record:
    """Send a POST until the API may have received it, for a minute at most.

    Args:
        may_dial: Raises if the task may not dial any more. It is asked directly before each POST.
        post: Sends one.
        log: The logger that tells of a further one and its reason.

    Raises:
        TelzinoTransientError: No good answer came. Unless its ``maybe_received`` is set, nothing was placed.
    """

    def attempt() -> Record:
        may_dial()
        return post()

    def tell(state: tenacity.RetryCallState) -> None:
        wait = state.next_action.sleep if state.next_action else 0.0
        log.warning("%s Trying again in %.1f s.", _error(state), wait)

    return tenacity.Retrying(
        retry=_was_not_received, wait=_wait, stop=_stop, before_sleep=tell, reraise=True
    )(attempt)


def _was_not_received(state: tenacity.RetryCallState) -> bool:
    error = _error(state)
    return isinstance(error, TelzinoTransientError) and not error.maybe_received


def _wait(state: tenacity.RetryCallState) -> float:
    return backoff(state.attempt_number, floor=_asked_for(state), time_left=_left(state))


def _stop(state: tenacity.RetryCallState) -> bool:
    """Stop when the time is over, or would be before the API wants to hear from us again."""
    left = _left(state)
    return left <= 0 or _asked_for(state) > left


def _asked_for(state: tenacity.RetryCallState) -> float:
    return getattr(_error(state), "retry_after", None) or 0.0


def _left(state: tenacity.RetryCallState) -> float:
    return RETRY_FOR - (state.seconds_since_start or 0.0)


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
