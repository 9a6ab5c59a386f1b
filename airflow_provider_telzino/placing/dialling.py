"""Dials when that is allowed: the placer says what follows from a task's calls, and the limits say when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_telzino.exceptions import TelzinoDialTimeoutError, TelzinoError
from airflow_provider_telzino.placing.placer import CallPlacer
from airflow_provider_telzino.rules.attempts import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_REDIAL_DELAY,
    Attach,
    Dial,
    Done,
    RedialRules,
    WaitUntil,
)
from airflow_provider_telzino.rules.permission import DEFAULT_DIAL_TIMEOUT, DialLimits, Never, NotBefore
from airflow_provider_telzino.rules.waiting import flag


def check_dialling_arguments(given: Mapping[str, Any]) -> None:
    """Check the arguments that say when a task dials, and when it dials again.

    Args:
        given: The task's arguments by name, not necessarily all of them.

    Raises:
        TelzinoArgumentError: One of them is invalid. The message names it.
    """
    RedialRules.checked(
        given.get("redial_on", ()),
        given.get("max_attempts", DEFAULT_MAX_ATTEMPTS),
        given.get("redial_delay", DEFAULT_REDIAL_DELAY),
        fail_on=(),
        reattach=flag("reattach", given.get("reattach", True)),
    )
    DialLimits.checked(
        given.get("calling_hours"),
        given.get("calling_days"),
        given.get("may_call"),
        given.get("dial_timeout", DEFAULT_DIAL_TIMEOUT),
    )


class Dialling:
    """Carries out what follows from a task's calls, as far as it is allowed now.

    Args:
        placer: Finds the task's calls, and dials.
        limits: What has to be true before each dial.
        contact: What ``may_call`` gets.
        is_killed: Whether the task was killed meanwhile. Airflow lets it run for some more seconds.
        conn_id: The task's connection, for errors.
        log: The task's logger.
    """

    def __init__(
        self,
        placer: CallPlacer,
        limits: DialLimits,
        contact: Mapping[str, Any],
        *,
        is_killed: Callable[[], bool],
        conn_id: str,
        log: Any,
    ) -> None:
        self._placer = placer
        self._limits = limits
        self._contact = contact
        self._is_killed = is_killed
        self._conn_id = conn_id
        self._log = log

    def proceed(self, request: Sequence[Any]) -> Attach | Done | WaitUntil:
        """Find the task's calls, and place one if the rules say so and it is allowed.

        Args:
            request: The call's context, metadata and callback URL.

        Returns:
            What the task has to do: wait for a call, wait until a moment, or end with a call's outcome.

        Raises:
            AirflowSkipException: ``may_call`` rules out the first call.
            TelzinoDialTimeoutError: ``dial_timeout`` rules out the first call.
            TelzinoError: See :meth:`CallPlacer.next_step` and :meth:`CallPlacer.dial`.
        """
        step = self._placer.next_step()
        if isinstance(step, Dial):
            step = self._dial(step, request)
        if isinstance(step, WaitUntil) and step.moment >= self._placer.started + self._limits.dial_timeout:
            return self._end_with_last_outcome("dial_timeout")
        return step

    def _dial(self, dial: Dial, request: Sequence[Any]) -> Attach | Done | WaitUntil:
        try:
            self._check_time()  # before anything is stored
            self._log.info("Placing a call: %s.", dial.why)
            call = self._placer.dial(dial, *request, check=self._check, check_again=self._check_time)
        except _NotNowError as error:
            if isinstance(error.answer, NotBefore):
                return WaitUntil(error.answer.moment, error.answer.why)
            return self._end_with_last_outcome(error.answer.reason)
        except TelzinoError as error:  # the rules don't know the connection
            error.conn_id = error.conn_id or self._conn_id
            raise
        return Attach(call, f"attempt {dial.attempt}")

    def _check(self) -> None:
        self._require_alive()
        self._require(self._limits.check(self._contact, self._placer.started, pendulum.now("UTC")))

    def _check_time(self) -> None:
        self._require_alive()
        self._require(self._limits.check_time(self._contact, self._placer.started, pendulum.now("UTC")))

    def _require_alive(self) -> None:
        if self._is_killed():
            raise TelzinoError("The task was killed before it dialled.", conn_id=self._conn_id)

    def _require(self, answer: NotBefore | Never | None) -> None:
        if answer is not None:
            raise _NotNowError(answer)

    def _end_with_last_outcome(self, reason: str) -> Done:
        """End with the last call's outcome, since nobody may be called any more."""
        if self._placer.history.attempts:
            last = self._placer.history.attempts[-1]
            return Done(last, f"it ended with {last['status']}, and `{reason}` rules out another call")
        if reason == "may_call":
            raise AirflowSkipException("`may_call` returned False: nobody was called.")
        raise TelzinoDialTimeoutError(
            f"Nobody could be called within the `dial_timeout` of {self._limits.dial_timeout} after the "
            "task's first start.",
            conn_id=self._conn_id,
        )


class _NotNowError(Exception):
    """The contact may not be called now."""

    def __init__(self, answer: NotBefore | Never) -> None:
        super().__init__()
        self.answer = answer
