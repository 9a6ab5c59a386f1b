"""Not before, not after, not at all: hours, days, ``may_call`` and ``dial_timeout``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.hooks.access_token import AccessToken
from airflow_provider_telzino.sandbox import Sandbox
from tests.support.placed_calls import (
    DELAY,
    NUMBER,
    START,
    Clock,
    call_ends,
    carry_on,
    goes,
    methods,
    pauses_until,
    posts,
    resumes,
    runs,
)
from tests.support.placing_runs import NEEDS_TASK_STATE, STATES, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")

NEW_YORK: dict[str, Any] = {"timezone": "America/New_York"}  # where it is 11:00, on a Tuesday
REDIALS: dict[str, Any] = {"redial_on": ["busy"], "max_attempts": 2}


def utc(day: int, hour: int, minute: int = 0) -> datetime:
    """A time in June 2026."""
    return datetime(2026, 6, day, hour, minute, tzinfo=timezone.utc)


# --- Before the first call ---


@STATES
@pytest.mark.parametrize(
    ("limits", "opening"),
    [
        ({"calling_hours": ("09:00", "11:00")}, utc(10, 13)),  # it closed this minute
        ({"calling_hours": ("11:01", "20:00")}, utc(9, 15, 1)),
        ({"calling_hours": ("09:00", "20:00"), "calling_days": ["thu", "fri"]}, utc(11, 13)),
        ({"calling_days": ["wed"]}, utc(10, 4)),
        ({"calling_hours": ("09:00", "20:00"), "timezone": "Asia/Tokyo"}, utc(10, 0)),
    ],
    ids=str,
)
def test_it_waits_deferred_until_the_hours_begin(
    sandbox: Sandbox,
    clock: Clock,
    state: str | None,
    limits: dict[str, Any],
    opening: datetime,
    task_log: pytest.LogCaptureFixture,
) -> None:
    """The log says until when and why; then it dials."""
    state_store = TaskStateStore() if state else None
    run = runs(**(NEW_YORK | limits), dial_timeout=timedelta(days=3), state=state_store).next_try()

    pause = run.step("execute")

    assert posts(sandbox) == 0
    assert pauses_until(pause) == opening
    assert f"Calling nobody until {opening.isoformat(timespec='seconds')}: the calling hours" in task_log.text
    record = carry_on(run, pause, clock, ["completed"])
    assert [record] == sandbox.calls
    assert sandbox.calls[0]["created_at"] >= opening.isoformat()


@pytest.mark.parametrize(
    "limits",
    [
        {"calling_hours": ("09:00", "20:00")},
        {"calling_hours": ("11:00", "11:01")},
        {"calling_days": ["tue"]},
        {"calling_hours": ("09:00", "20:00"), "calling_days": ["mon", "tue"]},
    ],
    ids=str,
)
def test_within_the_hours_it_dials_at_once(sandbox: Sandbox, limits: dict[str, Any]) -> None:
    """The start belongs to them."""
    deferral = runs(**NEW_YORK, **limits).next_try().step("execute")

    assert deferral.method_name == "execute_complete"
    assert posts(sandbox) == 1


def test_the_zone_follows_from_the_number(sandbox: Sandbox) -> None:
    """A number of Germany, where it is 17:00."""
    german = "+4930123456"

    closed = runs(to_number=german, calling_hours=("09:00", "17:00")).next_try().step("execute")
    opened = runs(to_number=german, calling_hours=("17:00", "18:00"), map_index=1).next_try().step("execute")

    assert pauses_until(closed) == utc(10, 7)
    assert opened.method_name == "execute_complete"


def test_the_extra_is_missing(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it and the alternative, and nobody is called."""
    monkeypatch.setitem(sys.modules, "phonenumbers", None)

    with pytest.raises(exceptions.TelzinoConfigurationError, match=r"timezone.*\[timezones\]") as caught:
        runs(calling_hours=("09:00", "20:00")).next_try().step("execute")

    assert "connection telzino_default" in str(caught.value)
    assert posts(sandbox) == 0


@pytest.mark.parametrize("number", ["+999123456", "+88213300655"])
def test_a_number_of_nowhere(sandbox: Sandbox, number: str) -> None:
    """No zone can be derived: nothing is dialled, and the error names the fix but not the number."""
    with pytest.raises(exceptions.TelzinoConfigurationError, match="Give the callee's `timezone`") as caught:
        runs(to_number=number, calling_hours=("09:00", "20:00")).next_try().step("execute")

    assert number not in str(caught.value)
    assert posts(sandbox) == 0


