"""Tasks that begin or end in the triggerer: what is settled at DAG parse, and what their triggers do."""

from __future__ import annotations

import asyncio
import json
import time
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, Asset
from packaging.version import Version

from airflow_provider_telzino.exceptions import TelzinoConfigurationError, TelzinoTimeoutError
from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.rules.waiting import DEFERRAL_MARGIN, Wait
from airflow_provider_telzino.sandbox import Sandbox
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
from airflow_provider_telzino.triggers.start import TelzinoCallStartTrigger
from airflow_provider_telzino.version_compat import triggers_can_run_tasks
from tests.conftest import AGENT_ID, CALL_ID
from tests.support.placing_runs import has_task_state
from tests.support.waits import Run, TaskInstance, first_event, rebuilt

pytestmark = pytest.mark.usefixtures("connected", "quick_retries")

ABLE = pytest.mark.skipif(not triggers_can_run_tasks(), reason="this Airflow can't do it")
UNABLE = pytest.mark.skipif(triggers_can_run_tasks(), reason="this Airflow can do it")
BOTH: dict[str, Any] = {"end_from_trigger": True, "start_from_trigger": True}
TASK = {"dag_id": "calls", "task_id": "wait", "run_id": "run 1", "map_index": -1, "try_number": 1}
END = {
    "fail_on": ["failed"],
    "skip_on": ["busy"],
    "record_fields": None,
    "do_xcom_push": True,
    "multiple_outputs": False,
    "is_dag_result": False,
}


