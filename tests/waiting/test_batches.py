"""Tasks that wait for many calls, against a real server: in portions, through crashes, to one list."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.waiting import batch_wait
from tests.conftest import ConnectionSetter
from tests.support.polling import requests
from tests.support.waiting_tasks import BOTH_BATCHES, Later, MakeTask, batch_sensor, poking_batch_sensor
from tests.support.waits import Run

pytestmark = pytest.mark.usefixtures("connected", "quick_retries")

EVENT_FIELDS = {"outcome", "total", "ended", "missing", "counts", "error", "deadline"}


def added(sandbox: Sandbox, number: int, status: str = "completed") -> list[dict[str, Any]]:
    """Add calls."""
    return [sandbox.add_call(status) for _ in range(number)]


def ids(calls: list[dict[str, Any]]) -> list[str]:
    """Return the ids of calls."""
    return [call["id"] for call in calls]


def resumed(run: Run, deferral: TaskDeferred) -> dict[str, Any]:
    """Run a deferral's trigger; return what the task resumes with."""
    return {"event": run.fire(deferral), **(deferral.kwargs or {})}


def finish_all(sandbox: Sandbox, calls: list[dict[str, Any]], status: str = "completed") -> list[Any]:
    """Let calls end; return their final records."""
    return [sandbox.finish(call["id"], status) for call in calls]


# --- The records ---


@BOTH_BATCHES
@pytest.mark.parametrize("number", [1, 5, 150])
def test_calls_that_have_ended_need_no_trigger(sandbox: Sandbox, make: MakeTask, number: int) -> None:
    """The final records are returned in the order of the calls; each is requested once."""
    calls = added(sandbox, number)[::-1]
    run = Run(make(call_ids=ids(calls)))

    records = run.to_the_end()

    assert records == calls
    assert run.deferrals == []
    assert requests(sandbox) == ({"single": number} if number < 10 else {"page": 2, "single": number})


@BOTH_BATCHES
def test_calls_that_end_later_are_waited_for(sandbox: Sandbox, later: Later, make: MakeTask) -> None:
    """Until the last one has ended."""
    calls = added(sandbox, 12, "dialing")
    later.after_requests(
        sandbox,
        2,
        lambda: finish_all(sandbox, calls[:7], "busy"),
        lambda: finish_all(sandbox, calls[7:], "completed"),
    )

    records = Run(make(call_ids=ids(calls))).to_the_end()

    assert ids(records) == ids(calls)
    assert [record["status"] for record in records] == ["busy"] * 7 + ["completed"] * 5
    assert all("call_context" in record for record in records)


@BOTH_BATCHES
def test_no_calls_succeed_at_once(sandbox: Sandbox, make: MakeTask) -> None:
    """With an empty list, and without a request."""
    assert Run(make(call_ids=[])).to_the_end() == []
    assert sandbox.requests == []


@BOTH_BATCHES
def test_a_call_that_is_given_twice_has_its_record_twice(sandbox: Sandbox, make: MakeTask) -> None:
    """It is requested once."""
    first, second = added(sandbox, 2)

    given = [first["id"], second, first["id"].upper()]

    records = Run(make(call_ids=given)).to_the_end()

    assert records == [first, second, first]
    assert requests(sandbox) == {"single": 2}
    with pytest.raises(exceptions.TelzinoOutcomeError, match=r"Of 2 calls, .*: 2 completed"):
        Run(make(call_ids=given, fail_on=["completed"])).to_the_end()


@pytest.mark.slow
def test_a_batch_is_waited_for_in_portions(sandbox: Sandbox, task_log: pytest.LogCaptureFixture) -> None:
    """2,500 calls take three triggers, each of at most 1,000, and four runs of a worker."""
    calls = added(sandbox, 2_500, "dialing")
    run = Run(batch_sensor(call_ids=calls, fail_on=["failed"], record_fields=["id"], timeout=3_600))
    deferral = run.step("execute")
    portions = []

    while isinstance(deferral, TaskDeferred):
        portion = deferral.trigger.call_ids
        portions.append(portion)
        finish_all(sandbox, [{"id": call_id} for call_id in portion])
        deferral = run.step("execute_complete", **resumed(run, deferral))

    assert [len(portion) for portion in portions] == [1_000, 1_000, 500]
    assert deferral == [{"id": call["id"]} for call in calls]
    assert "1,000 of 2,500 ended: 1,000 completed." in task_log.text
    assert "2,000 of 2,500 ended: 2,000 completed." in task_log.text
    assert [set(event) for event in run.events] == [EVENT_FIELDS] * 3


