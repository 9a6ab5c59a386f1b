"""What an error says beside its message, and that every log can write it."""

from __future__ import annotations

import copy
import pickle

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.api.arguments import naming_the_connection, naming_the_task
from airflow_provider_telzino.exceptions import (
    TelzinoConfigurationError,
    TelzinoError,
    TelzinoRateLimitError,
)


def test_an_error_names_connection_and_call() -> None:
    """Whoever reads it knows where to look."""
    error = TelzinoError("It failed.", conn_id="telzino_eu", call_id="c-1")

    assert str(error) == "It failed. [connection telzino_eu, call c-1] (docs: errors#telzinoerror)"
    assert str(TelzinoError("It failed.")) == "It failed. (docs: errors#telzinoerror)"


def test_an_error_about_arguments_names_task_and_connection() -> None:
    """The check itself knows neither of them."""
    with (
        pytest.raises(TelzinoConfigurationError) as caught,
        naming_the_task("group.call"),
        naming_the_connection("telzino_eu"),
    ):
        raise TelzinoConfigurationError("It is wrong.")

    assert caught.value.sentence == "It is wrong. [task group.call, connection telzino_eu]"


def test_every_log_can_write_an_error() -> None:
    """A lone surrogate, from wherever it came, can't be encoded: Airflow's task process would die of it."""
    error = TelzinoError("Call \ud83d failed.", conn_id="telzino\udc00", call_id="\ud800")

    assert error.sentence.encode() == b"Call ? failed. [connection telzino?, call ?]"
    assert str(error).encode().startswith(error.sentence.encode())


def test_an_error_survives_a_copy() -> None:
    """Airflow sends errors from process to process."""
    error = TelzinoRateLimitError("Too many.", retry_after=7, maybe_received=False, conn_id="c", call_id="d")

    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301  # it's our own
        assert str(again) == str(error)
        assert (again.retry_after, again.maybe_received) == (7, False)


FINAL = {
    "TelzinoArgumentError",
    "TelzinoBadRequestError",
    "TelzinoBusyError",
    "TelzinoCallEndedBadlyError",
    "TelzinoCallFailedError",
    "TelzinoContactsOutcomeError",
    "TelzinoDialTimeoutError",
    "TelzinoNoAnswerError",
    "TelzinoNoTranscriptError",
    "TelzinoOutcomeError",
    "TelzinoPlanChangedError",
    "TelzinoRealCallInTestError",
}


def test_only_what_a_retry_cannot_change_is_final_for_airflow() -> None:
    """In particular not a missing connection: Airflow reports that, too, while its database is away."""
    errors = {name: each for name, each in vars(exceptions).items() if name.startswith("Telzino")}

    assert {name for name, each in errors.items() if issubclass(each, AirflowFailException)} == FINAL