@pytest.mark.parametrize("zone", ["Mars/Olympus", "New York", "../etc", 5])
def test_an_invalid_zone(sandbox: Sandbox, zone: Any) -> None:
    """It may come from a template, so it is checked at run time."""
    with pytest.raises(exceptions.TelzinoConfigurationError, match="IANA name"):
        runs(timezone=zone, calling_hours=("09:00", "20:00")).next_try().step("execute")

    assert posts(sandbox) == 0


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"calling_hours": ("9", "20")}, "calling_hours"),
        ({"calling_hours": ("20:00", "09:00")}, "calling_hours"),
        ({"calling_hours": "09:00-20:00"}, "calling_hours"),
        ({"calling_days": ["monday"]}, "calling_days"),
        ({"calling_days": []}, "calling_days"),
        ({"calling_days": "mon"}, "calling_days"),
        ({"may_call": "yes"}, "may_call"),
        ({"dial_timeout": 3600}, "dial_timeout"),
        ({"dial_timeout": timedelta()}, "dial_timeout"),
        ({"redial_on": "busy"}, "redial_on"),
        ({"redial_on": ["completed"]}, "redial_on"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"redial_delay": 60}, "redial_delay"),
        ({"redial_delay": {"completed": timedelta()}}, "redial_delay"),
    ],
    ids=str,
)
def test_wrong_arguments_are_found_when_the_dag_is_parsed(arguments: dict[str, Any], name: str) -> None:
    """The error names the argument and the task."""
    with pytest.raises(exceptions.TelzinoConfigurationError, match=f"`{name}`") as caught:
        runs(**arguments).task()

    assert "task place" in str(caught.value)


# --- Before a further call ---


@STATES
def test_a_redial_waits_for_the_hours(sandbox: Sandbox, clock: Clock, state: str | None) -> None:
    """They end before the redial is due: it follows the next morning."""
    hours = {"calling_hours": ("09:00", "11:15")}
    run = runs(**REDIALS, **NEW_YORK, **hours, state=TaskStateStore() if state else None).next_try()

    record = goes(run, clock, "busy", "completed")

    assert [call["status"] for call in sandbox.calls] == ["busy", "completed"]
    assert record == sandbox.calls[1]
    assert sandbox.calls[1]["created_at"] >= utc(10, 13).isoformat()


@pytest.mark.parametrize(
    "limits",
    [
        {"may_call": lambda contact, now: now < pendulum.instance(START + timedelta(minutes=5))},
        {"dial_timeout": timedelta(minutes=20)},
        {"dial_timeout": timedelta(hours=3), "calling_hours": ("09:00", "11:15")},
    ],
    ids=["may_call", "dial_timeout", "hours and dial_timeout"],
)
@pytest.mark.parametrize("fail_on", [[], ["busy"]])
def test_a_further_call_that_is_ruled_out(
    sandbox: Sandbox, clock: Clock, limits: dict[str, Any], fail_on: list[str]
) -> None:
    """The outcome of the last one stands."""
    run = runs(**REDIALS, **NEW_YORK, **limits, fail_on=fail_on).next_try()

    if fail_on:
        with pytest.raises(exceptions.TelzinoBusyError):
            goes(run, clock, "busy")
        record = run.ti.xcoms["return_value"]
    else:
        record = goes(run, clock, "busy")

    assert [record] == sandbox.calls
    assert len(run.ti.xcoms["attempts"]) == 1


# --- may_call ---


def test_may_call_gets_the_contact_and_the_time(sandbox: Sandbox) -> None:
    """The time is that of the callee."""
    asked: list[tuple[Mapping[str, Any], pendulum.DateTime]] = []

    def may_call(contact: Mapping[str, Any], now: pendulum.DateTime) -> bool:
        asked.append((contact, now))
        return True

    given = {"call_context": "Call John.", "metadata": {"crm_id": 5}, **NEW_YORK}
    runs(**given, callback_url="https://example.com/done", may_call=may_call).next_try().step("execute")

    ((contact, now),) = asked
    assert contact == {"to_number": NUMBER, **given, "callback_url": "https://example.com/done"}
    assert (now.timezone_name, now.hour) == ("America/New_York", 11)
    assert posts(sandbox) == 1


@pytest.mark.parametrize("soft_fail", [True, False])
def test_may_call_says_no(sandbox: Sandbox, soft_fail: bool) -> None:
    """The task is skipped, and nothing is stored."""
    run = runs(may_call=lambda contact, now: False, soft_fail=soft_fail).next_try()

    with pytest.raises(AirflowSkipException, match="`may_call`"):
        run.step("execute")

    assert posts(sandbox) == 0
    assert run.ti.xcoms == {}