def test_a_portion_holds_calls_of_one_agent(
    connect: ConnectionSetter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records name their agents; what they don't name is the connection's, also if that changes meanwhile."""
    monkeypatch.setattr(batch_wait, "MAX_CALLS", 3)
    with Sandbox(clock="manual", agents=2) as sandbox:
        first, second = sandbox.agent_ids
        connect(sandbox, extra={"agent_id": second})
        calls = [sandbox.add_call("dialing", agent_id=agent) for agent in [first, second] * 4]
        given = [call if call["agent_id"] == first else call["id"] for call in calls]
        run = Run(batch_sensor(call_ids=given))
        deferral, portions = run.step("execute"), []
        connect(sandbox, extra={"agent_id": first})

        while isinstance(deferral, TaskDeferred):
            portions.append((deferral.trigger.agent_id, len(deferral.trigger.call_ids)))
            finish_all(sandbox, [{"id": each} for each in deferral.trigger.call_ids])
            deferral = run.step("execute_complete", **resumed(run, deferral))

    assert sorted(portions) == sorted([(first, 3), (first, 1), (second, 3), (second, 1)])
    assert ids(deferral) == ids(calls)


def test_calls_that_ended_meanwhile_need_no_portion(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker polls all calls, so the next portion has only those that are still live."""
    monkeypatch.setattr(batch_wait, "MAX_CALLS", 20)
    calls = added(sandbox, 60, "dialing")
    run = Run(batch_sensor(call_ids=ids(calls)))
    first = run.step("execute")
    finish_all(sandbox, calls[:55])

    second = run.step("execute_complete", event=run.fire(first), **first.kwargs)

    assert first.trigger.call_ids == ids(calls)[:20]
    assert second.trigger.call_ids == ids(calls)[55:]


def test_the_list_is_read_no_further_than_it_helps(sandbox: Sandbox) -> None:
    """Calls below thousands of others are requested singly."""
    calls = added(sandbox, 15)
    added(sandbox, 450)

    assert Run(batch_sensor(call_ids=ids(calls))).to_the_end() == calls
    assert requests(sandbox) == {"page": 2, "single": 15}


@pytest.mark.parametrize("fault", [{"raw_body": b"<html>"}, {"status": 403}, {"status": 404}], ids=str)
def test_a_list_that_cannot_be_read(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    """The calls' own records can: they are requested singly."""
    monkeypatch.setattr("airflow_provider_telzino.waiting.batch_wait.RETRY_FOR", 0.05)
    calls = added(sandbox, 15, "dialing")
    sandbox.faults.next("GET", "outbound-calls$", times=10_000, **fault)
    run = Run(batch_sensor(call_ids=ids(calls)))
    deferral = run.step("execute")
    finished = finish_all(sandbox, calls)

    assert run.step("execute_complete", **resumed(run, deferral)) == finished


def test_only_record_fields_are_pushed(sandbox: Sandbox, task_log: pytest.LogCaptureFixture) -> None:
    """Of each record; a field that they lack has one warning."""
    calls = added(sandbox, 5)

    records = Run(batch_sensor(call_ids=ids(calls), record_fields=["id", "mood"])).to_the_end()

    assert records == [{"id": call["id"]} for call in calls]
    assert task_log.text.count("Some records have no field mood") == 1


# --- The outcomes ---


@BOTH_BATCHES
def test_a_status_of_fail_on_fails_the_task(sandbox: Sandbox, make: MakeTask) -> None:
    """All records are pushed first; the message has counts, and Airflow doesn't retry."""
    calls = [*added(sandbox, 3), *added(sandbox, 2, "failed"), *added(sandbox, 1, "busy")]
    run = Run(make(call_ids=ids(calls), fail_on=["failed", "busy"], skip_on=["completed"]))

    with pytest.raises(
        exceptions.TelzinoOutcomeError, match=r"Of 6 calls, .* in `fail_on`: 2 failed, 1 busy"
    ) as caught:
        run.to_the_end()

    assert isinstance(caught.value, AirflowFailException)
    assert run.ti.xcoms == {"return_value": calls}
    assert not any(call["id"] in str(caught.value) for call in calls)


@BOTH_BATCHES
def test_a_status_of_skip_on_skips_the_task(sandbox: Sandbox, make: MakeTask) -> None:
    """All records are pushed first."""
    calls = [*added(sandbox, 3), *added(sandbox, 2, "no_answer")]
    run = Run(make(call_ids=ids(calls), skip_on=["no_answer"]))

    with pytest.raises(AirflowSkipException, match=r"Of 5 calls, .* in `skip_on`: 2 no answer"):
        run.to_the_end()

    assert run.ti.xcoms == {"return_value": calls}


@BOTH_BATCHES
def test_by_default_every_outcome_succeeds(sandbox: Sandbox, make: MakeTask) -> None:
    """The calls' records say how they ended."""
    calls = [*added(sandbox, 1, "failed"), *added(sandbox, 1, "no_answer")]

    assert Run(make(call_ids=ids(calls))).to_the_end() == calls


@BOTH_BATCHES
def test_soft_fail_skips_instead(sandbox: Sandbox, make: MakeTask) -> None:
    """The records are pushed all the same."""
    calls = added(sandbox, 2, "failed")
    run = Run(make(call_ids=ids(calls), fail_on=["failed"], soft_fail=True))

    with pytest.raises(AirflowSkipException, match="2 failed"):
        run.to_the_end()

    assert run.ti.xcoms == {"return_value": calls}


def test_a_task_that_pushes_nothing_pushes_no_bad_outcome(sandbox: Sandbox) -> None:
    """``do_xcom_push=False`` also applies to a bad outcome, and its message doesn't promise more."""
    calls = added(sandbox, 2, "failed")
    run = Run(batch_sensor(call_ids=ids(calls), fail_on=["failed"], do_xcom_push=False))

    with pytest.raises(exceptions.TelzinoOutcomeError) as caught:
        run.to_the_end()

    assert run.ti.xcoms == {}
    assert "XCom" not in str(caught.value)


@BOTH_BATCHES
def test_a_status_that_is_not_documented(
    sandbox: Sandbox, make: MakeTask, task_log: pytest.LogCaptureFixture
) -> None:
    """It ends a call, with one warning for all; ``"unknown"`` means it."""
    calls = added(sandbox, 2, "dialing")
    finish_all(sandbox, calls, "voicemail")

    assert len(Run(make(call_ids=ids(calls))).to_the_end()) == 2
    with pytest.raises(exceptions.TelzinoOutcomeError, match="2 voicemail"):
        Run(make(call_ids=ids(calls), fail_on=["unknown"])).to_the_end()

    assert task_log.text.count("statuses that are not documented: 2 voicemail") == 1


@BOTH_BATCHES
def test_a_call_that_is_not_there(sandbox: Sandbox, make: MakeTask) -> None:
    """The others are waited for and pushed, with None in its place; the error names its position."""
    calls = added(sandbox, 3)
    run = Run(make(call_ids=[str(uuid4()), *ids(calls), str(uuid4()), str(uuid4())]))

    with pytest.raises(exceptions.TelzinoNotFoundError, match=r"3 of the calls .* at positions 1, 5 to 6"):
        run.to_the_end()

    assert run.ti.xcoms == {"return_value": [None, *calls, None, None]}


def test_a_call_that_is_not_there_does_not_hide_a_bad_outcome(sandbox: Sandbox) -> None:
    """That is final; a missing call isn't, for Airflow."""
    calls = added(sandbox, 1, "failed")
    run = Run(batch_sensor(call_ids=[*ids(calls), str(uuid4())], fail_on=["failed"]))

    with pytest.raises(exceptions.TelzinoOutcomeError, match="1 failed"):
        run.to_the_end()

    assert run.ti.xcoms == {"return_value": [*calls, None]}


# --- Time ---


@BOTH_BATCHES
def test_a_timeout_pushes_what_is_there(sandbox: Sandbox, make: MakeTask) -> None:
    """None takes the place of what isn't; the message has the counts, and Airflow doesn't retry."""
    calls = [*added(sandbox, 6), *added(sandbox, 6, "dialing")]
    run = Run(make(call_ids=ids(calls), timeout=0.5))

    with pytest.raises(
        exceptions.TelzinoSensorTimeoutError, match=r"timeout of 0.5 s .* 6 of 12 ended: 6 completed"
    ):
        run.to_the_end()

    assert run.ti.xcoms == {"return_value": [*calls[:6], *[None] * 6]}


@BOTH_BATCHES
def test_soft_fail_skips_after_a_timeout(sandbox: Sandbox, make: MakeTask) -> None:
    """With the counts in the reason, and the records that are there in XCom."""
    calls = [*added(sandbox, 1), *added(sandbox, 1, "dialing")]
    run = Run(make(call_ids=ids(calls), timeout=0.5, soft_fail=True))

    with pytest.raises(AirflowSkipException, match="1 of 2 ended"):
        run.to_the_end()

    assert run.ti.xcoms == {"return_value": [calls[0], None]}


def test_a_retry_after_a_timeout_waits_again(sandbox: Sandbox) -> None:
    """A cleared task loses nothing."""
    calls = added(sandbox, 2, "dialing")
    task = batch_sensor(call_ids=ids(calls), timeout=0.2)
    with pytest.raises(exceptions.TelzinoSensorTimeoutError):
        Run(task).to_the_end()

    finished = finish_all(sandbox, calls)

    assert Run(task).to_the_end() == finished


def test_calls_that_end_in_the_last_moment_count(sandbox: Sandbox) -> None:
    """After the trigger's timeout the worker polls once more."""
    calls = added(sandbox, 3, "dialing")
    run = Run(batch_sensor(call_ids=ids(calls)))
    event = {"outcome": "timeout", "total": 3, "ended": 0, "missing": 0, "counts": {}}
    finished = finish_all(sandbox, calls)

    assert run.step("execute_complete", event=event, deadline=1.0) == finished


def test_a_portion_that_ends_at_the_deadline_is_a_timeout(sandbox: Sandbox) -> None:
    """The others are live: what is there is pushed."""
    calls = [*added(sandbox, 1), *added(sandbox, 1, "dialing")]
    run = Run(batch_sensor(call_ids=ids(calls)))
    event = {"outcome": "ended", "total": 1, "ended": 1, "missing": 0, "counts": {"completed": 1}}

    with pytest.raises(exceptions.TelzinoSensorTimeoutError, match="1 of 2 ended"):
        run.step("execute_complete", event=event, deadline=1.0)

    assert run.ti.xcoms == {"return_value": [calls[0], None]}


def test_the_deadline_holds_for_all_portions(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next portion doesn't prolong the wait, nor does a restart of the triggerer."""
    monkeypatch.setattr(batch_wait, "MAX_CALLS", 1)
    calls = added(sandbox, 2, "dialing")
    run = Run(batch_sensor(call_ids=ids(calls), timeout=1_000))
    first = run.step("execute")
    finish_all(sandbox, calls[:1])

    second = run.step("execute_complete", event=run.fire(first), **first.kwargs)

    assert second.trigger.deadline == first.trigger.deadline == first.kwargs["deadline"]
    assert second.timeout < first.timeout


# --- Crashes, outages and refusals ---


@pytest.mark.parametrize("reason", ["Trigger timeout", "Trigger/execution timeout"])
def test_a_trigger_that_never_fired_loses_no_outcome(sandbox: Sandbox, reason: str) -> None:
    """With the triggerer down until Airflow's timeout, the worker still finds the outcomes."""
    calls = added(sandbox, 3, "dialing")
    run = Run(batch_sensor(call_ids=ids(calls)))
    run.step("execute")
    finished = finish_all(sandbox, calls[:2])

    with pytest.raises(exceptions.TelzinoSensorTimeoutError, match="2 of 3 ended"):
        run.step("__fail__", error=reason)
    pushed = run.ti.xcoms["return_value"]
    finished += finish_all(sandbox, calls[2:])

    assert pushed == [*finished[:2], None]
    assert run.step("__fail__", error=reason) == finished


def test_a_trigger_that_broke_is_reported_unless_all_have_ended(sandbox: Sandbox) -> None:
    """A defect of the triggerer costs no outcome."""
    calls = added(sandbox, 3, "dialing")
    run = Run(batch_sensor(call_ids=ids(calls)))
    run.step("execute")

    with pytest.raises(Exception, match="Trigger failure"):
        run.step("__fail__", error="Trigger failure", traceback=["..."])
    finished = finish_all(sandbox, calls)

    assert run.step("__fail__", error="Trigger failure", traceback=["..."]) == finished


def test_a_crash_before_the_push_costs_nothing(sandbox: Sandbox) -> None:
    """The process dies with all records in hand: the retry reads them again."""
    calls = added(sandbox, 12)
    task = batch_sensor(call_ids=ids(calls), fail_on=["completed"])

    class Died(BaseException):
        """The process is gone."""

    class Dying(Run):
        """A run whose XCom backend takes the process along."""

    run = Dying(task)

    def die(key: str, value: Any) -> None:
        raise Died

    run.ti.xcom_push = die  # type: ignore[method-assign]
    with pytest.raises(Died):
        run.to_the_end()
    again = Run(task)

    with pytest.raises(exceptions.TelzinoOutcomeError):
        again.to_the_end()
    assert again.ti.xcoms == {"return_value": calls}


def test_an_xcom_backend_that_fails_is_not_an_outcome(sandbox: Sandbox) -> None:
    """The push comes before the final error, so Airflow retries the task."""
    run = Run(batch_sensor(call_ids=ids(added(sandbox, 2, "failed")), fail_on=["failed"]))

    def refuse(key: str, value: Any) -> None:
        raise OSError("the bucket is gone")

    run.ti.xcom_push = refuse  # type: ignore[method-assign]

    with pytest.raises(OSError, match="bucket"):
        run.to_the_end()


@BOTH_BATCHES
def test_an_outage_is_waited_out(sandbox: Sandbox, later: Later, make: MakeTask) -> None:
    """Failures of every kind delay the outcome, from the start and during the wait."""
    calls = added(sandbox, 15, "dialing")
    sandbox.faults.next("GET", "outbound-calls", status=503, times=3)

    def fail() -> None:
        for fault in ({"status": 503}, {"status": 429}, {"reset": True}, {"raw_body": b"<html>"}):
            sandbox.faults.next("GET", "outbound-calls", times=4, **fault)

    later.after_requests(sandbox, 5, fail)
    later.after_requests(sandbox, 20, lambda: finish_all(sandbox, calls))

    records = Run(make(call_ids=ids(calls), timeout=60)).to_the_end()

    assert Counter(record["status"] for record in records) == {"completed": 15}


def test_the_records_come_when_the_outage_is_over(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage right after the event costs one more deferral, not the outcome."""
    monkeypatch.setattr("airflow_provider_telzino.waiting.batch_wait.RETRY_FOR", 0.05)
    calls = added(sandbox, 12, "dialing")
    run = Run(batch_sensor(call_ids=ids(calls)))
    deferral = run.step("execute")
    finished = finish_all(sandbox, calls)
    event = run.fire(deferral)
    sandbox.faults.next("GET", "outbound-calls", status=503, times=10_000)

    again = run.step("execute_complete", event=event, **deferral.kwargs)
    assert isinstance(again, TaskDeferred)
    sandbox.faults.clear()

    assert run.step("execute_complete", **resumed(run, again)) == finished


def test_an_outage_of_single_records_defers_again(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list shows the ends, but the records can't be read: they are waited for like calls."""
    monkeypatch.setattr("airflow_provider_telzino.waiting.batch_poll.RETRY_FOR", 0.05)
    calls = added(sandbox, 12)
    sandbox.faults.next("GET", "outbound-calls/", status=503, times=10_000)
    run = Run(batch_sensor(call_ids=ids(calls)))

    deferral = run.step("execute")
    sandbox.faults.clear()

    assert deferral.trigger.call_ids == ids(calls)
    assert run.step("execute_complete", **resumed(run, deferral)) == calls


def test_records_that_stay_unavailable_are_an_error(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All calls have ended, and the deadline has passed: a retry gets the records."""
    monkeypatch.setattr("airflow_provider_telzino.waiting.batch_wait.RETRY_FOR", 0.05)
    calls = added(sandbox, 2)
    run = Run(batch_sensor(call_ids=ids(calls)))
    sandbox.faults.next("GET", "outbound-calls", status=503, times=10_000)
    event = {"outcome": "ended", "total": 2, "ended": 2, "missing": 0, "counts": {"completed": 2}}

    with pytest.raises(exceptions.TelzinoUnavailableError, match="let it retry"):
        run.step("execute_complete", event=event, deadline=1.0)


def test_a_list_that_is_ahead_of_the_records(sandbox: Sandbox) -> None:
    """The record is authoritative: a call that is live according to it is waited for."""
    calls = added(sandbox, 12)
    sandbox.faults.next(
        "GET",
        f"outbound-calls/{calls[3]['id']}",
        raw_body=b'{"id": "%s", "status": "in_progress"}' % calls[3]["id"].encode(),
    )
    run = Run(batch_sensor(call_ids=ids(calls)))

    deferral = run.step("execute")

    assert deferral.trigger.call_ids == [calls[3]["id"]]
    assert run.step("execute_complete", **resumed(run, deferral)) == calls


@BOTH_BATCHES
@pytest.mark.parametrize(
    ("status", "error"),
    [(401, exceptions.TelzinoCredentialsError), (403, exceptions.TelzinoPermissionError)],
)
def test_a_refusal_during_the_wait_ends_the_task(
    sandbox: Sandbox, later: Later, make: MakeTask, status: int, error: type[Exception]
) -> None:
    """A refusal that is final ends the task soon, with an error of its own class."""
    calls = added(sandbox, 12, "dialing")
    later.after_requests(
        sandbox, 2, lambda: sandbox.faults.next("GET", "outbound-calls", status=status, times=10_000)
    )

    with pytest.raises(error, match=str(status)):
        Run(make(call_ids=ids(calls), timeout=20)).to_the_end()


def test_a_triggerer_with_another_connection_is_reported(sandbox: Sandbox, connect: ConnectionSetter) -> None:
    """Refused there but not here, twice in a row: the error says that triggerer and worker differ."""
    run = Run(batch_sensor(call_ids=ids(added(sandbox, 2, "dialing"))))

    def refused(deferral: TaskDeferred) -> dict[str, Any]:
        connect(sandbox, password="wrong")
        event = run.fire(deferral)
        connect(sandbox)
        return {"event": event, **(deferral.kwargs or {})}

    second = run.step("execute_complete", **refused(run.step("execute")))

    with pytest.raises(exceptions.TelzinoError, match=r"TelzinoCredentialsError.*same connection"):
        run.step("execute_complete", **refused(second))


@pytest.mark.parametrize("event", [None, {}, {"outcome": "ended", "call_id": "x"}])
def test_an_unknown_event_is_an_error(sandbox: Sandbox, event: Any) -> None:
    """A triggerer with another version of the provider."""
    run = Run(batch_sensor(call_ids=ids(added(sandbox, 2))))

    with pytest.raises(exceptions.TelzinoError, match="same version of the provider"):
        run.step("execute_complete", event=event)


def test_only_the_event_has_the_deadline_under_dag_test(sandbox: Sandbox) -> None:
    """Airflow 3.3.2 drops the rest there."""
    calls = added(sandbox, 2, "dialing")
    run = Run(batch_sensor(call_ids=ids(calls), timeout=1_000))
    first = run.step("execute")
    first.trigger.until_ended = 1
    finish_all(sandbox, calls[:1])

    again = run.step("execute_complete", event=run.fire(first))

    assert again.trigger.deadline == first.trigger.deadline


def test_nothing_personal_is_logged(sandbox: Sandbox, task_log: pytest.LogCaptureFixture) -> None:
    """Neither ids by the hundreds nor what the records hold."""
    calls = [
        sandbox.add_call("dialing", to_number="+15005550100", call_context="Call John.") for _ in range(15)
    ]
    run = Run(batch_sensor(call_ids=calls))
    deferral = run.step("execute")
    finish_all(sandbox, calls)
    run.step("execute_complete", **resumed(run, deferral))

    for text in ("+15005550100", "John", *ids(calls)):
        assert not [
            each for each in task_log.records if text in each.getMessage() and each.levelname != "DEBUG"
        ]


def test_a_poking_sensor_logs_its_progress(
    sandbox: Sandbox, later: Later, task_log: pytest.LogCaptureFixture
) -> None:
    """At each tenth."""
    calls = added(sandbox, 12, "dialing")
    later.after_requests(
        sandbox, 2, lambda: finish_all(sandbox, calls[:6], "busy"), lambda: finish_all(sandbox, calls[6:])
    )

    Run(poking_batch_sensor(call_ids=ids(calls))).to_the_end()

    lines = [line for line in task_log.messages if " ended: " in line]
    assert lines[0] == "6 of 12 ended: 6 busy."
    assert lines[-1] == "12 of 12 ended: 6 busy, 6 completed."
