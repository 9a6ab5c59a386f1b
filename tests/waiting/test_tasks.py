"""Sensor and get operator, in all their modes, against a real server: what a DAG author sees."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.operators.call import TelzinoGetCallOperator
from airflow_provider_telzino.polling import channel
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from airflow_provider_telzino.triggers import call
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from tests.conftest import AGENT_ID, CALL_ID, ConnectionSetter
from tests.support.waits import EVENT_FIELDS, Run, TaskInstance, first_event

pytestmark = pytest.mark.usefixtures("connected", "quick_retries")

NUMBER = "+15005550100"
SECRETS = ("sandbox-token", "sandbox-secret", NUMBER, "Call John.")

MakeTask = Callable[..., Any]


def sensor(**arguments: Any) -> TelzinoCallSensor:
    """Make a deferrable sensor that looks often."""
    defaults: dict[str, Any] = {"task_id": "wait", "poke_interval": 0.1, "timeout": 30}
    return TelzinoCallSensor(**(defaults | arguments))


def poking_sensor(**arguments: Any) -> TelzinoCallSensor:
    """Make a sensor in Airflow's mode ``poke``."""
    return sensor(deferrable=False, **arguments)


def operator(**arguments: Any) -> TelzinoGetCallOperator:
    """Make a deferrable operator that looks often."""
    defaults: dict[str, Any] = {"task_id": "get", "poll_interval": 0.1, "timeout": 30}
    return TelzinoGetCallOperator(**(defaults | arguments))


def waiting_operator(**arguments: Any) -> TelzinoGetCallOperator:
    """Make an operator that waits on its worker."""
    return operator(deferrable=False, **arguments)


AIRFLOW_3 = pytest.mark.skipif(
    importlib.util.find_spec("airflow.sdk") is None,
    reason="Airflow 2.11 reads from its database what 3 is told with the task",
)

FAULTS: list[dict[str, Any]] = [{"status": 503}, {"reset": True}, {"status": 200, "raw_body": b"<html>"}]
ALL = pytest.mark.parametrize("make", [sensor, poking_sensor, operator, waiting_operator])


