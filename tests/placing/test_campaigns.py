"""A campaign calls each contact as the rules say, in few worker runs, and pushes all outcomes."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator
from airflow_provider_telzino.rules.identity import identity_in
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from tests.conftest import ConnectionSetter
from tests.support.campaign_runs import CampaignRuns, Drive, campaign, moment_of, numbers
from tests.support.placed_calls import START, Clock, posts
from tests.support.placing_runs import IDENTITY, NEEDS_TASK_STATE, STATES, TaskStateStore

pytestmark = pytest.mark.usefixtures("surroundings")

COMPLETES, NO_ANSWER, BUSY = (MAGIC_NUMBERS[name] for name in ("completed", "no_answer", "busy"))


def outcomes(results: list[dict[str, Any]]) -> list[tuple[Any, str, int]]:
    """Return what the results say, without records."""
    return [(each["contact"], each["outcome"], each["attempts"]) for each in results]


def moment(call: dict[str, Any], name: str) -> datetime:
    """Return a time of a record."""
    return datetime.fromisoformat(call[name])


def store(state: str | None) -> TaskStateStore | None:
    """Return the task state of an Airflow that has one."""
    return TaskStateStore() if state else None


# --- The usual course ---


@STATES
def test_each_contact_is_called_and_all_outcomes_are_pushed(clock: Clock, state: str | None) -> None:
    """Three contacts, two live calls at most: one call each, and outcomes in the contacts' order."""
    contacts = [{"id": 7, "to_number": COMPLETES}, NO_ANSWER, BUSY]
    drive = campaign(clock, contacts=contacts, max_active_calls=2, redial_on=(), state=store(state))

    results = drive.to_the_end()

    assert outcomes(results) == [(7, "completed", 1), (NO_ANSWER, "no_answer", 1), (BUSY, "busy", 1)]
    assert results[0]["record"]["summary_text"]
    assert [each["error"] for each in results] == [None, None, None]
    assert drive.most_live == 2


def test_many_contacts_need_few_worker_runs(clock: Clock) -> None:
    """Three contacts, two live calls at most: one call each, and outcomes in their order."""
    drive = campaign(clock, contacts=numbers(120), max_active_calls=20, redial_on=())

    drive.to_the_end()

    assert set(drive.placements().values()) == {1}
    assert len(drive.placements()) == 120
    assert drive.most_live == 20
    assert drive.worker_runs <= 120 / (20 / 10)


@STATES
def test_who_was_not_reached_is_called_again(clock: Clock, state: str | None) -> None:
    """As often as the rules say, and as much later."""
    drive = campaign(clock, contacts=[COMPLETES, NO_ANSWER, BUSY], max_attempts=2, state=store(state))

    results = drive.to_the_end()

    assert outcomes(results) == [(COMPLETES, "completed", 1), (NO_ANSWER, "no_answer", 2), (BUSY, "busy", 2)]
    calls = [call for call in drive.sandbox.calls if call["to_number"] == BUSY]
    waited = moment(calls[1], "created_at") - moment(calls[0], "ended_at")
    assert timedelta(minutes=30) <= waited <= timedelta(minutes=32, seconds=30)


def test_a_call_is_marked_with_its_contact(clock: Clock) -> None:
    """Its metadata has the task's identity, the contact, and what the DAG author gave."""
    contacts = [{"id": "a", "to_number": COMPLETES, "metadata": {"crm": 1}}]
    drive = campaign(clock, contacts=contacts, metadata={"list": "north", "crm": 0})

    drive.to_the_end()

    (call,) = drive.sandbox.calls
    assert call["request_metadata"]["list"] == "north"
    assert call["request_metadata"]["crm"] == 1
    mark = {**IDENTITY, "contact": "a", "attempt": 1, "generation": 0}
    assert identity_in(call) == mark


def test_the_summary_counts(clock: Clock) -> None:
    """Contacts, outcomes, calls and talk time."""
    drive = campaign(clock, contacts=[COMPLETES, NO_ANSWER, BUSY], max_attempts=2)
    run = drive.runs.next_try()

    results = drive.to_the_end(run)

    summary = run.ti.xcoms["summary"]
    assert summary["contacts"] == 3
    assert summary["outcomes"] == {"completed": 1, "no_answer": 1, "busy": 1}
    assert summary["attempts"] == 5
    record = results[0]["record"]
    talked = moment(record, "ended_at") - moment(record, "answered_at")
    assert summary["talk_time"] == pytest.approx(talked.total_seconds(), abs=0.01)


def test_records_are_cut(clock: Clock) -> None:
    """Personal data can be kept out of Airflow's database."""
    drive = campaign(clock, contacts=[COMPLETES], record_fields=["id", "status"])

    (result,) = drive.to_the_end()

    assert set(result["record"]) == {"id", "status"}