@pytest.fixture
def dag() -> Iterator[DAG]:
    """A DAG for the tasks of a test."""
    with DAG("calls", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        yield dag


def placing() -> Any:
    """Make an upstream task."""
    return TelzinoPlaceCallOperator(task_id="place", to_number="+15005550100", wait_for_completion=False)


def test_what_is_skipped_goes_by_the_version() -> None:
    """From 3.3 on this can be done; else a whole class of tests would be skipped without a word."""
    assert (
        triggers_can_run_tasks() is has_task_state() is (Version(version("apache-airflow")).release >= (3, 3))
    )


class TestAtParse:
    """What a DAG author gives, and what Airflow gets."""

    @pytest.mark.parametrize(
        "make_call_id",
        [
            lambda _: "{{ ti.xcom_pull('place')['id'] }}",
            lambda _: {"id": "{{ task_instance.xcom_pull(task_ids='place', key='id') }}"},
            lambda place: place.output.map(lambda record: record["id"]),
            lambda place: {"id": place.output},
        ],
    )
    def test_what_a_trigger_cannot_read_is_refused(self, dag: DAG, make_call_id: Any) -> None:
        """On every Airflow, so that a DAG doesn't break by an upgrade; the message has the working form."""
        call_id = make_call_id(placing())

        with pytest.raises(
            TelzinoConfigurationError, match=r"`call_id` of task wait .*call_id=place\.output"
        ):
            TelzinoCallSensor(task_id="wait", call_id=call_id, start_from_trigger=True)

        TelzinoCallSensor(task_id="ordinary", call_id=call_id, end_from_trigger=True)

    @pytest.mark.parametrize("call_id", [["{{ ti.xcom_pull('place') }}"], 5, {"id": [CALL_ID]}])
    def test_what_is_no_text_is_refused(self, dag: DAG, call_id: Any) -> None:
        """What a list holds would get by: a template that a trigger can't read, or personal data."""
        with pytest.raises(TelzinoConfigurationError, match=r"`call_id` of task wait is of type .*template"):
            TelzinoCallSensor(task_id="wait", call_id=call_id, start_from_trigger=True)

    def test_the_output_of_a_mapped_task_is_refused(self, dag: DAG) -> None:
        """It is a list of them."""
        mapped: Any = TelzinoGetCallOperator.partial(task_id="get").expand(call_id=[CALL_ID])

        with pytest.raises(TelzinoConfigurationError, match="mapped output"):
            TelzinoCallSensor(task_id="wait", call_id=mapped.output, start_from_trigger=True)

    @ABLE
    def test_what_airflow_gets(self, dag: DAG) -> None:
        """Literals and templates as they are, outputs by task and key, and the time that the task has."""
        place = placing()
        task = TelzinoCallSensor(
            task_id="wait",
            call_id=place.output,
            agent_id=place.output["agent_id"],
            telzino_conn_id="{{ params.conn }}",
            timeout=600,
            execution_timeout=timedelta(seconds=90),
            **BOTH,
        )

        start: Any = task.start_trigger_args

        assert task.start_from_trigger
        assert task.upstream_task_ids == {"place"}
        assert start.next_method == "execute_complete"
        assert start.timeout == timedelta(seconds=600 + 10 + DEFERRAL_MARGIN)
        assert start.trigger_kwargs == {
            "call_id": None,
            "agent_id": None,
            "telzino_conn_id": "{{ params.conn }}",
            "outputs": {"call_id": ["place", "return_value"], "agent_id": ["place", "agent_id"]},
            "poll_interval": 10,
            "timeout": 600,
            "airflow_timeout": 90,
            "end": END | {"skip_on": []},
        }

    @ABLE
    def test_what_is_changed_after_a_task_is_made_counts(self, dag: DAG) -> None:
        """A cluster policy, the return of a DAG function, and tasks that are mapped over come later."""
        task = TelzinoCallSensor(task_id="wait", call_id=CALL_ID, timeout=600, **BOTH)
        task.execution_timeout = timedelta(seconds=60)
        task.returns_dag_result = True
        start: Any = task.start_trigger_args

        assert start.trigger_kwargs["airflow_timeout"] == 60
        assert start.trigger_kwargs["end"]["is_dag_result"]

        TelzinoGetCallOperator.partial(task_id="each").expand(call_id=task.output)
        start = task.start_trigger_args

        assert start.trigger_kwargs["end"] is None

    @ABLE
    def test_of_a_record_only_the_ids_are_kept(self, dag: DAG) -> None:
        """Airflow stores what a trigger is given, and a record has personal data."""
        record = {"id": CALL_ID, "agent_id": AGENT_ID, "to_number": "+15005550100", "at": datetime.max}
        task = TelzinoCallSensor(task_id="wait", call_id=record, **BOTH)
        start: Any = task.start_trigger_args

        assert start.trigger_kwargs["call_id"] == {"id": CALL_ID, "agent_id": AGENT_ID}

    @pytest.mark.parametrize(
        "task",
        [
            lambda: TelzinoCallSensor(task_id="wait", call_id=CALL_ID, deferrable=False, **BOTH),
            lambda: TelzinoGetCallOperator(task_id="get", call_id=CALL_ID, wait_for_completion=False, **BOTH),
            lambda: TelzinoCallSensor(task_id="wait", call_id=CALL_ID),
            lambda: TelzinoPlaceCallOperator(task_id="place", to_number="+15005550100", **BOTH),
        ],
    )
    def test_what_cannot_start_otherwise_starts_on_a_worker(self, dag: DAG, task: Any) -> None:
        """The flags, perhaps from ``default_args``, change nothing for it."""
        made = task()

        assert not made.start_from_trigger
        assert made.start_trigger_args is None

    def test_mapped_tasks_start_on_a_worker(self, dag: DAG) -> None:
        """Airflow can't start them otherwise; a template is theirs to choose."""
        template = "{{ ti.xcom_pull('x') }}"
        mapped = TelzinoCallSensor.partial(task_id="wait", agent_id=template, **BOTH).expand(
            call_id=[CALL_ID]
        )

        assert mapped.start_trigger_args is None

    @ABLE
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"outlets": [Asset("calls")]}, "has `outlets`"),
            ({"on_success_callback": print}, "has `on_success_callback`"),
        ],
    )
    def test_what_is_left_out_is_warned_of(self, dag: DAG, arguments: Any, words: str) -> None:
        """Airflow makes no asset event and calls no callback for a task that ends in the triggerer."""
        with pytest.warns(UserWarning, match=words):
            TelzinoCallSensor(task_id="wait", call_id=CALL_ID, end_from_trigger=True, **arguments)

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            TelzinoCallSensor(task_id="ordinary", call_id=CALL_ID, start_from_trigger=True, **arguments)

    @ABLE
    def test_a_mapped_task_tells_it_in_its_log(
        self, dag: DAG, sandbox: Sandbox, task_log: pytest.LogCaptureFixture
    ) -> None:
        """Airflow doesn't make it when the DAG is parsed."""
        call = sandbox.add_call("in_progress")
        mapped = TelzinoCallSensor.partial(task_id="wait", outlets=[Asset("calls")], **BOTH).expand(
            call_id=[call["id"]]
        )

        Run(mapped.unmap({"call_id": call["id"]})).step("execute")

        assert "has `outlets`" in task_log.text
        assert "`start_from_trigger` is not for mapped tasks" in task_log.text

    @UNABLE
    def test_on_an_older_airflow(
        self, dag: DAG, sandbox: Sandbox, task_log: pytest.LogCaptureFixture
    ) -> None:
        """The task runs the ordinary way, and says so once."""
        call = sandbox.add_call("in_progress")
        run = Run(TelzinoCallSensor(task_id="wait", call_id=call["id"], poke_interval=0.1, **BOTH))
        deferral = run.step("execute")
        record = sandbox.finish(call["id"])

        result = run.step("execute_complete", event=run.fire(deferral))

        assert result == record
        assert not run.task.start_from_trigger
        for flag in BOTH:
            assert task_log.text.count(f"`{flag}` needs Airflow 3.3") == 1