class Later:
    """Does things to the sandbox while a task waits."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def after_looks(self, sandbox: Sandbox, looks: int, *actions: Callable[[], Any]) -> None:
        """Act when that many more looks have come in, one action after the other."""

        def act() -> None:
            for action in actions:
                seen = len(sandbox.requests)
                end = time.monotonic() + 20
                while len(sandbox.requests) < seen + looks and time.monotonic() < end:
                    time.sleep(0.01)
                action()

        self.threads.append(threading.Thread(target=act))
        self.threads[-1].start()


@pytest.fixture
def later() -> Any:
    """Do things while a task waits; what was begun is over when the test is."""
    made = Later()
    yield made
    for thread in made.threads:
        thread.join()


@pytest.fixture
def live(sandbox: Sandbox) -> dict[str, Any]:
    """A call that is just being dialled, and stays so until the test ends it."""
    return sandbox.add_call(status="dialing", to_number=NUMBER, call_context="Call John.")


class TestOutcome:
    """What becomes of the task when the call has ended."""

    @ALL
    def test_a_call_that_has_ended(self, sandbox: Sandbox, make: MakeTask) -> None:
        """One look is enough: the record is returned, and no trigger is needed."""
        record = sandbox.add_call(status="completed", to_number=NUMBER)
        run = Run(make(call_id=record["id"]))

        assert run.to_the_end() == record
        assert run.deferrals == []
        assert len(sandbox.requests) == 1

    @ALL
    def test_a_call_that_ends_later(
        self, sandbox: Sandbox, live: dict[str, Any], later: Later, make: MakeTask
    ) -> None:
        """The task waits through the statuses, and returns the final record as the API gives it."""
        later.after_looks(
            sandbox,
            2,
            lambda: sandbox.move(live["id"], "in_progress"),
            lambda: sandbox.finish(live["id"], status="completed"),
        )

        record = Run(make(call_id=live["id"])).to_the_end()

        assert record["status"] == "completed"
        assert record == json.loads(json.dumps(record))
        assert record["call_context"] == "Call John."

    @ALL
    @pytest.mark.parametrize("status", ["failed", "busy", "no_answer"])
    def test_fail_on(self, sandbox: Sandbox, make: MakeTask, status: str) -> None:
        """A bad outcome fails the task without retries; the record was pushed first."""
        record = sandbox.add_call(status=status, sip_status_code=486)
        run = Run(make(call_id=record["id"], fail_on=[status]))

        with pytest.raises(exceptions.TelzinoCallEndedBadlyError, match=rf"{status} \(SIP 486\)") as caught:
            run.to_the_end()

        assert isinstance(caught.value, AirflowFailException)
        assert run.ti.xcoms == {"return_value": record}
        assert caught.value.call_id == record["id"]

    @ALL
    def test_skip_on(self, sandbox: Sandbox, make: MakeTask) -> None:
        """An outcome of ``skip_on`` skips the task; the record was pushed first."""
        record = sandbox.add_call(status="no_answer")
        run = Run(make(call_id=record["id"], skip_on=["no_answer"]))

        with pytest.raises(AirflowSkipException, match="no_answer"):
            run.to_the_end()

        assert run.ti.xcoms == {"return_value": record}

    @ALL
    @pytest.mark.parametrize("status", ["completed", "no_answer", "busy"])
    def test_by_default_only_failed_fails(self, sandbox: Sandbox, make: MakeTask, status: str) -> None:
        """A call that reached nobody is an outcome, not an error of the task."""
        record = sandbox.add_call(status=status)

        assert Run(make(call_id=record["id"])).to_the_end()["status"] == status

    @ALL
    def test_an_unknown_status_with_an_end(self, sandbox: Sandbox, make: MakeTask) -> None:
        """A status that Telzino adds some day ends the wait when ``ended_at`` is set."""
        record = sandbox.add_call(status="voicemail", ended_at="2026-06-11T12:54:15.354244+00:00")

        assert Run(make(call_id=record["id"])).to_the_end()["status"] == "voicemail"

    @ALL
    def test_an_unknown_status_without_an_end(self, sandbox: Sandbox, later: Later, make: MakeTask) -> None:
        """Without ``ended_at`` it is one more status to wait through."""
        record = sandbox.add_call(status="transferring", ended_at=None)
        later.after_looks(sandbox, 3, lambda: sandbox.finish(record["id"], status="completed"))

        assert Run(make(call_id=record["id"])).to_the_end()["status"] == "completed"

    @ALL
    def test_record_fields(self, sandbox: Sandbox, make: MakeTask) -> None:
        """Only the named fields are pushed, with a bad outcome, too."""
        record = sandbox.add_call(status="failed")
        run = Run(make(call_id=record["id"], record_fields=["id", "status"]))

        with pytest.raises(AirflowFailException):
            run.to_the_end()

        assert run.ti.xcoms == {"return_value": {"id": record["id"], "status": "failed"}}
        good = make(call_id=record["id"], record_fields=["status"], fail_on=())
        assert Run(good).to_the_end() == {"status": "failed"}

    def test_multiple_outputs_with_a_bad_outcome(self, sandbox: Sandbox) -> None:
        """With ``multiple_outputs`` each field is an XCom of its own, as for a task that returns."""
        record = sandbox.add_call(status="failed")
        run = Run(operator(call_id=record["id"], multiple_outputs=True))

        with pytest.raises(AirflowFailException):
            run.to_the_end()

        assert run.ti.xcoms == record | {"return_value": record}

    def test_a_task_that_pushes_nothing(self, sandbox: Sandbox) -> None:
        """``do_xcom_push=False`` holds for a bad outcome as well."""
        record = sandbox.add_call(status="failed")
        run = Run(sensor(call_id=record["id"], do_xcom_push=False))

        with pytest.raises(AirflowFailException):
            run.to_the_end()

        assert run.ti.xcoms == {}

    @ALL
    def test_a_record_instead_of_an_id(
        self, sandbox: Sandbox, connect: ConnectionSetter, make: MakeTask
    ) -> None:
        """What placing a call returned is enough: its ``agent_id`` is used when the task names none."""
        record = sandbox.add_call(status="completed")
        connect(sandbox, extra={"agent_id": None})

        assert Run(make(call_id={"id": record["id"], "agent_id": AGENT_ID})).to_the_end() == record

    def test_the_record_as_it_is_now(self, sandbox: Sandbox, live: dict[str, Any]) -> None:
        """``wait_for_completion=False`` pushes what there is, and no policy applies."""
        failed = sandbox.add_call(status="failed")

        assert (
            Run(operator(call_id=live["id"], wait_for_completion=False)).to_the_end()["status"] == "dialing"
        )
        assert Run(operator(call_id=failed["id"], wait_for_completion=False)).to_the_end() == failed


class TestTime:
    """Deadlines, and what a timeout says."""

    @ALL
    def test_a_timeout_names_the_last_status(self, live: dict[str, Any], make: MakeTask) -> None:
        """The error says what was last seen of the call, and for how long."""
        with pytest.raises(
            exceptions.TelzinoTimeoutError, match=r"timeout of 0\.5 s.*dialing, for \d\.\d s"
        ) as caught:
            Run(make(call_id=live["id"], timeout=0.5)).to_the_end()

        assert caught.value.call_id == live["id"]

    @pytest.mark.parametrize(("make", "airflows"), [(sensor, True), (poking_sensor, True), (operator, False)])
    def test_only_sensors_time_out_without_retries(
        self, live: dict[str, Any], make: MakeTask, airflows: bool
    ) -> None:
        """Airflow never retries a sensor's timeout; an operator's is an error like others."""
        with pytest.raises(exceptions.TelzinoTimeoutError) as caught:
            Run(make(call_id=live["id"], timeout=timedelta(seconds=0.2))).to_the_end()

        assert isinstance(caught.value, AirflowSensorTimeout) is airflows

    def test_the_deadline_is_absolute(self, live: dict[str, Any]) -> None:
        """A trigger that starts anew, after a crash, doesn't start the timeout anew."""
        run = Run(sensor(call_id=live["id"], timeout=1_000))
        before = time.time()

        deferral = run.step("execute")

        kwargs = deferral.trigger.serialize()[1]
        assert before + 1_000 <= kwargs["deadline"] <= time.time() + 1_000
        assert deferral.kwargs == {"deadline": kwargs["deadline"]}

    def test_the_triggers_deadline_comes_before_airflows(self, live: dict[str, Any]) -> None:
        """Airflow's own timeout leaves the trigger a minute and an interval to say its word."""
        deferral = Run(sensor(call_id=live["id"], timeout=1_000, poke_interval=20)).step("execute")

        assert deferral.timeout.total_seconds() == pytest.approx(1_080, abs=1)

    @pytest.mark.parametrize("waiting", [TaskInstance(), None])
    def test_a_task_stays_deferred_for_a_while(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, waiting: Any
    ) -> None:
        """Airflow takes a task for dead that resumes too soon. `dag.test()`, which tells no task, doesn't."""
        shortest = 0.3 if waiting else 3_600.0
        monkeypatch.setattr(call, "SHORTEST_DEFERRAL", shortest)
        trigger = TelzinoCallTrigger(sandbox.add_call("completed")["id"], time.time() + 30, poll_interval=0.1)
        trigger.task_instance = waiting
        began = time.monotonic()

        event = asyncio.run(asyncio.wait_for(first_event(trigger), 30))

        assert event["outcome"] == "ended"
        assert not waiting or time.monotonic() - began >= shortest

    def test_a_call_that_ends_in_the_last_moment_counts(self, sandbox: Sandbox, live: dict[str, Any]) -> None:
        """After the trigger's timeout the worker looks once more: the true outcome is worth a request."""
        run = Run(sensor(call_id=live["id"], timeout=0.2))
        deferral = run.step("execute")
        event = run.fire(deferral)
        assert event["outcome"] == "timeout"
        sandbox.finish(live["id"], status="completed")

        record = run.step("execute_complete", event=event, **deferral.kwargs)

        assert record["status"] == "completed"

    @pytest.mark.parametrize("make", [sensor, operator])
    @pytest.mark.parametrize("reason", ["Trigger timeout", "Trigger/execution timeout"])
    def test_a_trigger_that_never_fired(
        self, sandbox: Sandbox, live: dict[str, Any], make: MakeTask, reason: str
    ) -> None:
        """With the triggerer down until Airflow's timeout, the worker still finds the outcome.

        Airflow gives its reason in other words than Airflow 2.11.
        """
        run = Run(make(call_id=live["id"]))
        run.step("execute")
        timed_out = {"error": reason}

        with pytest.raises(exceptions.TelzinoTimeoutError, match="dialing"):
            run.step("__fail__", **timed_out)
        sandbox.finish(live["id"], status="completed")
        record = run.step("__fail__", **timed_out)

        assert record["status"] == "completed"

    @pytest.mark.parametrize("make", [sensor, operator])
    def test_the_wait_stays_with_its_agent(
        self, sandbox: Sandbox, live: dict[str, Any], make: MakeTask, connect: ConnectionSetter
    ) -> None:
        """Someone gives the connection another default agent meanwhile: it is no agent of this call."""
        run = Run(make(call_id=live["id"], agent_id=None))
        deferral = run.step("execute")
        record = sandbox.finish(live["id"], status="completed")
        connect(sandbox, extra={"agent_id": "00000000-0000-4000-8000-000000000001"})

        event = run.fire(deferral)

        assert event["agent_id"] == AGENT_ID
        assert run.step("execute_complete", event=event) == record

    def test_a_trigger_that_broke(self, sandbox: Sandbox, live: dict[str, Any]) -> None:
        """A trigger that failed for a reason of its own fails the task, unless the call has ended."""
        run = Run(sensor(call_id=live["id"]))
        run.step("execute")

        with pytest.raises(AirflowException, match="Trigger failure"):
            run.step("__fail__", error="Trigger failure")
        sandbox.finish(live["id"], status="completed")

        assert run.step("__fail__", error="Trigger failure")["status"] == "completed"