def test_nothing_is_pushed_if_nothing_is_to_be(clock: Clock) -> None:
    """``do_xcom_push=False`` is for the summary, too."""
    drive = campaign(clock, contacts=[COMPLETES], do_xcom_push=False)
    run = drive.runs.next_try()

    drive.to_the_end(run)

    assert run.ti.xcoms == {}


def test_an_empty_campaign_ends_at_once(clock: Clock) -> None:
    """Nobody to call is no error."""
    drive = campaign(clock, contacts=[])

    assert drive.to_the_end() == []
    assert drive.sandbox.calls == []


def test_a_campaign_can_wait_on_a_worker(clock: Clock) -> None:
    """Without a triggerer, the same calls are placed in one worker run."""
    drive = campaign(clock, contacts=[COMPLETES, BUSY], max_attempts=2, deferrable=False)

    results = drive.to_the_end()

    assert outcomes(results) == [(COMPLETES, "completed", 1), (BUSY, "busy", 2)]
    assert drive.worker_runs == 1


# --- What Airflow stores ---


def test_no_personal_data_is_stored_with_a_deferral(clock: Clock) -> None:
    """The resume method's arguments, and the trigger's, have ids, times and positions only."""
    contacts = [{"id": "Ann Smith", "to_number": number} for number in [COMPLETES]]
    contacts.append({"id": "Bob Jones", "to_number": BUSY})
    drive = campaign(clock, contacts=contacts, may_call=lambda contact, now: contact["id"] != "Bob Jones")

    deferral = drive.runs.next_try().step("execute")

    assert isinstance(deferral, TaskDeferred)
    stored = repr((deferral.kwargs, deferral.trigger.serialize()))
    for private in (COMPLETES, BUSY, "Ann", "Bob"):
        assert private not in stored


def test_a_trigger_of_a_thousand_calls_fits(clock: Clock) -> None:
    """Its arguments, encrypted, and the resume method's stay below MySQL's 64 KB."""
    drive = campaign(clock, contacts=numbers(1_000), max_active_calls=1_000)

    deferral = drive.runs.next_try().step("execute")

    assert isinstance(deferral, TaskDeferred)
    assert len(repr(deferral.trigger.serialize())) * 4 / 3 < 64_000
    assert len(repr(deferral.kwargs)) < 64_000


# --- Crashes and lost answers ---


@STATES
@pytest.mark.parametrize("after_post", [True, False])
def test_a_crash_while_dialling_costs_no_second_call(
    clock: Clock, state: str | None, after_post: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies at the third POST; its retry finds what was placed, and places the rest."""
    from airflow_provider_telzino.hooks.telzino import TelzinoHook

    drive = campaign(
        clock, contacts=numbers(6), max_active_calls=6, redial_on=(), retries=1, state=store(state)
    )
    place_call, count = TelzinoHook.place_call, iter(range(100))

    def place_or_die(*given: Any, **options: Any) -> Any:
        number = next(count)
        if number == 2 and not after_post:
            raise SystemExit
        answer = place_call(*given, **options)
        if number == 2:
            raise SystemExit
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(TelzinoHook, "place_call", place_or_die)
        with pytest.raises(SystemExit):
            drive.runs.next_try().step("execute")
    results = drive.to_the_end()

    assert len(results) == 6
    assert set(drive.placements().values()) == {1}
    assert drive.most_live <= 6


@STATES
@pytest.mark.parametrize("after_commit", [True, False])
def test_a_lost_answer_is_accounted_for(clock: Clock, state: str | None, after_commit: bool) -> None:
    """The call is found if it was placed, and placed if not; nobody is called twice."""
    drive = campaign(clock, contacts=numbers(4), max_active_calls=4, redial_on=(), state=store(state))
    drive.sandbox.faults.next("POST", "outbound-calls$", status=500, after_commit=after_commit)

    results = drive.to_the_end()

    assert len(results) == 4
    assert drive.placements() == dict.fromkeys(numbers(4), 1)
    assert drive.most_live <= 4


def test_a_lost_answer_counts_as_live(clock: Clock) -> None:
    """The cap holds although it is unknown whether that call is live."""
    drive = campaign(clock, contacts=numbers(4), max_active_calls=2, redial_on=())
    drive.sandbox.faults.next("POST", "outbound-calls$", status=500, after_commit=True)

    drive.to_the_end()

    assert drive.most_live == 2
    assert set(drive.placements().values()) == {1}


def test_a_retry_begins_where_the_last_try_ended(clock: Clock) -> None:
    """The triggerer lost the trigger: a retry waits for the calls that are live, and dials the others."""
    drive = campaign(clock, contacts=numbers(5), max_active_calls=2, redial_on=(), retries=1)
    drive.runs.next_try().step("execute")

    results = drive.to_the_end()

    assert len(results) == 5
    assert set(drive.placements().values()) == {1}
    assert drive.most_live == 2


@NEEDS_TASK_STATE
def test_a_retry_after_a_worker_run_that_dialled_nobody_stays_with_the_agent(
    clock: Clock, connect: ConnectionSetter
) -> None:
    """The connection has another agent by then, whose list doesn't have the calls."""
    broken = SimpleNamespace(now=False)

    def may_call(contact: Any, now: Any) -> bool:
        if broken.now:
            raise RuntimeError
        return True

    with Sandbox(agents=2, clock="manual") as two:
        clock.sandbox = two
        connect(two)
        drive = campaign(
            clock,
            contacts=numbers(2),
            max_active_calls=1,
            redial_on=(),
            may_call=may_call,
            state=TaskStateStore(),
            retries=1,
        )
        run = drive.runs.next_try()
        deferral = drive.step(run, "execute")
        broken.now = True
        with pytest.raises(exceptions.TelzinoError, match="`may_call` raised"):
            drive.carry_on(run, deferral)

        connect(two, extra={"agent_id": two.agent_ids[1]})
        broken.now = False
        drive.to_the_end()

        assert set(drive.placements().values()) == {1}


@NEEDS_TASK_STATE
def test_no_call_is_placed_once_airflow_has_taken_the_task(clock: Clock) -> None:
    """Another process runs the task now: this one must not dial."""
    state = TaskStateStore()
    drive = campaign(clock, contacts=numbers(3), state=state)
    run = drive.runs.next_try()
    state.superseded = True

    with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="no longer dials"):
        run.step("execute")

    assert posts(drive.sandbox) == 0


