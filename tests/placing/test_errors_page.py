"""``docs/errors.md`` shows each error as the sandbox provokes it, and each error names its section there."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_telzino
from airflow_provider_telzino import exceptions
from airflow_provider_telzino.exceptions import TelzinoError
from airflow_provider_telzino.hooks.telzino import TelzinoHook
from airflow_provider_telzino.operators.call import TelzinoGetCallOperator
from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator
from airflow_provider_telzino.sandbox import FORBIDDEN_AGENT_ID, MAGIC_NUMBERS, Sandbox
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from tests.conftest import CALL_ID, ConnectionSetter
from tests.support.campaign_runs import campaign
from tests.support.placed_calls import Clock, ends, resumes, runs
from tests.support.waits import Run

pytestmark = pytest.mark.usefixtures("surroundings")

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = dict(
    re.findall(
        r"^## (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE | re.DOTALL
    )
)
BASES = {"TelzinoTransientError", "TelzinoOutcomeError"}
"""Classes that are only caught, never raised."""


class Situation:
    """What an error can be provoked with."""

    def __init__(self, sandbox: Sandbox, clock: Clock, connect: ConnectionSetter) -> None:
        self.sandbox, self.clock, self.connect = sandbox, clock, connect

    def get_call(self, **arguments: Any) -> None:
        """Run a task that gets a call which has just been placed."""
        call_id = self.sandbox.add_call(status="dialing")["id"]
        task = TelzinoGetCallOperator(
            **({"task_id": "get", "call_id": call_id, "wait_for_completion": False} | arguments)
        )
        Run(task).step("execute")

    def place_call(self, outcome: str = "", **arguments: Any) -> None:
        """Run a task that places a call, until the call ends in an outcome."""
        run = runs(**arguments).next_try()
        ends(run, self.sandbox, outcome) if outcome else run.step("execute")

    def wait_too_long(self, task: Any) -> None:
        """Run a task whose call doesn't end within its timeout of two hours."""
        run: Any = Run(task)
        deferral = run.step("execute")
        self.clock.advance(2 * 60 * 60 + 1)
        resumes(run, deferral)


def may_call(contact: object, now: object) -> bool:
    """Fail as a database that is away does."""
    raise TimeoutError


def of_may_call(at: Situation) -> None:
    """An error for which there is no class of its own."""
    at.place_call(may_call=may_call)


def of_an_argument(at: Situation) -> None:
    """A number that isn't E.164."""
    at.place_call(to_number="555-0100")


def of_the_configuration(at: Situation) -> None:
    """A host that would get the token in the clear."""
    at.connect("http://api.telzino.com")
    at.get_call()


def of_a_missing_connection(at: Situation) -> None:
    """An id that Airflow doesn't know."""
    at.get_call(telzino_conn_id="telzino_eu")


def of_the_credentials(at: Situation) -> None:
    """A token that has expired."""
    at.connect(at.sandbox, password="yesterday's")
    at.get_call()


def of_a_permission(at: Situation) -> None:
    """An agent that the credentials may not use."""
    at.get_call(agent_id=FORBIDDEN_AGENT_ID)


def of_an_unknown_call(at: Situation) -> None:
    """A call that isn't this agent's."""
    at.get_call(call_id=CALL_ID)


def of_a_bad_request(at: Situation) -> None:
    """A callback URL in a private network."""
    at.place_call(callback_url="https://10.0.0.1/result")


def of_the_rate_limit(at: Situation) -> None:
    """429 for longer than the task retries."""
    at.sandbox.faults.next(status=429, retry_after="3600")
    at.get_call()


def of_an_outage(at: Situation) -> None:
    """503 for longer than the task retries."""
    at.sandbox.faults.next(status=503, retry_after="3600")
    at.get_call()


def of_an_unreadable_answer(at: Situation) -> None:
    """A page of a proxy, instead of JSON."""
    at.sandbox.faults.next("GET", raw_body=b"<html>", content_type="text/html")
    with TelzinoHook() as hook:
        hook.get_call(CALL_ID, retry_for=0)


def of_no_answer(at: Situation) -> None:
    """Nobody answers."""
    at.place_call("no_answer", fail_on=["no_answer"])


def of_a_busy_line(at: Situation) -> None:
    """Busy."""
    at.place_call("busy", fail_on=["busy"])


def of_a_failed_call(at: Situation) -> None:
    """It can't be put through."""
    at.place_call("failed")


def of_a_bad_end(at: Situation) -> None:
    """The same, for a task that only waits."""
    call = at.sandbox.add_call(status="failed")
    Run(TelzinoCallSensor(task_id="wait", call_id=call["id"])).step("execute")


def of_contacts(at: Situation) -> None:
    """A campaign in which one line is busy."""
    contacts = [MAGIC_NUMBERS["completed"], MAGIC_NUMBERS["busy"]]
    campaign(at.clock, contacts=contacts, redial_on=(), fail_on=["busy"]).to_the_end()