class TestSoftFail:
    """``soft_fail`` skips instead of failing, alike in all modes."""

    @ALL
    def test_a_bad_outcome(self, sandbox: Sandbox, make: MakeTask) -> None:
        """A status of ``fail_on`` skips; the record was pushed."""
        record = sandbox.add_call(status="failed")
        run = Run(make(call_id=record["id"], soft_fail=True))

        with pytest.raises(AirflowSkipException, match="failed"):
            run.to_the_end()

        assert run.ti.xcoms == {"return_value": record}

    @ALL
    def test_a_timeout(self, live: dict[str, Any], make: MakeTask) -> None:
        """A timeout skips, with the same words."""
        with pytest.raises(AirflowSkipException, match=r"timeout of 0\.2 s.*dialing"):
            Run(make(call_id=live["id"], timeout=0.2, soft_fail=True)).to_the_end()

    @ALL
    def test_an_error(self, connect: ConnectionSetter, sandbox: Sandbox, make: MakeTask) -> None:
        """Refused credentials skip, too, whichever mode finds out."""
        connect(sandbox, password="wrong")

        with pytest.raises(AirflowSkipException, match="401"):
            Run(make(call_id=CALL_ID, soft_fail=True)).to_the_end()

    @ALL
    def test_bad_input(self, make: MakeTask) -> None:
        """Even a task that can't begin skips."""
        with pytest.raises(AirflowSkipException, match="`call_id`"):
            Run(make(call_id="nonsense", soft_fail=True)).to_the_end()