def test_a_killed_campaign_dials_no_more(clock: Clock) -> None:
    """Airflow lets a killed task run for some seconds."""
    killed: list[Any] = []
    drive = campaign(clock, contacts=numbers(3), may_call=lambda *_: killed[0].on_kill() is None)
    run = drive.runs.next_try()
    killed.append(run.task)

    with pytest.raises(exceptions.TelzinoError, match="was killed"):
        run.step("execute")

    assert posts(drive.sandbox) <= 1


# --- The API's limits ---


def test_too_many_requests_slow_it_down(clock: Clock) -> None:
    """A 429 places no call: the contact is called later, after as long as the API asks."""
    drive = campaign(clock, contacts=numbers(4), redial_on=())
    drive.sandbox.faults.next("POST", "outbound-calls$", status=429, retry_after="20", times=2)
    began = clock.now()

    results = drive.to_the_end()

    assert len(results) == 4
    assert set(drive.placements().values()) == {1}
    late = [
        call for call in drive.sandbox.calls if moment(call, "created_at") >= began + timedelta(seconds=20)
    ]
    assert len(late) >= 2


def test_a_long_pause_is_waited_out_deferred(clock: Clock) -> None:
    """An API that asks for ten minutes does not hold a worker."""
    drive = campaign(clock, contacts=numbers(2), redial_on=())
    drive.sandbox.faults.next("POST", "outbound-calls$", status=429, retry_after="600", times=2)

    deferral = drive.runs.next_try().step("execute")

    assert moment_of(deferral) >= clock.now() + timedelta(seconds=590)


@pytest.mark.parametrize("status", [503, 429])
def test_an_outage_delays_the_campaign(clock: Clock, status: int) -> None:
    """The list can't be read: the task defers, and continues later."""
    drive = campaign(clock, contacts=numbers(2), redial_on=())
    drive.sandbox.faults.next("GET", "outbound-calls$", status=status, retry_after="3600")
    run = drive.runs.next_try()

    deferral = drive.step(run, "execute")

    assert moment_of(deferral) == clock.now() + timedelta(minutes=1)
    assert len(drive.carry_on(run, deferral)) == 2


def test_a_call_that_the_api_refuses_is_an_outcome(clock: Clock) -> None:
    """The others are called; the refused one isn't tried again in each worker run."""
    drive = campaign(clock, contacts=numbers(6), max_active_calls=2, redial_on=())
    drive.sandbox.faults.next(
        "POST", "outbound-calls$", status=400, raw_body=b'{"error": "to_number is not valid"}'
    )

    results = drive.to_the_end()

    rejected = [each for each in results if each["outcome"] == "rejected"]
    assert len(rejected) == 1
    assert rejected[0]["record"] is None
    assert rejected[0]["attempts"] == 0
    assert "`to_number`" in rejected[0]["error"]
    assert posts(drive.sandbox) == 6


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_refuses_all_calls_ends_the_task(clock: Clock, status: int) -> None:
    """Wrong credentials are no contact's fault."""
    drive = campaign(clock, contacts=numbers(6))
    drive.sandbox.faults.next("POST", "outbound-calls$", status=status, times=10)

    with pytest.raises(exceptions.TelzinoError):
        drive.runs.next_try().step("execute")

    assert posts(drive.sandbox) <= 4


# --- Not before, not after, not at all ---