def of_the_dial_timeout(at: Situation) -> None:
    """It is Tuesday, 11:00 in New York, and the hours begin too late."""
    soon = timedelta(minutes=30)
    at.place_call(timezone="America/New_York", calling_hours=("12:00", "20:00"), dial_timeout=soon)


def of_another_plan(at: Situation) -> None:
    """Contacts that nobody has approved."""
    contacts = [MAGIC_NUMBERS["completed"]]
    campaign(at.clock, contacts=contacts, approved_plan="0" * 64).to_the_end()


def of_a_real_call(at: Situation) -> None:
    """The connection of production, in a test."""
    at.connect("https://api.telzino.com")
    TelzinoHook().place_call(MAGIC_NUMBERS["completed"])


def of_a_lost_answer(at: Situation) -> None:
    """A 500, and no call in the list."""
    at.sandbox.faults.next("POST", "outbound-calls$", status=500)
    at.place_call()


def of_no_transcript(at: Situation) -> None:
    """A call that was busy."""
    record = at.sandbox.add_call(status="busy")
    Run(TelzinoGetTranscriptOperator(task_id="transcript", transcript_id=record)).step("execute")


def of_a_timeout(at: Situation) -> None:
    """A conversation without end."""
    call = at.sandbox.add_call(status="in_progress")
    at.wait_too_long(TelzinoGetCallOperator(task_id="wait", call_id=call["id"]))


def of_a_sensors_timeout(at: Situation) -> None:
    """A queue without end."""
    call = at.sandbox.add_call(status="queued")
    at.wait_too_long(TelzinoCallSensor(task_id="wait", call_id=call["id"]))


PROVOKED: dict[type[TelzinoError], Callable[[Situation], None]] = {
    exceptions.TelzinoError: of_may_call,
    exceptions.TelzinoArgumentError: of_an_argument,
    exceptions.TelzinoConfigurationError: of_the_configuration,
    exceptions.TelzinoConnectionNotFoundError: of_a_missing_connection,
    exceptions.TelzinoCredentialsError: of_the_credentials,
    exceptions.TelzinoPermissionError: of_a_permission,
    exceptions.TelzinoNotFoundError: of_an_unknown_call,
    exceptions.TelzinoBadRequestError: of_a_bad_request,
    exceptions.TelzinoRateLimitError: of_the_rate_limit,
    exceptions.TelzinoUnavailableError: of_an_outage,
    exceptions.TelzinoUnreadableAnswerError: of_an_unreadable_answer,
    exceptions.TelzinoNoAnswerError: of_no_answer,
    exceptions.TelzinoBusyError: of_a_busy_line,
    exceptions.TelzinoCallFailedError: of_a_failed_call,
    exceptions.TelzinoCallEndedBadlyError: of_a_bad_end,
    exceptions.TelzinoContactsOutcomeError: of_contacts,
    exceptions.TelzinoDialTimeoutError: of_the_dial_timeout,
    exceptions.TelzinoPlanChangedError: of_another_plan,
    exceptions.TelzinoRealCallInTestError: of_a_real_call,
    exceptions.TelzinoUnknownPlacementError: of_a_lost_answer,
    exceptions.TelzinoNoTranscriptError: of_no_transcript,
    exceptions.TelzinoTimeoutError: of_a_timeout,
    exceptions.TelzinoSensorTimeoutError: of_a_sensors_timeout,
}


def all_errors(base: type[TelzinoError] = TelzinoError) -> Iterator[type[TelzinoError]]:
    """Return every error class of the package."""
    yield base
    for each in base.__subclasses__():
        yield from all_errors(each)


@pytest.mark.parametrize("error", PROVOKED, ids=lambda error: error.__name__)
def test_the_page_shows_the_message_that_users_see(
    sandbox: Sandbox, clock: Clock, connect: ConnectionSetter, error: type[TelzinoError]
) -> None:
    """Word by word, as the task log has it."""
    with pytest.raises(error) as caught:
        PROVOKED[error](Situation(sandbox, clock, connect))

    assert type(caught.value) is error
    message = f"{error.__name__}: {caught.value}"
    for call in sandbox.calls:
        message = message.replace(call["id"], CALL_ID)
    message = re.sub("line [0-9]+ of", "line 12 of", message)
    shown = re.findall(r"```text\n(.*?)```", SECTIONS[error.__name__], re.DOTALL)
    assert message in [" ".join(block.split()) for block in shown]


def test_every_error_has_its_section() -> None:
    """Whose anchor is what the message names."""
    for module in pkgutil.walk_packages(airflow_provider_telzino.__path__, "airflow_provider_telzino."):
        if ".sandbox" not in module.name:
            importlib.import_module(module.name)

    names = {each.__name__ for each in all_errors()}

    assert names == set(SECTIONS)
    assert names == {each.__name__ for each in PROVOKED} | BASES
    for each in set(all_errors()) - {TelzinoError}:
        assert str(each("It failed.")) == f"It failed. (docs: errors#{each.__name__.lower()})"