class Supervisor:
    """Answers what a trigger asks its triggerer: it keeps the XComs of one run."""

    def __init__(self) -> None:
        self.xcoms: dict[tuple[str, str], Any] = {}
        self.fails = False

    def send(self, message: Any) -> Any:
        """Set, get or delete an XCom."""
        from airflow.sdk.execution_time.comms import DeleteXCom, SetXCom, XComResult

        assert (message.dag_id, message.run_id, message.map_index) == ("calls", "run 1", -1)
        if self.fails:
            raise RuntimeError("no room for +15005550100")
        place = message.task_id, message.key
        if isinstance(message, SetXCom):
            self.xcoms[place] = message.value
            return None
        if isinstance(message, DeleteXCom):
            del self.xcoms[place]
            return None
        return XComResult(key=message.key, value=self.xcoms.get(place))


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """Stand in for the triggerer's own process."""
    from airflow.sdk.execution_time import task_runner

    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


def fire(trigger: Any, *, of_a_task: bool = True) -> Any:
    """Run a trigger, made anew, as the triggerer does; return its event."""
    again = rebuilt(trigger)
    if of_a_task:
        again.task_instance = SimpleNamespace(**TASK)

    async def run() -> Any:
        return [event async for event in again.run()]

    (event,) = asyncio.run(run())
    return event


def ending(call: dict[str, Any], **end: Any) -> TelzinoCallTrigger:
    """Make a trigger that ends its task."""
    return TelzinoCallTrigger(call["id"], time.time() + 30, AGENT_ID, poll_interval=0.1, end=END | end)