def test_hours_are_each_contacts_own(clock: Clock, task_log: pytest.LogCaptureFixture) -> None:
    """In New York it is 11:00; in Tokyo it is midnight. The log says who waits, and why."""
    contacts = [
        {"to_number": COMPLETES, "timezone": "America/New_York"},
        {"to_number": BUSY, "timezone": "Asia/Tokyo"},
    ]
    drive = campaign(clock, contacts=contacts, calling_hours=("09:00", "20:00"), redial_on=())

    drive.to_the_end()

    early, late = (moment(call, "created_at") for call in drive.sandbox.calls)
    assert early < START + timedelta(minutes=1)
    assert late >= pendulum.datetime(2026, 6, 10, 9, tz="Asia/Tokyo")
    assert "2 contacts are due now" in task_log.text
    assert (
        "1 contacts may not be called yet, the first of them not before 2026-06-10T00:00:00+00:00: "
        "the calling hours begin then." in task_log.text
    )


def test_may_call_rules_contacts_out(clock: Clock) -> None:
    """``False`` is for ever: such a contact isn't asked about again."""
    asked: list[str] = []

    def may_call(contact: Any, now: Any) -> bool:
        asked.append(contact["to_number"])
        return bool(contact["to_number"] != BUSY)

    drive = campaign(clock, contacts=[BUSY, *numbers(4)], max_active_calls=1, redial_on=(), may_call=may_call)

    results = drive.to_the_end()

    assert outcomes(results)[0] == (BUSY, "not_allowed", 0)
    assert asked.count(BUSY) == 1
    assert drive.placements()[BUSY] == 0


def test_may_call_gets_all_of_the_contact(clock: Clock) -> None:
    """What the contact has, and what a single call's ``may_call`` would get."""
    asked: list[Any] = []

    def may_call(contact: Any, now: Any) -> bool:
        asked.append(contact)
        return True

    contacts = [{"id": 1, "to_number": COMPLETES, "name": "Ann", "metadata": {"crm": 1}}]
    drive = campaign(
        clock,
        contacts=contacts,
        call_context="You call {{ contact.name }}.",
        metadata={"list": "north"},
        may_call=may_call,
    )

    drive.to_the_end()

    assert asked == [
        {
            "id": 1,
            "to_number": COMPLETES,
            "name": "Ann",
            "timezone": None,
            "call_context": "You call Ann.",
            "metadata": {"list": "north", "crm": 1},
            "callback_url": None,
        }
    ]


def test_may_call_can_stop_the_campaign_for_a_while(clock: Clock) -> None:
    """An emergency brake returns a time; the campaign asks again then."""
    brake = SimpleNamespace(until=START + timedelta(hours=2))
    drive = campaign(clock, contacts=numbers(2), redial_on=(), may_call=lambda *_: brake.until)
    run = drive.runs.next_try()

    deferral = drive.step(run, "execute")

    assert moment_of(deferral) == brake.until
    assert len(drive.carry_on(run, deferral)) == 2


@pytest.mark.parametrize("answer", [1, None, "yes"])
def test_a_wrong_answer_of_may_call_calls_nobody(clock: Clock, answer: object) -> None:
    """The error names the position, and is final."""
    drive = campaign(clock, contacts=numbers(2), may_call=lambda *_: answer)

    with pytest.raises(AirflowFailException, match=r"position 1: `may_call` returned"):
        drive.runs.next_try().step("execute")

    assert posts(drive.sandbox) == 0


@pytest.mark.parametrize("most", [1, 4])
def test_a_wrong_answer_of_may_call_loses_no_outcome(clock: Clock, most: int) -> None:
    """Whoever was called before is waited for, and all outcomes are pushed before the task fails."""
    people = [*numbers(3), BUSY]
    drive = campaign(
        clock,
        contacts=people,
        max_active_calls=most,
        redial_on=(),
        may_call=lambda contact, now: True if contact["to_number"] != BUSY else None,
    )
    run = drive.runs.next_try()

    with pytest.raises(AirflowFailException, match="`may_call` returned"):
        drive.to_the_end(run)

    results = outcomes(run.ti.xcoms["return_value"])
    assert results == [(number, "completed", 1) for number in people[:-1]] + [(BUSY, "not_called", 0)]
    assert set(drive.placements().values()) == {1}


@NEEDS_TASK_STATE
def test_a_task_whose_state_cannot_be_read_waits_for_its_own_agents_calls(clock: Clock) -> None:
    """Not for those of the connection's default agent."""
    state = TaskStateStore()
    other = clock.sandbox.agent_ids[0]
    drive = campaign(clock, contacts=[COMPLETES], agent_id=other.upper(), state=state, retries=1)
    drive.runs.next_try().step("execute")
    state.broken = True

    deferral = drive.runs.next_try().step("execute")

    assert isinstance(deferral, TaskDeferred)
    assert deferral.trigger.agent_id == other


