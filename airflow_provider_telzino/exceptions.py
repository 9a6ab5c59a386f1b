"""The provider's errors, one class for each thing that the user has to do about it.

Every message says what happened, on which connection and to which call, and what to do, and names the section
of docs/errors.md about its class. It never contains a token, personal data, or text that somebody else has
written.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
)


class TelzinoError(AirflowException):
    """Any error of this provider.

    Args:
        message: What happened and what to do.
        conn_id: The Airflow connection that was used.
        call_id: The call that it is about, if there is one.
    """

    transient = False
    """Whether the same request may succeed later."""

    def __init__(self, message: str, *, conn_id: str | None = None, call_id: str | None = None) -> None:
        super().__init__(message)
        self.conn_id = conn_id
        self.call_id = call_id
        self.task_id: str | None = None
        """The task whose arguments are wrong, where Airflow doesn't say so itself."""

    @property
    def sentence(self) -> str:
        """The message, and what it is about, for a text that continues after it."""
        about = {"task": self.task_id, "connection": self.conn_id, "call": self.call_id}
        known = ", ".join(f"{what} {name}" for what, name in about.items() if name)
        text = f"{self.args[0]} [{known}]" if known else str(self.args[0])
        # A process that logs a lone surrogate dies on some versions of Airflow.
        return text.encode("utf-8", "replace").decode()

    def __str__(self) -> str:
        return f"{self.sentence} (docs: errors#{type(self).__name__.lower()})"


class TelzinoConfigurationError(TelzinoError):
    """A field of the connection, or an argument of hook or task, is missing or wrong. Nothing was sent."""


class TelzinoArgumentError(TelzinoConfigurationError, AirflowFailException):
    """An argument of hook or task is missing or wrong. A retry would have the same: it is final."""


class TelzinoConnectionNotFoundError(TelzinoConfigurationError):
    """Airflow has no connection of this id, or says so: it does while its database is unavailable, too."""


class TelzinoCredentialsError(TelzinoError):
    """The access token, or the client ID and secret, were refused (401)."""


class TelzinoPermissionError(TelzinoError):
    """The credentials are valid, but do not permit this (403)."""


class TelzinoNotFoundError(TelzinoError):
    """The agent, call or transcript doesn't exist (404)."""


class TelzinoBadRequestError(TelzinoError, AirflowFailException):
    """The API refused the request's parameters (400); the message names the fields that it mentions.

    Airflow doesn't retry it.
    """


class TelzinoTransientError(TelzinoError):
    """The request failed, but may succeed later.

    Args:
        message: What happened and what to do.
        retry_after: Seconds that the API requires to wait, or ``None``.
        maybe_received: Whether the API may have acted on the request. After a POST, the call may exist.
    """

    transient = True

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        maybe_received: bool = True,
        conn_id: str | None = None,
        call_id: str | None = None,
    ) -> None:
        super().__init__(message, conn_id=conn_id, call_id=call_id)
        self.retry_after = retry_after
        self.maybe_received = maybe_received


class TelzinoRateLimitError(TelzinoTransientError):
    """Too many requests (429)."""


class TelzinoUnavailableError(TelzinoTransientError):
    """No answer (timeout, reset, no connection), or a server error (5xx)."""


class TelzinoUnreadableAnswerError(TelzinoTransientError):
    """An answer that doesn't match the API reference: cut off, not JSON, too large, or without its fields."""


class TelzinoOutcomeError(TelzinoError, AirflowFailException):
    """The call ended in a status of ``fail_on``. The outcome won't change, so Airflow doesn't retry it."""


class TelzinoNoAnswerError(TelzinoOutcomeError):
    """Nobody answered the call that the task placed."""


class TelzinoBusyError(TelzinoOutcomeError):
    """The line was busy, or the call that the task placed was rejected."""


class TelzinoCallFailedError(TelzinoOutcomeError):
    """The call that the task placed could not be put through."""


class TelzinoCallEndedBadlyError(TelzinoOutcomeError):
    """The same in a task that only waits for the call."""


class TelzinoContactsOutcomeError(TelzinoOutcomeError):
    """Contacts of a campaign have an outcome of ``fail_on``."""


class TelzinoDialTimeoutError(TelzinoError, AirflowFailException):
    """Nobody could be called within ``dial_timeout``. Airflow doesn't retry it."""


class TelzinoPlanChangedError(TelzinoError, AirflowFailException):
    """The campaign isn't the one whose plan was approved, so nobody is called. Airflow doesn't retry it."""


class TelzinoRealCallInTestError(TelzinoError, AirflowFailException):
    """A test was about to place a real call, so nothing was sent. Airflow doesn't retry it."""


class TelzinoUnknownPlacementError(TelzinoError):
    """It is unknown whether the task has placed its call, so it doesn't dial. A retry searches again."""


class TelzinoNoTranscriptError(TelzinoError, AirflowFailException):
    """The call has no transcript and will never have one, so the task fails without retries."""


class TelzinoTimeoutError(TelzinoError):
    """The call had not ended within the ``timeout`` of the wait."""


class TelzinoSensorTimeoutError(TelzinoTimeoutError, AirflowSensorTimeout):
    """The same in a sensor, whose timeouts Airflow doesn't retry."""


OUTCOME_ERRORS: dict[str, type[TelzinoOutcomeError]] = {
    "no_answer": TelzinoNoAnswerError,
    "busy": TelzinoBusyError,
    "failed": TelzinoCallFailedError,
}
"""By status: the error of a task that placed a call which ended in it."""