@STATES
def test_may_call_says_later(sandbox: Sandbox, clock: Clock, state: str | None) -> None:
    """It is asked again then."""
    later = START + timedelta(hours=2)
    run = runs(
        may_call=lambda contact, now: True if now >= pendulum.instance(later) else later,
        state=TaskStateStore() if state else None,
    ).next_try()

    pause = run.step("execute")

    assert posts(sandbox) == 0
    assert pauses_until(pause) == later
    record = carry_on(run, pause, clock, ["completed"])
    assert [record] == sandbox.calls


def test_may_call_says_a_moment_later_again_and_again(sandbox: Sandbox, clock: Clock) -> None:
    """The task doesn't turn into a busy loop, and ends with ``dial_timeout``."""
    asked = []

    def may_call(contact: object, now: pendulum.DateTime) -> datetime:
        asked.append(now)
        return now.add(microseconds=1)

    run = runs(may_call=may_call, deferrable=False, dial_timeout=timedelta(minutes=1)).next_try()

    with pytest.raises(exceptions.TelzinoDialTimeoutError, match="dial_timeout"):
        run.step("execute")

    assert posts(sandbox) == 0
    assert len(asked) <= 13


def _raises(contact: Mapping[str, Any], now: object) -> bool:
    raise ValueError(f"no consent of {contact['to_number']}")


@pytest.mark.parametrize(
    ("may_call", "words", "is_final"),
    [
        (_raises, "`may_call` raised ValueError", False),
        (lambda contact, now: None, "`may_call` returned a value of type NoneType", True),
        (lambda contact, now: 1, "`may_call` returned a value of type int", True),
        (lambda contact, now: "yes", "`may_call` returned a value of type str", True),
        (lambda contact, now: datetime(2026, 6, 9), "`may_call` returned a time without", True),
    ],
)
def test_may_call_fails(sandbox: Sandbox, may_call: Callable[..., Any], words: str, is_final: bool) -> None:
    """Nobody is called, and the error quotes nothing personal. A wrong function is not worth a retry."""
    with pytest.raises(exceptions.TelzinoError, match=words) as caught:
        runs(may_call=may_call).next_try().step("execute")

    assert isinstance(caught.value, AirflowFailException) is is_final
    assert NUMBER not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.conn_id == "telzino_default"
    assert posts(sandbox) == 0


def test_may_call_fails_before_a_further_call(sandbox: Sandbox, clock: Clock) -> None:
    """The retry asks again, and the first outcome is in XCom already."""
    answers = iter([True, None, True])

    def may_call(contact: object, now: object) -> Any:
        answer = next(answers)
        if answer is None:
            raise RuntimeError
        return answer

    task = runs(**REDIALS, may_call=may_call, retries=1)
    run = task.next_try()

    with pytest.raises(exceptions.TelzinoError, match="`may_call` raised RuntimeError"):
        goes(run, clock, "busy")
    assert [each["status"] for each in run.ti.xcoms["attempts"]] == ["busy"]
    record = goes(task.next_try(), clock, "completed")

    assert record == sandbox.calls[1]
    assert len(sandbox.calls) == 2


# --- dial_timeout ---


def test_dial_timeout_of_the_first_call(sandbox: Sandbox, clock: Clock) -> None:
    """The hours begin too late: the task fails at once, without retries."""
    limits = {"calling_hours": ("12:00", "20:00"), "dial_timeout": timedelta(minutes=30)}

    with pytest.raises(exceptions.TelzinoDialTimeoutError, match="`dial_timeout` of 0:30:00") as caught:
        runs(**NEW_YORK, **limits).next_try().step("execute")

    assert isinstance(caught.value, AirflowFailException)
    assert posts(sandbox) == 0


@NEEDS_TASK_STATE
def test_dial_timeout_counts_from_the_first_try(sandbox: Sandbox, clock: Clock) -> None:
    """The API was unavailable then; a clear begins again."""
    task = runs(dial_timeout=timedelta(hours=1), state=TaskStateStore(), retries=2)
    sandbox.faults.next("POST", "outbound-calls$", status=403)
    with pytest.raises(exceptions.TelzinoPermissionError):
        task.next_try().step("execute")
    clock.advance(3601)

    with pytest.raises(exceptions.TelzinoDialTimeoutError):
        task.next_try().step("execute")
    assert sandbox.calls == []
    task.clear()
    record = goes(task.next_try(), clock, "completed")

    assert [record] == sandbox.calls