def test_nobody_is_called_after_the_dial_timeout(clock: Clock) -> None:
    """Who was not called by then has that as its outcome."""
    contacts = [COMPLETES, {"to_number": BUSY, "timezone": "Asia/Tokyo"}]
    drive = campaign(
        clock,
        contacts=contacts,
        timezone="America/New_York",
        calling_hours=("09:00", "20:00"),
        dial_timeout=timedelta(hours=2),
    )

    results = drive.to_the_end()

    assert outcomes(results) == [(COMPLETES, "completed", 1), (BUSY, "not_called", 0)]


@STATES
def test_an_outage_at_the_start_does_not_prolong_the_dial_timeout(clock: Clock, state: str | None) -> None:
    """It counts from when the task started, not from when Telzino answers at last."""
    drive = campaign(clock, contacts=[COMPLETES], dial_timeout=timedelta(hours=1), state=store(state))
    drive.sandbox.faults.next("GET", "outbound-calls$", status=503, retry_after="3600", times=70)

    assert outcomes(drive.to_the_end()) == [(COMPLETES, "not_called", 0)]
    assert drive.sandbox.calls == []


def test_a_redial_after_the_dial_timeout_is_not_made(clock: Clock) -> None:
    """The last outcome stands."""
    drive = campaign(clock, contacts=[BUSY], dial_timeout=timedelta(minutes=20))

    assert outcomes(drive.to_the_end()) == [(BUSY, "busy", 1)]


# --- The end ---


def test_a_bad_outcome_fails_the_task_after_the_push(clock: Clock) -> None:
    """All outcomes are in XCom; Airflow doesn't retry."""
    drive = campaign(clock, contacts=[COMPLETES, BUSY], redial_on=(), fail_on=["busy", "rejected"])
    run = drive.runs.next_try()

    with pytest.raises(exceptions.TelzinoContactsOutcomeError, match="1 busy") as error:
        drive.to_the_end(run)

    assert isinstance(error.value, AirflowFailException)
    assert outcomes(run.ti.xcoms["return_value"]) == [(COMPLETES, "completed", 1), (BUSY, "busy", 1)]
    assert run.ti.xcoms["summary"]["contacts"] == 2


def test_a_soft_failure_skips(clock: Clock) -> None:
    """``soft_fail`` means the same as everywhere."""
    drive = campaign(clock, contacts=[BUSY], redial_on=(), fail_on=["busy"], soft_fail=True)

    with pytest.raises(AirflowSkipException):
        drive.to_the_end()


def test_a_call_that_does_not_end_times_out(clock: Clock, sandbox: Sandbox) -> None:
    """All other outcomes are pushed, and a retry waits for it again."""
    contacts = [COMPLETES, MAGIC_NUMBERS["long_call"]]
    drive = campaign(clock, contacts=contacts, timeout=600, retries=1)
    run = drive.runs.next_try()

    with pytest.raises(exceptions.TelzinoTimeoutError, match="Of its calls, 1 had not ended") as error:
        drive.to_the_end(run)

    assert not isinstance(error.value, AirflowFailException)
    assert [each["outcome"] for each in run.ti.xcoms["return_value"]] == ["completed", "in_progress"]
    clock.advance(3_600)
    assert [each["outcome"] for each in drive.to_the_end()] == ["completed", "completed"]
    assert set(drive.placements().values()) == {1}


def test_a_call_that_does_not_end_takes_no_worker_runs(clock: Clock) -> None:
    """It is overdue, but still live, so that nobody else can be called: the campaign waits for its end."""
    contacts = [MAGIC_NUMBERS["long_call"], *numbers(2)]
    drive = campaign(clock, contacts=contacts, max_active_calls=1, timeout=600, redial_on=())

    results = drive.to_the_end()

    assert [each["outcome"] for each in results] == ["completed"] * 3
    assert drive.worker_runs <= 6


def test_a_long_call_holds_nobody_up_when_as_many_are_live_as_may_be(clock: Clock) -> None:
    """A worker run for a redial finds no call to place: the next one comes when one call ends, not all."""
    contacts = [BUSY, MAGIC_NUMBERS["long_call"], *numbers(12)]
    drive = campaign(
        clock, contacts=contacts, max_active_calls=4, max_attempts=2, redial_delay=timedelta(minutes=1)
    )

    drive.to_the_end()

    (long_call,) = [call for call in drive.sandbox.calls if call["to_number"] == contacts[1]]
    last = max(moment(call, "created_at") for call in drive.sandbox.calls)
    assert last < moment(long_call, "ended_at") - timedelta(minutes=20)


def test_who_waits_for_calls_that_do_not_end_is_not_called_after_the_dial_timeout(clock: Clock) -> None:
    """The campaign ends then: it gave the call up before."""
    contacts = [MAGIC_NUMBERS["long_call"], *numbers(2)]
    limits: dict[str, Any] = {"timeout": 600, "dial_timeout": timedelta(minutes=20)}
    drive = campaign(clock, contacts=contacts, max_active_calls=1, redial_on=(), **limits)
    run = drive.runs.next_try()

    with pytest.raises(exceptions.TelzinoTimeoutError):
        drive.to_the_end(run)

    assert [each["outcome"] for each in run.ti.xcoms["return_value"]] == [
        "in_progress",
        "not_called",
        "not_called",
    ]
    assert drive.worker_runs <= 4