class TestFaults:
    """Outages delay the outcome; refusals end the task."""

    @pytest.mark.slow
    @ALL
    def test_an_outage_is_outlived(
        self, sandbox: Sandbox, live: dict[str, Any], later: Later, make: MakeTask
    ) -> None:
        """Thirty failures of every kind in a row, and the wait goes on to the true outcome."""

        def fail() -> None:
            for fault in FAULTS:
                sandbox.faults.next("GET", "outbound-calls", times=10, **fault)

        later.after_looks(sandbox, 2, fail)
        later.after_looks(sandbox, 36, lambda: sandbox.finish(live["id"], status="completed"))

        record = Run(make(call_id=live["id"], timeout=60)).to_the_end()

        assert record["status"] == "completed"

    @ALL
    def test_an_api_that_is_away_from_the_start(self, sandbox: Sandbox, make: MakeTask) -> None:
        """A first look that fails is no reason to fail the task."""
        record = sandbox.add_call(status="completed")
        sandbox.faults.next("GET", "outbound-calls", status=503, times=5)

        assert Run(make(call_id=record["id"])).to_the_end() == record

    def test_the_record_comes_when_the_outage_is_over(
        self, sandbox: Sandbox, live: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An outage right after the event costs one more deferral, not the outcome."""
        monkeypatch.setattr("airflow_provider_telzino.waiting.call_waiter.RETRY_FOR", 0.05)
        run = Run(sensor(call_id=live["id"]))
        deferral = run.step("execute")
        sandbox.finish(live["id"], status="completed")
        event = run.fire(deferral)
        sandbox.faults.next("GET", "outbound-calls", status=503, times=1_000)

        again = run.step("execute_complete", event=event, **deferral.kwargs)
        assert isinstance(again, TaskDeferred)
        assert again.kwargs == deferral.kwargs
        sandbox.faults.clear()
        record = run.step("execute_complete", event=run.fire(again), **deferral.kwargs)

        assert record["status"] == "completed"

    @ALL
    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, exceptions.TelzinoCredentialsError),
            (403, exceptions.TelzinoPermissionError),
            (400, exceptions.TelzinoBadRequestError),
            (404, exceptions.TelzinoNotFoundError),
        ],
    )
    def test_a_refusal_during_the_wait(
        self,
        sandbox: Sandbox,
        live: dict[str, Any],
        later: Later,
        make: MakeTask,
        status: int,
        error: type[Exception],
    ) -> None:
        """What is refused for good ends the task soon, in the API's terms."""
        later.after_looks(
            sandbox, 2, lambda: sandbox.faults.next("GET", "outbound-calls", status=status, times=1_000)
        )

        with pytest.raises(error, match=str(status)):
            Run(make(call_id=live["id"], timeout=20)).to_the_end()

    def test_a_triggerer_that_knows_another_connection(
        self, sandbox: Sandbox, live: dict[str, Any], connect: ConnectionSetter
    ) -> None:
        """Refused there but not here, twice in a row: the error says that triggerer and worker differ."""
        run = Run(sensor(call_id=live["id"]))

        def refused(deferral: TaskDeferred) -> dict[str, Any]:
            connect(sandbox, password="wrong")
            event = run.fire(deferral)
            connect(sandbox)
            return {"event": event, **(deferral.kwargs or {})}

        second = run.step("execute_complete", **refused(run.step("execute")))

        with pytest.raises(exceptions.TelzinoError, match=r"TelzinoCredentialsError.*same connection"):
            run.step("execute_complete", **refused(second))

    def test_a_triggerer_that_misses_the_connection_for_a_moment(
        self, sandbox: Sandbox, live: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Airflow says that a connection isn't defined also while its database is away: the wait goes on."""
        monkeypatch.setattr(channel, "MISSING_FOR", 0.0)
        run = Run(sensor(call_id=live["id"]))
        first = run.step("execute")
        with monkeypatch.context() as away:
            away.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")
            event = run.fire(first)

        second = run.step("execute_complete", event=event, **first.kwargs)
        record = sandbox.finish(live["id"])
        result = run.step("execute_complete", event=run.fire(second), **second.kwargs)

        assert event["error"] == "AirflowNotFoundException"
        assert second.kwargs["deadline"] == first.kwargs["deadline"]
        assert result == record

    def test_a_missing_connection_in_the_triggerer(
        self, live: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A connection that only the worker has is a refusal, not a crash of the trigger."""
        monkeypatch.setattr(channel, "MISSING_FOR", 0.0)
        run = Run(sensor(call_id=live["id"]))
        deferral = run.step("execute")
        monkeypatch.delenv("AIRFLOW_CONN_TELZINO_DEFAULT")

        event = run.fire(deferral)

        assert event["outcome"] == "refused"
        assert event["error"] == "AirflowNotFoundException"


class TestEvents:
    """What passes between worker and triggerer."""

    def test_events_and_trigger_rows_hold_ids_and_statuses_only(
        self, sandbox: Sandbox, live: dict[str, Any], task_log: pytest.LogCaptureFixture
    ) -> None:
        """No number, context, summary or token in anything that Airflow stores or logs."""
        run = Run(sensor(call_id=live["id"]))
        deferral = run.step("execute")
        record = sandbox.finish(live["id"], status="completed")
        run.to_the_end()
        event = run.fire(deferral)

        assert set(event) == EVENT_FIELDS
        stored = json.dumps([event, deferral.trigger.serialize(), deferral.kwargs]) + task_log.text
        for private in (*SECRETS, record["summary_text"]):
            assert private not in stored
        assert "completed" in stored

    @pytest.mark.parametrize(
        "event",
        [
            None,
            {},
            "completed",
            {"outcome": "won", "call_id": CALL_ID},
            {"outcome": "ended"},
            {"outcome": "ended", "call_id": AGENT_ID},
            {"outcome": "ended", "call_id": CALL_ID, "status_since": "now"},
        ],
    )
    def test_an_unknown_event_fails_closed(self, sandbox: Sandbox, event: Any) -> None:
        """An event of another version, or about another call, is an error that says so; nothing is sent."""
        run = Run(sensor(call_id=CALL_ID))

        with pytest.raises(exceptions.TelzinoError, match="same version"):
            run.step("execute_complete", event=event, deadline=time.time() + 5)

        assert sandbox.requests == []

    def test_a_resume_without_a_deadline(self, sandbox: Sandbox) -> None:
        """``dag.test()`` on some versions drops what a deferral passed on: defaults stand in."""
        record = sandbox.add_call(status="completed")
        run = Run(sensor(call_id=record["id"]))
        event = {"outcome": "ended", "call_id": record["id"], "status": "completed", "status_since": 1.0}

        assert run.step("execute_complete", event=event) == record

    def test_status_changes_are_in_the_log_once(
        self, sandbox: Sandbox, live: dict[str, Any], later: Later, task_log: pytest.LogCaptureFixture
    ) -> None:
        """Over worker, trigger and worker again, each change of status has one line."""
        later.after_looks(
            sandbox,
            3,
            lambda: sandbox.move(live["id"], "in_progress"),
            lambda: sandbox.finish(live["id"], status="completed"),
        )

        Run(sensor(call_id=live["id"])).to_the_end()

        lines = [each.getMessage() for each in task_log.records if each.name == "telzino-tests"]
        assert [line.split(" after ")[0].split(": ")[-1] for line in lines if "Call " in line] == [
            f"Call {live['id']} is dialing.",
            "dialing → in_progress",
            "in_progress → completed",
        ]


class TestModes:
    """Airflow's own modes."""

    def test_poke_uses_one_session_and_one_token(
        self, sandbox: Sandbox, connect: ConnectionSetter, live: dict[str, Any], later: Later
    ) -> None:
        """All looks of a poking sensor share a connection and a token."""
        connect(sandbox, oauth=True)
        later.after_looks(sandbox, 5, lambda: sandbox.finish(live["id"], status="completed"))

        Run(poking_sensor(call_id=live["id"])).to_the_end()

        assert len([each for each in sandbox.requests if "/oauth/token" in each.path]) == 1
        assert len({each.client for each in sandbox.requests}) == 1

    @AIRFLOW_3
    def test_reschedule_frees_the_worker(self, sandbox: Sandbox, live: dict[str, Any]) -> None:
        """In mode ``reschedule`` each look is a run of its own, and the last one returns the record."""
        run = Run(sensor(call_id=live["id"], deferrable=False, mode="reschedule"))

        with pytest.raises(AirflowException) as caught:
            run.step("execute")
        sandbox.finish(live["id"], status="completed")

        assert type(caught.value).__name__ == "AirflowRescheduleException"
        assert run.step("execute")["status"] == "completed"

    def test_deferrable_wins_over_the_mode(self, live: dict[str, Any]) -> None:
        """A mode matters only with ``deferrable=False``."""
        assert isinstance(Run(sensor(call_id=live["id"], mode="reschedule")).step("execute"), TaskDeferred)

    @AIRFLOW_3
    def test_a_reschedule_timeout_claims_nothing_it_cannot_know(self, live: dict[str, Any]) -> None:
        """Each look is a process of its own there, so the message has the status but no age."""
        run = Run(sensor(call_id=live["id"], deferrable=False, mode="reschedule", timeout=1))
        run.ti.first_reschedule_date = pendulum.now().subtract(seconds=30)

        with pytest.raises(exceptions.TelzinoSensorTimeoutError, match=r"it was last seen dialing\."):
            run.step("execute")

    @pytest.mark.parametrize("make", [sensor, poking_sensor])
    def test_no_interval_makes_a_busy_loop(self, make: MakeTask) -> None:
        """An interval of 0 is raised to a tenth of a second in every mode."""
        assert make(call_id=CALL_ID, poke_interval=0).poke_interval == 0.1

    def test_silent_fail(self, sandbox: Sandbox, later: Later, live: dict[str, Any]) -> None:
        """Airflow's ``silent_fail`` makes a poking sensor look again whatever the error."""
        sandbox.faults.next("GET", "outbound-calls", status=403, times=3)
        later.after_looks(sandbox, 4, lambda: sandbox.finish(live["id"], status="completed"))

        assert Run(poking_sensor(call_id=live["id"], silent_fail=True)).to_the_end()["status"] == "completed"


@ALL
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fail_on": ["no-answer"]}, "`fail_on`"),
        ({"fail_on": "failed"}, "`fail_on`"),
        ({"skip_on": ["failed"]}, "`skip_on`"),
        ({"record_fields": []}, "`record_fields`"),
        ({"timeout": float("inf")}, "`timeout`"),
        ({"timeout": 1e300}, "`timeout`"),
        ({"timeout": "1h"}, "`timeout`"),
    ],
)
def test_mistakes_are_found_when_the_dag_is_parsed(
    make: MakeTask, arguments: dict[str, Any], words: str
) -> None:
    """A wrong argument is an import error of the DAG, not a surprise at three in the morning."""
    with pytest.raises(exceptions.TelzinoConfigurationError, match=words):
        make(call_id=CALL_ID, **arguments)


@ALL
def test_ids_and_connection_are_templated(make: MakeTask) -> None:
    """A DAG author may compute the ids and the connection."""
    assert set(make(call_id=CALL_ID).template_fields) >= {"call_id", "agent_id", "telzino_conn_id"}