@ABLE
class TestTheEnd:
    """A trigger that ends its task."""

    def test_success_is_pushed(self, sandbox: Sandbox, supervisor: Supervisor) -> None:
        """The whole record, then Airflow's own event, without anything in it."""
        record = sandbox.add_call("completed")

        event = fire(ending(record))

        assert type(event).__name__ == "TaskSuccessEvent"
        assert event.xcoms is None
        assert supervisor.xcoms == {("wait", "return_value"): record}

    def test_fields_and_outputs(self, sandbox: Sandbox, supervisor: Supervisor) -> None:
        """Cut to ``record_fields``, and each an XCom of its own if the task asks for that."""
        record = sandbox.add_call("completed")

        fire(ending(record, record_fields=["id", "status"], multiple_outputs=True))

        cut = {"id": record["id"], "status": "completed"}
        assert supervisor.xcoms == {
            ("wait", key): value for key, value in (*cut.items(), ("return_value", cut))
        }

    def test_without_xcom(self, sandbox: Sandbox, supervisor: Supervisor) -> None:
        """A task that pushes nothing ends, too."""
        event = fire(ending(sandbox.add_call("completed"), do_xcom_push=False))

        assert type(event).__name__ == "TaskSuccessEvent"
        assert supervisor.xcoms == {}

    @pytest.mark.parametrize("status", ["failed", "busy"])
    def test_other_outcomes_resume_on_a_worker(
        self, sandbox: Sandbox, supervisor: Supervisor, status: str
    ) -> None:
        """What fails or skips is a worker's, push included."""
        event = fire(ending(sandbox.add_call(status)))

        assert event.payload["outcome"] == "ended"
        assert event.payload["status"] == status
        assert supervisor.xcoms == {}

    def test_a_push_that_fails(
        self, sandbox: Sandbox, supervisor: Supervisor, task_log: pytest.LogCaptureFixture
    ) -> None:
        """A worker does it instead; the log has the error's class, not its words."""
        record = sandbox.add_call("completed")
        supervisor.fails = True

        event = fire(ending(record))

        assert event.payload["outcome"] == "ended"
        assert "can't end in the triggerer (RuntimeError)" in task_log.text
        assert "+15005550100" not in task_log.text

    def test_the_record_decides(
        self, sandbox: Sandbox, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A list may tell another status than the record: the task ends as the record says."""
        record = sandbox.add_call("busy")

        async def listed(wait: Wait, **_: Any) -> None:
            wait.status = "completed"

        monkeypatch.setattr("airflow_provider_telzino.triggers.call.wait_until_ended", listed)

        event = fire(ending(record))

        assert event.payload["status"] == "busy"
        assert supervisor.xcoms == {}

    def test_an_end_that_another_version_wrote(self, sandbox: Sandbox, supervisor: Supervisor) -> None:
        """A trigger outlives an upgrade: what it can't read it leaves to a worker."""
        call = sandbox.add_call("completed")

        trigger = ending(call)
        trigger.end = {"unknown": True}

        event = fire(trigger)

        assert event.payload["outcome"] == "ended"
        assert supervisor.xcoms == {}

    def test_under_dag_test(self, sandbox: Sandbox, supervisor: Supervisor) -> None:
        """``dag.test()`` doesn't know Airflow's event that ends a task, nor tells the trigger its task."""
        event = fire(ending(sandbox.add_call("completed")), of_a_task=False)

        assert event.payload["outcome"] == "ended"
        assert supervisor.xcoms == {}

    def test_an_outage_before_the_record(self, sandbox: Sandbox, supervisor: Supervisor) -> None:
        """The list says that the call has ended, but its record can't be had: it is asked for again."""
        calls = [sandbox.add_call("completed") for _ in range(2)]
        for call in calls:
            sandbox.faults.next("GET", call["id"], times=2, status=503)

        async def run() -> list[Any]:
            triggers = [rebuilt(ending(call)) for call in calls]
            for trigger in triggers:
                trigger.task_instance = SimpleNamespace(**TASK)
            return await asyncio.gather(*map(first_event_type, triggers))

        assert asyncio.run(run()) == ["TaskSuccessEvent"] * 2


async def first_event_type(trigger: Any) -> str:
    """Return the class of the trigger's first event."""
    return type(await anext(trigger.run())).__name__


@ABLE
class TestTheStart:
    """A trigger that begins its task."""

    def test_it_reads_outputs(self, sandbox: Sandbox, supervisor: Supervisor) -> None:
        """The record of an upstream task names call and agent."""
        record = sandbox.add_call("completed")
        supervisor.xcoms["place", "return_value"] = {"id": record["id"], "agent_id": AGENT_ID}
        outputs = {"call_id": ["place", "return_value"]}

        event = fire(TelzinoCallStartTrigger(outputs=outputs, poll_interval=0.1, end=END))

        assert type(event).__name__ == "TaskSuccessEvent"
        assert supervisor.xcoms["wait", "return_value"] == record

    def test_no_agent_in_an_output(self, sandbox: Sandbox, supervisor: Supervisor) -> None:
        """Then it is the connection's, as at a start on a worker."""
        record = sandbox.add_call("completed")
        outputs = {"agent_id": ["place", "agent_id"]}

        event = fire(TelzinoCallStartTrigger(record["id"], outputs=outputs, poll_interval=0.1, end=END))

        assert type(event).__name__ == "TaskSuccessEvent"

    def test_what_only_a_worker_can_read(
        self, sandbox: Sandbox, supervisor: Supervisor, task_log: pytest.LogCaptureFixture
    ) -> None:
        """A backend's error, or a template's, ends nothing: a worker begins. Its words aren't told."""
        call = sandbox.add_call("in_progress")
        supervisor.fails = True
        broken = TelzinoCallStartTrigger("{{ macro_of_the_dag() }}")
        broken.template_fields = ("call_id",)
        broken.render_template_fields({}, jinja2.Environment(autoescape=True))

        events = [
            fire(TelzinoCallStartTrigger(outputs={"call_id": ["place", "return_value"]})).payload,
            asyncio.run(first_event(broken)),
        ]

        assert [event["error"] for event in events] == ["RuntimeError", "UndefinedError"]
        assert "begin in the triggerer (RuntimeError)" in task_log.text
        assert "+15005550100" not in task_log.text
        for event in events:
            run = Run(TelzinoCallSensor(task_id="wait", call_id=call["id"], poke_interval=0.1))
            deferral: Any = run.step("execute_complete", event=event)
            assert deferral.trigger.call_id == call["id"]

    @pytest.mark.parametrize("do_xcom_push", [True, False])
    def test_what_an_earlier_try_has_pushed_is_deleted(
        self, sandbox: Sandbox, supervisor: Supervisor, do_xcom_push: bool
    ) -> None:
        """Airflow does so only at a start on a worker. A key that the new record lacks would be stale."""
        record = sandbox.add_call("completed")
        old = {"id": "old", "gone": "old"}
        supervisor.xcoms = {("wait", key): value for key, value in (*old.items(), ("return_value", old))}
        end = END | {
            "record_fields": ["id"],
            "multiple_outputs": True,
            "do_xcom_push": do_xcom_push,
        }
        trigger = rebuilt(TelzinoCallStartTrigger(record["id"], poll_interval=0.1, end=end))
        trigger.task_instance = SimpleNamespace(**TASK | {"try_number": 2})

        assert asyncio.run(first_event_type(trigger)) == "TaskSuccessEvent"

        new = {("wait", "id"): record["id"], ("wait", "return_value"): {"id": record["id"]}}
        assert supervisor.xcoms == (new if do_xcom_push else {})

    @pytest.mark.parametrize("fails", [False, True])
    def test_a_worker_deletes_it_too(
        self, sandbox: Sandbox, supervisor: Supervisor, task_log: pytest.LogCaptureFixture, fails: bool
    ) -> None:
        """And if that can't be done, the outcome still counts."""
        call = sandbox.add_call("busy")
        task = TelzinoCallSensor(task_id="wait", call_id=call["id"], skip_on=["busy"], **BOTH)
        run = Run(task, TaskInstance(try_number=2))
        supervisor.xcoms = {("wait", "return_value"): {"id": "old"}}
        supervisor.fails = fails
        event = asyncio.run(first_event(TelzinoCallTrigger(call["id"], time.time() + 30, AGENT_ID)))

        with pytest.raises(AirflowSkipException):
            run.step("execute_complete", event=event)

        assert ("could not be deleted (RuntimeError)" in task_log.text) == fails
        assert bool(supervisor.xcoms) == fails
        assert run.ti.xcoms["return_value"]["id"] == call["id"]

    def test_execution_timeout_bounds_it(self, sandbox: Sandbox) -> None:
        """Airflow ends the trigger then; the message names what was over, and a retry goes on."""
        call = sandbox.add_call("in_progress")
        task = TelzinoCallSensor(
            task_id="wait", call_id=call["id"], execution_timeout=timedelta(seconds=90), **BOTH
        )

        with pytest.raises(TelzinoTimeoutError, match="`execution_timeout` of 90 s was over") as raised:
            Run(task).step("__fail__", error="Trigger timeout")

        assert type(raised.value) is TelzinoTimeoutError

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"call_id": "no-id"}, "`call_id` should be a UUID"),
            ({"call_id": CALL_ID, "agent_id": "nobody"}, "`agent_id` should be a UUID"),
            (
                {"outputs": {"call_id": ["place", "id"]}},
                "output of task place, but that has pushed no XCom id",
            ),
        ],
    )
    def test_a_bad_id(
        self, supervisor: Supervisor, task_log: pytest.LogCaptureFixture, arguments: Any, words: str
    ) -> None:
        """The log says what is wrong, and the task goes on to a worker, which fails."""
        event = fire(TelzinoCallStartTrigger(**arguments))

        assert event.payload["outcome"] == "refused"
        assert event.payload["call_id"] is None
        assert json.loads(json.dumps(event.payload)) == event.payload
        assert words in task_log.text

    def test_the_worker_names_a_bad_id(self) -> None:
        """Its error is the one that every task has."""
        event = fire(TelzinoCallStartTrigger(call_id="no-id"))
        run = Run(TelzinoCallSensor(task_id="wait", call_id="no-id"))

        with pytest.raises(TelzinoConfigurationError, match="`call_id` should be a UUID"):
            run.step("execute_complete", event=event.payload)

    def test_the_deadline_counts_from_the_start(self, sandbox: Sandbox, supervisor: Supervisor) -> None:
        """The triggerer began 100 s after the task: that time is taken off; the event has the deadline."""
        call = sandbox.add_call("in_progress")
        started = time.time() - 100
        trigger = rebuilt(
            TelzinoCallStartTrigger(call_id=call["id"], poll_interval=0.1, timeout=100.5, airflow_timeout=170)
        )
        trigger.timeout_after = datetime.fromtimestamp(started + 170, timezone.utc)

        event = asyncio.run(first_event(trigger))

        assert event["outcome"] == "timeout"
        assert event["deadline"] == pytest.approx(started + 100.5, abs=0.01)
        run = Run(TelzinoCallSensor(task_id="wait", call_id=call["id"], timeout=100.5, poke_interval=0.1))
        with pytest.raises(Exception, match=r"timeout of 100\.5 s was over"):
            run.step("execute_complete", event=event)