# --- A clear ---


@STATES
def test_a_cleared_campaign_continues(clock: Clock, state: str | None) -> None:
    """Nobody is called again whose outcome is in; the others are called."""
    drive = campaign(
        clock, contacts=[COMPLETES, BUSY, *numbers(3)], max_active_calls=2, max_attempts=1, state=store(state)
    )
    drive.runs.next_try().step("execute")
    drive.runs.clear()

    results = drive.to_the_end()

    assert len(results) == 5
    assert set(drive.placements().values()) == {1}


@STATES
def test_a_finished_campaign_that_is_cleared_calls_nobody(clock: Clock, state: str | None) -> None:
    """It pushes the same outcomes again."""
    drive = campaign(clock, contacts=[COMPLETES, BUSY], max_attempts=2, state=store(state))
    first = drive.to_the_end()
    drive.runs.clear()

    assert drive.to_the_end() == first


@STATES
def test_a_cleared_campaign_calls_those_who_are_new(clock: Clock, state: str | None) -> None:
    """Others before it, another order, new ones: only those are called who weren't called."""
    old = numbers(3)
    drive = campaign(clock, contacts=list(old), redial_on=(), state=store(state))
    drive.to_the_end()
    drive.runs.clear()
    drive.runs.arguments["contacts"] = [COMPLETES, *reversed(old)]

    results = drive.to_the_end()

    assert [each["contact"] for each in results] == [COMPLETES, *reversed(old)]
    assert set(drive.placements().values()) == {1}


def test_a_list_that_changes_while_it_runs_calls_nobody_twice(clock: Clock) -> None:
    """A function may return another list in each worker run."""
    people = numbers(6)
    drive = campaign(clock, contacts=lambda: list(people), max_active_calls=2, redial_on=())

    def shuffle(drive: Drive) -> None:
        people.append(people.pop(0))

    drive.before_resume = shuffle

    results = drive.to_the_end()

    assert {each["contact"] for each in results} == set(people)
    assert set(drive.placements().values()) == {1}


# --- What is wrong with a trigger ---


def test_a_triggerer_that_is_refused_twice_ends_the_task(clock: Clock) -> None:
    """Once may be chance; twice, the triggerer has another connection."""
    drive = campaign(clock, contacts=[COMPLETES])
    run = drive.runs.next_try()
    deferral = drive.step(run, "execute")
    refused = {
        "outcome": "refused",
        "total": 1,
        "ended": 0,
        "missing": 0,
        "counts": {},
        "error": "TelzinoCredentialsError",
    }

    again = run.step("resume", event=refused, **deferral.kwargs)

    assert isinstance(again, TaskDeferred)
    with pytest.raises(exceptions.TelzinoError, match="TelzinoCredentialsError"):
        run.step("resume", event=refused, **(again.kwargs or {}))


def test_a_trigger_that_airflow_stopped_resumes_the_campaign(clock: Clock) -> None:
    """Airflow's own timeout of the deferral is no reason to fail."""
    drive = campaign(clock, contacts=[COMPLETES])
    run = drive.runs.next_try()
    drive.step(run, "execute")

    again = run.step("__fail__", error="Trigger timeout")

    assert isinstance(again, TaskDeferred)
    assert drive.carry_on(run, again)[0]["outcome"] == "completed"
    assert set(drive.placements().values()) == {1}


def test_a_trigger_that_broke_fails_the_try(clock: Clock) -> None:
    """A retry continues."""
    drive = campaign(clock, contacts=[COMPLETES], retries=1)
    run = drive.runs.next_try()
    drive.step(run, "execute")

    with pytest.raises(AirflowException):
        run.step("__fail__", error="Trigger failure", traceback=["boom"])

    assert drive.to_the_end()[0]["outcome"] == "completed"
    assert set(drive.placements().values()) == {1}


# --- Words, plans and approvals ---


def test_the_words_are_rendered_for_each_contact(clock: Clock) -> None:
    """Only the campaign's own text is a template; what comes from outside is not rendered."""
    contacts = [
        {"to_number": COMPLETES, "name": "Ann"},
        {"to_number": BUSY, "name": "{{ 7 * 7 }}"},
        {"to_number": NO_ANSWER, "name": "Cleo", "call_context": "Her own {{ words }}."},
    ]
    drive = campaign(clock, contacts=contacts, call_context="You call {{ contact.name }}.", redial_on=())

    drive.to_the_end()

    words = {call["to_number"]: call["call_context"] for call in drive.sandbox.calls}
    assert words == {
        COMPLETES: "You call Ann.",
        BUSY: "You call {{ 7 * 7 }}.",
        NO_ANSWER: "Her own {{ words }}.",
    }