@STATES
def test_dial_timeout_counts_over_deferrals(sandbox: Sandbox, clock: Clock, state: str | None) -> None:
    """It is no limit for the wait: a call may end later, but is followed by none."""
    task = runs(**REDIALS, dial_timeout=2 * DELAY, state=TaskStateStore() if state else None)
    run = task.next_try()
    deferral = run.step("execute")
    clock.advance(3_600)

    record = resumes(run, call_ends(deferral, sandbox, "busy"))

    assert [record] == sandbox.calls


# --- Directly before each POST ---


@STATES
def test_the_hours_end_during_the_pause_of_a_429(
    sandbox: Sandbox, clock: Clock, state: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The POST isn't sent again today."""
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _seconds: clock.advance(120)))
    sandbox.faults.next("POST", "outbound-calls$", status=429)
    hours = {"calling_hours": ("09:00", "11:01")}
    run = runs(**NEW_YORK, **hours, state=TaskStateStore() if state else None).next_try()

    pause = run.step("execute")

    assert pauses_until(pause) == utc(10, 13)
    assert posts(sandbox) == 1
    record = carry_on(run, pause, clock, ["completed"])
    assert [record] == sandbox.calls
    # The refused POST is accounted for, so nothing pauses for the list.
    assert methods(sandbox).count("GET outbound-calls") <= 3


def test_may_call_changes_its_mind_during_the_pause_of_a_429(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody asked not to be called meanwhile."""
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _seconds: None))
    sandbox.faults.next("POST", "outbound-calls$", status=429, times=2)
    answers = iter([True, True, False])

    with pytest.raises(AirflowSkipException):
        runs(may_call=lambda contact, now: next(answers)).next_try().step("execute")

    assert posts(sandbox) == 2
    assert sandbox.calls == []


@NEEDS_TASK_STATE
def test_the_hours_end_while_airflow_is_slow(sandbox: Sandbox, clock: Clock) -> None:
    """It took minutes to store that the task is about to dial."""

    class Slow(TaskStateStore):
        def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
            super().set(key, value, retention=retention)
            clock.advance(120 if value["dialling"] else 0)

    state = Slow()
    hours = {"calling_hours": ("09:00", "11:01")}

    pause = runs(**NEW_YORK, **hours, state=state).next_try().step("execute")

    assert pauses_until(pause) == utc(10, 13)
    assert posts(sandbox) == 0
    assert '"dialling": null' in state.stored["telzino_call"]


@NEEDS_TASK_STATE
def test_a_slow_may_call_does_not_weaken_the_fence(sandbox: Sandbox) -> None:
    """Another process has taken over the task while the function was running."""
    state = TaskStateStore()

    def may_call(contact: object, now: object) -> bool:
        state.superseded = True
        return True

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="another process"):
        runs(may_call=may_call, state=state).next_try().step("execute")

    assert posts(sandbox) == 0


def test_the_time_is_checked_when_the_token_is_there(
    sandbox: Sandbox, clock: Clock, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetching one may take a while."""
    connect(sandbox, oauth=True)
    get = AccessToken.get

    def slow(token: AccessToken, *arguments: Any, **options: Any) -> str:
        if "GET outbound-calls" in methods(sandbox):
            clock.advance(120)
        return get(token, *arguments, **options)

    monkeypatch.setattr(AccessToken, "get", slow)
    hours = {"calling_hours": ("09:00", "11:01")}

    pause = runs(**NEW_YORK, **hours).next_try().step("execute")

    assert isinstance(pause, TaskDeferred)
    assert pauses_until(pause) == utc(10, 13)
    assert posts(sandbox) == 0


# --- On a worker ---


def test_a_task_that_does_not_defer_waits_on_its_worker(sandbox: Sandbox, clock: Clock) -> None:
    """As it was asked to."""
    hours = {"calling_hours": ("12:00", "20:00")}
    run = runs(**NEW_YORK, **hours, deferrable=False, wait_for_completion=False).next_try()

    answer = run.step("execute")

    assert answer["created_at"] >= utc(9, 16).isoformat()
    assert run.deferrals == []


def test_it_is_killed_while_it_waits_on_its_worker(sandbox: Sandbox, clock: Clock) -> None:
    """It ends within a second, and calls nobody."""
    hours = {"calling_hours": ("12:00", "20:00")}
    run = runs(**NEW_YORK, **hours, deferrable=False).next_try()

    def passes(seconds: float) -> None:
        clock.advance(seconds)
        run.task.on_kill()

    run.task.sleep = passes
    with pytest.raises(AirflowException, match="killed before it dialled"):
        run.step("execute")

    assert clock.now() - START < timedelta(minutes=1)
    assert posts(sandbox) == 0