def test_all_contacts_are_checked_before_the_first_is_called(clock: Clock) -> None:
    """One error names all positions, and no value."""
    contacts = [COMPLETES, {"to_number": "0815"}, COMPLETES]
    drive = campaign(clock, contacts=lambda: contacts)

    with pytest.raises(AirflowFailException, match="3 of 3 contacts are invalid") as error:
        drive.runs.next_try().step("execute")

    assert "0815" not in str(error.value)
    assert COMPLETES not in str(error.value)
    assert drive.sandbox.requests == []


def test_a_dry_run_calls_nobody_and_returns_the_plan(clock: Clock) -> None:
    """Also if some contacts can't be called: the plan says which."""
    contacts = [COMPLETES, {"to_number": "0815"}]
    drive = campaign(clock, contacts=lambda: contacts, dry_run=True)

    plan = drive.to_the_end()

    assert (plan["contacts"], plan["calls_at_most"]) == (1, 3)
    assert [each["position"] for each in plan["rejects"]] == [2]
    assert drive.sandbox.requests == []


def plan_of(clock: Clock, contacts: list[Any], **arguments: Any) -> dict[str, Any]:
    """Make the plan of a campaign."""
    plan = campaign(clock, contacts=contacts, dry_run=True, **arguments).to_the_end()
    assert isinstance(plan, dict)
    return plan


@pytest.mark.parametrize("form", ["plan", "fingerprint", "text"])
def test_an_approved_campaign_calls(clock: Clock, form: str) -> None:
    """A plan, its fingerprint, or what a template makes of a plan."""
    plan = plan_of(clock, [COMPLETES])
    approved = {"plan": plan, "fingerprint": plan["fingerprint"], "text": str(plan)}[form]
    drive = campaign(clock, contacts=[COMPLETES], approved_plan=approved)

    assert outcomes(drive.to_the_end()) == [(COMPLETES, "completed", 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"contacts": [COMPLETES, BUSY]},
        {"contacts": [{"to_number": COMPLETES, "name": "Ann"}]},
        {"max_attempts": 4},
        {"calling_hours": ("09:00", "20:00"), "timezone": "America/New_York"},
        {"call_context": "Other words."},
        {"max_active_calls": 99},
        {"approved_plan": ""},
        {"approved_plan": {}},
        {"approved_plan": "None"},
        {"approved_plan": "0" * 64},
    ],
    ids=str,
)
def test_a_campaign_that_differs_from_its_plan_calls_nobody(clock: Clock, change: dict[str, Any]) -> None:
    """Contacts, settings, or no plan at all."""
    arguments = {"contacts": [COMPLETES], "approved_plan": plan_of(clock, [COMPLETES])} | change
    drive = campaign(clock, **arguments)

    with pytest.raises(AirflowFailException, match="nobody is called"):
        drive.runs.next_try().step("execute")

    assert drive.sandbox.requests == []


def test_a_plan_that_is_missing_at_run_time_approves_nothing(clock: Clock) -> None:
    """The task that makes the plan has pushed nothing, so that its output is ``None``."""
    drive = campaign(clock, contacts=[COMPLETES], approved_plan="{{ nothing }}")
    run = drive.runs.next_try()
    run.task.approved_plan = None

    with pytest.raises(AirflowFailException, match="nobody is called"):
        run.step("execute")


@pytest.mark.parametrize("given", [{"approved_plan": None}, {"approved_plan": ""}])
def test_a_mapped_campaign_without_its_plan_calls_nobody(clock: Clock, given: dict[str, Any]) -> None:
    """What it is expanded over has no plan for this list: nobody has approved it."""
    drive = mapped_campaign(clock, given, contacts=[COMPLETES])

    with pytest.raises(AirflowFailException, match="nobody is called"):
        drive.runs.next_try().step("execute")

    assert drive.sandbox.requests == []


@pytest.mark.parametrize("arguments", [{}, {"approved_plan": None}])
def test_a_mapped_campaign_that_needs_no_approval_calls(clock: Clock, arguments: dict[str, Any]) -> None:
    """As any other, if it is expanded over something else."""
    drive = mapped_campaign(clock, {"contacts": [COMPLETES]}, **arguments)

    assert outcomes(drive.to_the_end()) == [(COMPLETES, "completed", 1)]


def mapped_campaign(clock: Clock, given: dict[str, Any], **arguments: Any) -> Drive:
    """Return the drive of a campaign that is expanded over some of its arguments."""
    with DAG("campaigns", schedule=None):
        mapped = TelzinoCampaignOperator.partial(task_id="campaign", **arguments).expand_kwargs([given])

    class MappedRuns(CampaignRuns):
        def task(self) -> Any:
            return mapped.unmap(given)

    return Drive(MappedRuns({}, map_index=0, due=clock.now() - timedelta(minutes=1)), clock)


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize(
    ("added", "error"),
    [(COMPLETES, exceptions.TelzinoPlanChangedError), ("0815", exceptions.TelzinoArgumentError)],
)
def test_contacts_that_change_while_it_runs_lose_no_outcome(
    clock: Clock, added: str, error: type[Exception], crashes: bool
) -> None:
    """It no longer dials, waits for the calls that are live, pushes all outcomes, and fails."""
    people = numbers(4)
    plan = plan_of(clock, list(people), max_active_calls=1, redial_on=())
    drive = campaign(
        clock, contacts=lambda: people, max_active_calls=1, redial_on=(), approved_plan=plan, retries=1
    )
    run = drive.runs.next_try()
    deferral = drive.step(run, "execute")
    people.append(added)
    if crashes:
        run = drive.runs.next_try()

    with pytest.raises(error):
        drive.to_the_end(run) if crashes else drive.carry_on(run, deferral)

    assert len(drive.sandbox.calls) == 1
    results = outcomes(run.ti.xcoms["return_value"])
    assert results[:2] == [(people[0], "completed", 1), (people[1], "not_called", 0)]


def test_contacts_that_cannot_be_read_while_it_runs_lose_no_outcome(clock: Clock) -> None:
    """Calls are live, so the task may be retried; the first try alone would fail for good."""
    people: list[str] | None = numbers(2)
    drive = campaign(clock, contacts=lambda: people, max_active_calls=1, redial_on=(), retries=1)
    run = drive.runs.next_try()
    deferral = drive.step(run, "execute")
    known, people = people, None

    with pytest.raises(exceptions.TelzinoError, match="a retry reads the contacts again") as error:
        drive.resume(run, deferral)
    people = known
    results = drive.to_the_end()

    assert not isinstance(error.value, AirflowFailException)
    assert outcomes(results) == [(number, "completed", 1) for number in numbers(2)]
    assert set(drive.placements().values()) == {1}


# --- Arguments ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_active_calls": 0}, "`max_active_calls` should be a whole number from 1 to 1,000"),
        ({"max_active_calls": 1_001}, "`max_active_calls`"),
        ({"fail_on": ["ringing"]}, "`fail_on` should be a list of outcomes"),
        ({"fail_on": "busy"}, "`fail_on`"),
        ({"redial_on": ["completed"]}, "`redial_on`"),
        ({"contacts": [COMPLETES, "0815"]}, "position 2"),
        ({"call_context": "{{ broken"}, "`call_context` is not a valid Jinja template"),
        ({"dry_run": "yes"}, "`dry_run` should be True or False"),
        ({"record_fields": ()}, "`record_fields` is empty"),
        ({"callback_url": "http://x"}, "`callback_url`"),
        ({"timezone": "Mars"}, "`timezone`"),
        ({"metadata": {"a": {1}}}, "`metadata`"),
        ({"timeout": -1}, "`timeout`"),
        ({"multiple_outputs": True}, "`multiple_outputs` doesn't apply to a campaign"),
    ],
    ids=str,
)
def test_literal_arguments_are_checked_at_parse(
    clock: Clock, arguments: dict[str, Any], message: str
) -> None:
    """The message names the argument and the task."""
    drive = campaign(clock, **({"contacts": [COMPLETES]} | arguments))

    with pytest.raises(exceptions.TelzinoArgumentError, match=message) as error:
        drive.runs.task()

    assert "task campaign" in str(error.value)


def test_a_plan_can_have_multiple_outputs(clock: Clock) -> None:
    """It is a dict, of which each field may be an XCom."""
    assert campaign(clock, contacts=[COMPLETES], dry_run=True, multiple_outputs=True).to_the_end()


def test_arguments_of_a_mapped_campaign_are_checked_at_parse(clock: Clock) -> None:
    """Not only when all calls are made."""
    with pytest.raises(exceptions.TelzinoArgumentError, match="`multiple_outputs`"):
        mapped_campaign(clock, {"contacts": [COMPLETES]}, multiple_outputs=True)


def test_metadata_with_our_key_is_refused(clock: Clock) -> None:
    """The key of the identity is ours."""
    drive = campaign(clock, contacts=[COMPLETES], metadata={"airflow": 1})

    with pytest.raises(AirflowFailException, match="reserved"):
        drive.runs.next_try().step("execute")

    assert drive.sandbox.requests == []


def test_a_called_contact_that_became_invalid_is_in_the_results_once_the_list_is_corrected(
    clock: Clock,
) -> None:
    """It was twice in the list: the task fails at once. A clear calls nobody again, and loses nothing."""
    people = numbers(2)
    drive = campaign(clock, contacts=lambda: list(people), redial_on=())
    run = drive.runs.next_try()
    deferral = drive.step(run, "execute")
    people.extend(numbers(2))
    with pytest.raises(exceptions.TelzinoArgumentError, match="4 of 4 contacts are invalid"):
        drive.carry_on(run, deferral)

    del people[2:]
    drive.runs.clear()

    assert outcomes(drive.to_the_end()) == [(number, "completed", 1) for number in numbers(2)]
    assert set(drive.placements().values()) == {1}
