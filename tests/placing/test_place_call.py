"""``TelzinoPlaceCallOperator`` against a real server: one call, whatever goes wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_telzino import exceptions
from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator
from airflow_provider_telzino.placing.placer import CallPlacer
from airflow_provider_telzino.placing.search import CallSearch
from airflow_provider_telzino.rules import dialling
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from tests.conftest import AGENT_ID, CALL_ID, ConnectionSetter
from tests.support.placing_runs import IDENTITY, NEEDS_TASK_STATE, PlacingRun, TaskRuns, TaskStateStore
from tests.support.waits import Run

NUMBER = MAGIC_NUMBERS["completed"]
OURS = {"airflow": IDENTITY}
LIST_LAG = 5.0


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A Telzino whose list shows a call 5 seconds late, on a clock that only tests move."""
    with Sandbox(clock="manual", list_lag=LIST_LAG) as running:
        yield running


@pytest.fixture(autouse=True)
def surroundings(
    sandbox: Sandbox, connect: ConnectionSetter, quick_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection to the sandbox, and pauses that pass on the sandbox's clock instead of ours."""
    connect(sandbox, extra={"timeout": 0.5})
    monkeypatch.setattr(CallSearch, "sleep", sandbox.clock.advance)


def runs(**arguments: Any) -> TaskRuns:
    """A task that places a call to the number that completes."""
    known = {
        name: arguments.pop(name) for name in ("retries", "state", "map_index", "due") if name in arguments
    }
    return TaskRuns({"to_number": NUMBER} | arguments, **known)


def placed(sandbox: Sandbox, status: str, **fields: Any) -> dict[str, Any]:
    """A call that an earlier process of the task has placed."""
    return sandbox.add_call(status, request_metadata=OURS, **fields)


def methods(sandbox: Sandbox) -> list[str]:
    """The requests so far: their methods, and the last part of their paths."""
    return [f"{each.method} {each.path.rpartition('/')[2]}" for each in sandbox.requests]


def ends(run: PlacingRun, sandbox: Sandbox, status: str = "completed") -> Any:
    """Run a try that defers; the call ends so while it waits. Returns what the task returns."""
    deferral = run.step("execute")
    assert isinstance(deferral, TaskDeferred)
    sandbox.finish(sandbox.calls[-1]["id"], status)
    return run.step("execute_complete", event=run.fire(deferral), **(deferral.kwargs or {}))


def ends_meanwhile(sandbox: Sandbox, status: str = "completed") -> threading.Thread:
    """End the task's call as soon as it has been looked at once."""

    def end() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            calls = sandbox.calls
            if calls and any(calls[-1]["id"] in each.path for each in sandbox.requests):
                sandbox.finish(calls[-1]["id"], status)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=end)
    thread.start()
    return thread


def die(*_arguments: object) -> None:
    """Be killed."""
    raise SystemExit


class TestPlacing:
    """A call without any trouble."""

    @pytest.mark.parametrize("deferrable", [True, False])
    def test_the_final_record_is_pushed(self, sandbox: Sandbox, deferrable: bool) -> None:
        """The call is placed as asked, and its record is the API's own."""
        asked = {"call_context": "Call John.", "callback_url": "https://example.com/result"}
        run = runs(**asked, metadata={"crm_id": "123"}, deferrable=deferrable).next_try()
        thread = ends_meanwhile(sandbox)

        record = run.to_the_end()

        thread.join()
        (call,) = sandbox.calls
        assert record == call
        assert record["status"] == "completed"
        assert {name: record[name] for name in asked} == asked
        assert record["to_number"] == NUMBER
        assert record["request_metadata"] == {"crm_id": "123", **OURS}

    def test_it_costs_two_requests_and_one_deferral(self, sandbox: Sandbox) -> None:
        """A look at the list and the POST: the answer says all that a first look at the call would."""
        run = runs().next_try()

        deferral = run.step("execute")

        assert isinstance(deferral, TaskDeferred)
        assert methods(sandbox) == ["GET outbound-calls", "POST outbound-calls"]
        trigger = deferral.trigger.serialize()[1]
        assert (trigger["call_id"], trigger["status"]) == (sandbox.calls[0]["id"], "queued")
        assert trigger["agent_id"] == AGENT_ID

    def test_without_waiting_the_answer_is_pushed(self, sandbox: Sandbox) -> None:
        """With the agent's id, so that a sensor needs nothing else; ``record_fields`` cuts it."""
        answer = runs(wait_for_completion=False).next_try().to_the_end()
        cut = runs(wait_for_completion=False, record_fields=["id"]).next_try().to_the_end()

        first, second = sandbox.calls
        assert answer == {
            "id": first["id"],
            "status": "queued",
            "room_name": f"outbound-{first['id']}",
            "created_at": first["created_at"],
            "agent_id": AGENT_ID,
        }
        assert cut == {"id": second["id"]}

    def test_a_sensor_takes_it_from_there(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """``TelzinoCallSensor(call_id=place.output)``, even where the connection names no agent."""
        connect(sandbox, extra={"agent_id": None})
        answer = runs(wait_for_completion=False, agent_id=AGENT_ID).next_try().to_the_end()
        sandbox.finish(answer["id"])

        record = Run(TelzinoCallSensor(task_id="wait", call_id=answer)).to_the_end()

        assert record == sandbox.calls[0]

    @pytest.mark.parametrize("index", [None, -1, 7])
    def test_a_mapped_task_is_a_task_of_its_own(self, sandbox: Sandbox, index: int | None) -> None:
        """Its index is part of the identity; without one it is -1, as in Airflow's database."""
        runs(wait_for_completion=False, map_index=index).next_try().to_the_end()

        (call,) = sandbox.calls
        assert call["request_metadata"]["airflow"] == IDENTITY | {"map_index": -1 if index is None else index}

    def test_all_that_a_dag_may_compute_is_templated(self) -> None:
        """What is dialled, said and sent, and over which agent and connection."""
        assert set(TelzinoPlaceCallOperator.template_fields) == {
            "to_number",
            "call_context",
            "metadata",
            "callback_url",
            "agent_id",
            "telzino_conn_id",
        }

    def test_default_args_reach_the_shared_arguments(self) -> None:
        """As with Airflow's own operators, though a base class has them."""
        task = TelzinoPlaceCallOperator(
            task_id="place",
            to_number=NUMBER,
            default_args={"telzino_conn_id": "other", "poll_interval": 3, "reattach": False},
        )

        assert (task.telzino_conn_id, task.poll_interval, task.reattach) == ("other", 3, False)


class TestChecks:
    """Bad input is an error before anything is sent."""

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"to_number": "555-SECRET"}, ["`to_number`", "E.164", "10 characters"]),
            ({"to_number": 18135551234}, ["`to_number`", "type int"]),
            ({"to_number": "+1813555123412345"}, ["at most 15", "17 characters"]),
            ({"call_context": "SECRET" * 1_000}, ["`call_context`", "6,000", "4,000"]),
            ({"call_context": 5}, ["`call_context`", "type int"]),
            ({"metadata": {"x": "SECRET" * 3_000}}, ["`metadata`", "18,0", "16,384"]),
            ({"metadata": {"x": "S" * 16_300}}, ["`metadata`", "16,384"]),  # too much with ours
            ({"metadata": {"x": {"SECRET"}}}, ["`metadata`", "JSON"]),
            ({"metadata": {1: "SECRET"}}, ["`metadata`", "text keys"]),
            ({"metadata": "SECRET"}, ["`metadata`", "6 characters"]),
            ({"metadata": {"airflow": "SECRET"}}, ["`metadata`", "'airflow'"]),
            ({"callback_url": "http://SECRET.example.com"}, ["`callback_url`", "https://", "25 characters"]),
            ({"agent_id": "SECRET"}, ["`agent_id`", "UUID", "6 characters"]),
        ],
    )
    def test_the_error_names_the_field_and_the_limit(
        self, sandbox: Sandbox, arguments: dict[str, Any], words: list[str]
    ) -> None:
        """And the size of the value, but never the value."""
        with pytest.raises(exceptions.TelzinoConfigurationError) as caught:
            runs(**arguments).next_try().step("execute")

        message = str(caught.value)
        assert [word for word in words if word not in message] == []
        assert "SECRET" not in message
        assert "connection telzino_default" in message
        assert sandbox.requests == []

    def test_templates_that_become_numbers(self, sandbox: Sandbox) -> None:
        """Airflow can be told to evaluate what it renders: the error says how to keep text."""
        with DAG("native", schedule=None, render_template_as_native_obj=True):
            plain, quoted = (
                TelzinoPlaceCallOperator(task_id=name, to_number=template)
                for name, template in [("plain", "{{ number }}"), ("quoted", "'{{ number }}'")]
            )
        context: Any = {"number": NUMBER}
        plain.render_template_fields(context)
        quoted.render_template_fields(context)

        with pytest.raises(exceptions.TelzinoConfigurationError, match="put quotes around it") as caught:
            PlacingRun(plain, runs().next_try().ti, runs=runs()).step("execute")

        assert NUMBER[1:] not in str(caught.value)
        assert quoted.to_number == NUMBER

    def test_an_agent_is_needed(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """From the task or from the connection."""
        connect(sandbox, extra={"agent_id": None})

        with pytest.raises(exceptions.TelzinoConfigurationError, match="`agent_id`"):
            runs().next_try().step("execute")

        assert sandbox.requests == []

    @pytest.mark.parametrize("arguments", [{"fail_on": ["no-answer"]}, {"timeout": "1h"}])
    def test_what_is_no_template_is_checked_when_the_dag_is_parsed(self, arguments: dict[str, Any]) -> None:
        """As with sensor and get operator."""
        with pytest.raises(exceptions.TelzinoConfigurationError):
            runs(**arguments).next_try()

    def test_soft_fail_skips(self) -> None:
        """As with sensor and get operator."""
        with pytest.raises(AirflowSkipException, match="`to_number`"):
            runs(to_number="nonsense", soft_fail=True).next_try().step("execute")


BEFORE = [{"status": 500}, {"status": 503}, {"reset": True}, {"hang": True}, {"status": 408}]
AFTER = [
    {"status": 500, "after_commit": True},
    {"reset": True, "after_commit": True},
    {"hang": True, "after_commit": True},
    {"cut_off": True},
    {"raw_body": b"<html>", "after_commit": True},
    {"raw_body": b"{}", "after_commit": True},
    {"delay": 5},
]
STATES = pytest.mark.parametrize("state", [None, pytest.param("kept", marks=NEEDS_TASK_STATE)])


class TestLostAnswer:
    """The POST request to place the call failed."""

    @STATES
    @pytest.mark.parametrize("fault", AFTER, ids=str)
    def test_a_call_that_was_placed_is_found(
        self, sandbox: Sandbox, fault: dict[str, Any], state: str | None
    ) -> None:
        """In the same try, though the list shows it late: the task goes on as if nothing had happened."""
        task = runs(state=TaskStateStore() if state else None)
        sandbox.faults.next("POST", "outbound-calls$", **fault)

        record = ends(task.next_try(), sandbox)

        assert [record] == sandbox.calls

    @STATES
    @pytest.mark.parametrize("fault", BEFORE, ids=str)
    def test_a_call_that_was_not_placed_is_not_placed_blindly(
        self, sandbox: Sandbox, fault: dict[str, Any], state: str | None
    ) -> None:
        """The task fails and says why; its retry looks again, and dials."""
        task = runs(retries=1, state=TaskStateStore() if state else None)
        sandbox.faults.next("POST", "outbound-calls$", **fault)

        with pytest.raises(
            exceptions.TelzinoUnknownPlacementError, match=r"No call of this task.*within 15 s"
        ):
            task.next_try().step("execute")
        assert sandbox.calls == []
        record = ends(task.next_try(), sandbox)

        assert [record] == sandbox.calls

    def test_a_refusal_that_surely_had_no_effect_is_tried_again(self, sandbox: Sandbox) -> None:
        """A 429 costs a second POST, not a try of the task."""
        sandbox.faults.next("POST", "outbound-calls$", status=429, times=3)

        record = ends(runs().next_try(), sandbox)

        assert [record] == sandbox.calls

    def test_the_api_says_when_it_wants_to_be_asked_again(self, sandbox: Sandbox) -> None:
        """No POST comes sooner."""
        sandbox.faults.next("POST", "outbound-calls$", status=429, retry_after="1")
        began = time.monotonic()

        ends(runs().next_try(), sandbox)

        assert time.monotonic() - began >= 1

    def test_a_wait_beyond_the_minute_is_left_to_airflow(self, sandbox: Sandbox) -> None:
        """The task fails at once instead of asking sooner than it was told."""
        sandbox.faults.next("POST", "outbound-calls$", status=429, retry_after="120", times=9)

        with pytest.raises(exceptions.TelzinoRateLimitError):
            runs().next_try().step("execute")

        assert methods(sandbox) == ["GET outbound-calls", "POST outbound-calls"]

    def test_an_api_that_is_away_was_not_reached(
        self, sandbox: Sandbox, connect: ConnectionSetter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing listens there: the error is that, and nothing about a call that may exist."""
        monkeypatch.setattr("airflow_provider_telzino.hooks.telzino.RETRY_FOR", 0.05)
        connect("http://127.0.0.1:9")

        with pytest.raises(exceptions.TelzinoUnavailableError, match="connection failed"):
            runs().next_try().step("execute")

    def test_a_list_that_can_not_be_read_leaves_it_unknown(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The task fails and says so; it doesn't dial."""
        monkeypatch.setattr("airflow_provider_telzino.hooks.telzino.RETRY_FOR", 0.05)
        sandbox.faults.next("POST", "outbound-calls$", reset=True, after_commit=True)
        sandbox.faults.next("GET", "outbound-calls$", delay=0.001)  # the look before the POST
        sandbox.faults.next("GET", "outbound-calls$", status=503, times=1_000)

        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match=r"search for the call failed.*503"):
            runs().next_try().step("execute")

        assert methods(sandbox).count("POST outbound-calls") == 1

    def test_an_older_call_of_the_task_is_not_taken_for_the_lost_one(self, sandbox: Sandbox) -> None:
        """One that ended in ``fail_on`` is known, and the POST was meant to follow it."""
        busy = placed(sandbox, "busy")
        sandbox.clock.advance(60)
        task = runs(fail_on=["busy"])
        task.tries = 1
        sandbox.faults.next("POST", "outbound-calls$", reset=True, after_commit=True)

        record = ends(task.next_try(), sandbox)

        assert record["id"] != busy["id"]
        assert len(sandbox.calls) == 2


class TestRetry:
    """An earlier process of the task has placed its call, and died at some moment."""

    @pytest.mark.parametrize("status", ["queued", "in_progress", "completed"])
    def test_its_call_is_gone_on_with(self, sandbox: Sandbox, status: str) -> None:
        """Found by the identity, whether it goes on or has ended."""
        call = placed(sandbox, status)
        sandbox.clock.advance(LIST_LAG)
        task = runs()
        task.tries = 1
        run = task.next_try()

        record = ends(run, sandbox) if status != "completed" else run.step("execute")

        assert record == sandbox.call(call["id"])
        assert len(sandbox.calls) == 1

    def test_a_list_that_lags_is_waited_for(self, sandbox: Sandbox) -> None:
        """The retry comes so early that the call isn't in the list yet."""
        placed(sandbox, "dialing")
        task = runs()
        task.tries = 1

        record = ends(task.next_try(), sandbox)

        assert [record] == sandbox.calls
        assert methods(sandbox)[:2] == ["GET outbound-calls", "GET outbound-calls"]

    def test_a_call_behind_a_thousand_others_is_found(self, sandbox: Sandbox) -> None:
        """Others have been placed since, the task's own siblings among them."""
        call = placed(sandbox, "dialing")
        for index in range(1_000):
            sandbox.place(NUMBER, metadata={"airflow": IDENTITY | {"map_index": index}})
        sandbox.clock.advance(LIST_LAG)
        task = runs(wait_for_completion=False)
        task.tries = 1

        answer = task.next_try().to_the_end()

        assert answer["id"] == call["id"]
        assert methods(sandbox) == ["GET outbound-calls"] * 11 + [f"GET {call['id']}"]

    def test_too_many_calls_to_search_are_an_error(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The search is bounded, and its end is never a silent second call."""
        monkeypatch.setattr(dialling, "MAX_SEARCH_PAGES", 2)
        for _ in range(300):
            sandbox.place(NUMBER)
        sandbox.clock.advance(LIST_LAG)
        task = runs()
        task.tries = 1

        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="too many"):
            task.next_try().step("execute")

        assert methods(sandbox) == ["GET outbound-calls"] * 2

    def test_the_search_ends_where_the_run_began(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Older calls can't be the task's: they cost no requests."""
        monkeypatch.setattr(dialling, "MAX_SEARCH_PAGES", 1)
        long_ago = datetime.now(timezone.utc) - timedelta(hours=1)
        for _ in range(150):
            sandbox.add_call("completed", created_at=long_ago)
        task = runs(wait_for_completion=False)
        task.tries = 1

        task.next_try().to_the_end()

        assert len(sandbox.calls) == 151
        assert methods(sandbox)[-1] == "POST outbound-calls"

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 503},
            {"raw_body": b'{"data": [], "pagination": {}}'},
            {"raw_body": b'{"data": [], "pagination": {"hasNext": true}}'},
        ],
        ids=str,
    )
    def test_a_list_that_can_not_be_read_proves_nothing(
        self, sandbox: Sandbox, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An outage, or a list that doesn't say whether it goes on: the task fails and doesn't dial."""
        monkeypatch.setattr("airflow_provider_telzino.hooks.telzino.RETRY_FOR", 0.05)
        sandbox.faults.next("GET", "outbound-calls$", times=1_000, **fault)
        task = runs()
        task.tries = 1

        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="Could not determine"):
            task.next_try().step("execute")

        assert sandbox.calls == []

    def test_a_first_try_is_not_free_to_dial_either(self, sandbox: Sandbox) -> None:
        """Airflow's books may be wrong, such as after its database was restored: one look is taken."""
        call = placed(sandbox, "dialing")
        sandbox.clock.advance(LIST_LAG)

        answer = runs(wait_for_completion=False).next_try().to_the_end()

        assert answer["id"] == call["id"]
        assert len(sandbox.calls) == 1

    def test_a_first_try_searches_one_page_only(self, sandbox: Sandbox) -> None:
        """A thousand mapped tasks must not each search through the calls of the others."""
        for _ in range(300):
            sandbox.place(NUMBER)
        sandbox.clock.advance(LIST_LAG)

        runs(wait_for_completion=False).next_try().to_the_end()

        assert methods(sandbox) == ["GET outbound-calls", "POST outbound-calls"]

    def test_the_pushed_answer_of_a_retry(self, sandbox: Sandbox) -> None:
        """It has no more than the first try's would: no phone number, and the status of now."""
        call = placed(sandbox, "in_progress")
        sandbox.clock.advance(LIST_LAG)
        task = runs(wait_for_completion=False)
        task.tries = 1

        answer = task.next_try().to_the_end()

        assert answer == {name: call[name] for name in ("id", "status", "created_at", "agent_id")}

    def test_the_log_says_which_call_and_why(
        self, sandbox: Sandbox, task_log: pytest.LogCaptureFixture
    ) -> None:
        """Ids and statuses, and nothing of what was asked for."""
        call = placed(sandbox, "in_progress")
        sandbox.clock.advance(LIST_LAG)
        task = runs(call_context="Call John.", wait_for_completion=False)
        task.tries = 1

        task.next_try().to_the_end()
        runs(call_context="Call John.", wait_for_completion=False, map_index=1).next_try().to_the_end()

        log = task_log.text
        assert f"Continuing with call {call['id']}, which this task has placed: it is in_progress." in log
        assert "Placing a call: the task has placed no call yet." in log
        assert f"Placed call {sandbox.calls[-1]['id']}." in log
        for secret in (NUMBER, "Call John", "sandbox-token", "crm"):
            assert secret not in log


class TestListWithoutMetadata:
    """An API whose list doesn't tell the metadata: records are looked at one by one."""

    def hide(self, sandbox: Sandbox, calls: list[dict[str, Any]]) -> None:
        """Answer the next looks at the list with items that have next to nothing."""
        items = [{"id": call["id"], "created_at": call["created_at"]} for call in calls]
        page = {"data": items, "pagination": {"hasNext": False}}
        sandbox.faults.next("GET", "outbound-calls$", raw_body=json.dumps(page).encode(), times=3)

    def test_the_tasks_call_is_found_by_its_record(self, sandbox: Sandbox) -> None:
        """Each record says whose it is."""
        call, other = placed(sandbox, "dialing"), sandbox.add_call("dialing")
        self.hide(sandbox, [other, call])
        task = runs(wait_for_completion=False)
        task.tries = 1

        answer = task.next_try().to_the_end()

        assert answer["id"] == call["id"]

    def test_too_many_are_an_error(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """That is bounded, too."""
        monkeypatch.setattr(dialling, "MAX_SINGLE_REQUESTS", 2)
        self.hide(sandbox, [sandbox.add_call("dialing") for _ in range(3)])
        task = runs()
        task.tries = 1

        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="one by one"):
            task.next_try().step("execute")

        assert len(sandbox.calls) == 3


@NEEDS_TASK_STATE
class TestKeptCall:
    """Airflow 3.3 keeps the call's id between tries."""

    def test_a_retry_needs_no_search(self, sandbox: Sandbox) -> None:
        """The id was kept before the task deferred; nothing expires it."""
        state = TaskStateStore()
        task = runs(state=state, wait_for_completion=False)
        first = task.next_try().to_the_end()
        sandbox.requests.clear()

        second = task.next_try().to_the_end()

        assert second["id"] == first["id"]
        assert methods(sandbox) == [f"GET {first['id']}"]
        assert state.writes == [("telzino_dialling", timedelta.max), ("telzino_call", timedelta.max)]
        assert json.loads(state.stored["telzino_call"]) == {"id": first["id"], "agent_id": AGENT_ID}

    def test_an_older_call_that_is_kept_hides_no_newer_one(self, sandbox: Sandbox) -> None:
        """The task dialled again, and died before it could keep the second call."""
        state = TaskStateStore()
        task = runs(state=state, wait_for_completion=False, fail_on=["busy"])
        first = task.next_try().to_the_end()
        sandbox.finish(first["id"], "busy")
        sandbox.clock.advance(3600)
        second = sandbox.place(NUMBER, metadata=OURS)

        answer = task.next_try().to_the_end()

        assert answer["id"] == second["id"]
        assert len(sandbox.calls) == 2
        assert json.loads(state.stored["telzino_call"])["id"] == second["id"]

    @pytest.mark.parametrize("garbage", [None, '"text"', '{"id": "nonsense"}', "17"])
    def test_what_can_not_be_read_is_not_nothing(
        self, sandbox: Sandbox, garbage: str | None, task_log: pytest.LogCaptureFixture
    ) -> None:
        """Even in a first try the list is then searched, until a late call must have come into it."""
        state = TaskStateStore()
        if garbage is None:
            state.broken = True
        else:
            state.stored["telzino_call"] = garbage
        call = placed(sandbox, "dialing")

        answer = runs(state=state, wait_for_completion=False).next_try().to_the_end()

        assert answer["id"] == call["id"]
        assert "Could not read this task's state" in task_log.text

    def test_a_call_that_can_not_be_kept_goes_on(
        self, sandbox: Sandbox, task_log: pytest.LogCaptureFixture
    ) -> None:
        """It is placed: failing the task would help nobody."""
        state = TaskStateStore()
        state.unwritable = {"telzino_call"}

        ends(runs(state=state).next_try(), sandbox)

        assert f"Could not store call {sandbox.calls[0]['id']}" in task_log.text

    def test_the_kept_calls_agent_counts(self, connect: ConnectionSetter) -> None:
        """A task whose agent has changed since doesn't lose its call."""
        with Sandbox(agents=2, clock="manual") as two:
            connect(two)
            task = runs(state=TaskStateStore(), wait_for_completion=False)
            first = task.next_try().to_the_end()
            task.arguments["agent_id"] = two.agent_ids[1]

            second = task.next_try().to_the_end()

            assert (second["id"], second["agent_id"]) == (first["id"], AGENT_ID)
            assert len(two.calls) == 1

    def test_a_kept_call_that_is_gone_is_no_reason_to_dial(self, sandbox: Sandbox) -> None:
        """It may be another Telzino that answers: the error says how to get out of it."""
        state = TaskStateStore()
        task = runs(state=state)
        state.stored["telzino_call"] = json.dumps({"id": CALL_ID, "agent_id": AGENT_ID})
        task.tries = 1

        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match=f"{CALL_ID}.*new DAG run"):
            task.next_try().step("execute")
        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match=CALL_ID):
            task.next_try().step("__fail__", error="Trigger timeout")

        assert sandbox.calls == []


@NEEDS_TASK_STATE
class TestMark:
    """Airflow 3.3 is told before each POST, and takes that only from the process that has the task."""

    @pytest.mark.parametrize("others", [0, 150])
    def test_a_process_that_has_the_task_no_more_does_not_dial(self, sandbox: Sandbox, others: int) -> None:
        """It was frozen, its retry has dialled, and the list doesn't show that on its first page."""
        state = TaskStateStore()
        task = runs(state=state, wait_for_completion=False)
        frozen = task.next_try()
        task.next_try().step("execute")
        for _ in range(others):
            sandbox.place(NUMBER)
        sandbox.clock.advance(60 if others else 0)

        state.superseded = True
        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="another process"):
            frozen.step("execute")

        assert len(sandbox.calls) == 1 + others

    def test_it_precedes_each_post(self, sandbox: Sandbox) -> None:
        """A 429 takes time in which the task may be given to another process."""
        state = TaskStateStore()
        sandbox.faults.next("POST", "outbound-calls$", status=429, times=2)
        fired = iter([False, False, True])

        class Superseded(TaskStateStore):
            def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
                self.superseded = next(fired)
                super().set(key, value, retention=retention)

        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="another process"):
            runs(state=Superseded()).next_try().step("execute")
        ends(runs(state=state).next_try(), sandbox)

        assert methods(sandbox).count("POST outbound-calls") == 3
        assert len(sandbox.calls) == 1

    def test_it_precedes_a_post_with_a_new_token(self, sandbox: Sandbox, connect: ConnectionSetter) -> None:
        """The first token was refused, and while a new one was fetched the task went to another process."""
        connect(sandbox, oauth=True)
        sandbox.faults.next("POST", "outbound-calls$", status=401)

        class SupersededAfterTheFirstMark(TaskStateStore):
            def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
                super().set(key, value, retention=retention)
                self.superseded = True

        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="another process"):
            runs(state=SupersededAfterTheFirstMark()).next_try().step("execute")

        assert methods(sandbox).count("POST outbound-calls") == 1
        assert sandbox.calls == []

    def test_without_it_no_earlier_try_has_dialled(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A busy agent can't lock out a task that has never dialled, such as one of a backfill."""
        monkeypatch.setattr(dialling, "MAX_SEARCH_PAGES", 2)
        for _ in range(300):
            sandbox.place(NUMBER)
        sandbox.clock.advance(LIST_LAG)
        task = runs(state=TaskStateStore(), wait_for_completion=False)
        task.tries = 1

        task.next_try().to_the_end()

        assert methods(sandbox) == ["GET outbound-calls"] * 2 + ["POST outbound-calls"]

    def test_without_it_a_cleared_task_may_have_dialled(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Airflow can be told to forget the state of a task that has succeeded."""
        monkeypatch.setattr(dialling, "MAX_SEARCH_PAGES", 2)
        task = runs(state=TaskStateStore(), wait_for_completion=False)
        task.next_try().to_the_end()
        task.state = TaskStateStore()
        for _ in range(300):
            sandbox.place(NUMBER)
        sandbox.clock.advance(LIST_LAG)
        task.clear()

        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="new DAG run"):
            task.next_try().to_the_end()

        assert len(sandbox.calls) == 301

    def test_the_search_goes_back_to_it(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """Calls from before cost no requests, however long ago the run was due; the first mark counts."""
        monkeypatch.setattr(dialling, "MAX_SEARCH_PAGES", 1)
        now = datetime.now(timezone.utc)
        for _ in range(150):
            sandbox.add_call("completed", created_at=now - timedelta(hours=1))
        task = runs(
            state=TaskStateStore(), wait_for_completion=False, due=now - timedelta(days=30), retries=2
        )
        sandbox.faults.next("POST", "outbound-calls$", status=500, times=2)
        marks = []
        for _ in range(2):
            with pytest.raises(
                exceptions.TelzinoUnknownPlacementError, match="request to place the call failed"
            ):
                task.next_try().step("execute")
            marks.append(task.state.stored["telzino_dialling"] if task.state else "")

        task.next_try().to_the_end()

        assert len(sandbox.calls) == 151
        assert marks[0] == marks[1]

    @pytest.mark.parametrize("garbage", ['"text"', "{}", '{"since": "yesterday"}'])
    def test_a_mark_that_can_not_be_read_is_not_nothing(self, sandbox: Sandbox, garbage: str) -> None:
        """The list is searched, until a late call must have come into it."""
        state = TaskStateStore()
        state.stored["telzino_dialling"] = garbage
        call = placed(sandbox, "dialing")
        task = runs(state=state, wait_for_completion=False)
        task.tries = 1

        answer = task.next_try().to_the_end()

        assert answer["id"] == call["id"]


class TestRedial:
    """Outcomes of ``fail_on`` fail the task so that its retry dials again."""

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            ("no_answer", exceptions.TelzinoNoAnswerError),
            ("busy", exceptions.TelzinoBusyError),
            ("failed", exceptions.TelzinoCallFailedError),
            ("completed", exceptions.TelzinoOutcomeError),
        ],
    )
    def test_each_outcome_has_its_error(
        self, sandbox: Sandbox, status: str, error: type[exceptions.TelzinoOutcomeError]
    ) -> None:
        """Airflow may retry it; the record was pushed first."""
        run = runs(fail_on=[status]).next_try()

        with pytest.raises(exceptions.TelzinoOutcomeError) as caught:
            ends(run, sandbox, status)

        assert type(caught.value) is error
        assert not isinstance(caught.value, (AirflowFailException, AirflowSensorTimeout))
        assert run.ti.xcoms == {"return_value": sandbox.calls[0]}
        assert caught.value.call_id == sandbox.calls[0]["id"]

    @STATES
    def test_a_retry_dials_again_and_only_then(self, sandbox: Sandbox, state: str | None) -> None:
        """Busy, no answer, then somebody is there: three calls, one after the other."""
        task = runs(fail_on=["no_answer", "busy"], retries=3, state=TaskStateStore() if state else None)

        with pytest.raises(exceptions.TelzinoBusyError):
            ends(task.next_try(), sandbox, "busy")
        with pytest.raises(exceptions.TelzinoNoAnswerError):
            ends(task.next_try(), sandbox, "no_answer")
        record = ends(task.next_try(), sandbox)
        again = task.next_try().step("execute")

        assert [call["status"] for call in sandbox.calls] == ["busy", "no_answer", "completed"]
        assert record == again == sandbox.calls[-1]

    @STATES
    def test_a_crash_while_it_dials_again(self, sandbox: Sandbox, state: str | None) -> None:
        """The process has placed the second call and died: the third try goes on with that one."""
        task = runs(fail_on=["busy"], retries=3, state=TaskStateStore() if state else None)
        with pytest.raises(exceptions.TelzinoBusyError):
            ends(task.next_try(), sandbox, "busy")
        task.tries += 1
        second = sandbox.place(NUMBER, metadata=OURS)

        record = ends(task.next_try(), sandbox)

        assert record["id"] == second["id"]
        assert len(sandbox.calls) == 2

    def test_a_timeout_can_be_retried_and_the_retry_waits_on(self, sandbox: Sandbox) -> None:
        """It is no sensor's timeout, which Airflow wouldn't retry."""
        task = runs(timeout=0.2, retries=1)

        with pytest.raises(exceptions.TelzinoTimeoutError, match="a retry of the task goes on") as caught:
            task.next_try().to_the_end()
        task.arguments["timeout"] = 30
        record = ends(task.next_try(), sandbox)

        assert not isinstance(caught.value, (AirflowFailException, AirflowSensorTimeout))
        assert [record] == sandbox.calls

    @STATES
    def test_a_list_that_is_behind_with_the_status(self, sandbox: Sandbox, state: str | None) -> None:
        """It still says that the call rings whose end was the reason for the retry."""
        task = runs(fail_on=["no_answer"], retries=1, state=TaskStateStore() if state else None)
        with pytest.raises(exceptions.TelzinoNoAnswerError):
            ends(task.next_try(), sandbox, "no_answer")
        stale = sandbox.calls[0] | {"status": "dialing", "ended_at": None}
        page = {"data": [stale], "pagination": {"hasNext": False}}
        sandbox.faults.next("GET", "outbound-calls$", raw_body=json.dumps(page).encode())

        record = ends(task.next_try(), sandbox)

        assert [call["status"] for call in sandbox.calls] == ["no_answer", "completed"]
        assert record == sandbox.calls[1]

    def test_a_record_that_lags_behind_the_list(self, sandbox: Sandbox) -> None:
        """The list has the call already: it is gone on with."""
        placed(sandbox, "dialing")
        sandbox.clock.advance(LIST_LAG)
        sandbox.faults.next("GET", "outbound-calls/", status=404)
        task = runs()
        task.tries = 1

        record = ends(task.next_try(), sandbox)

        assert [record] == sandbox.calls

    def test_skip_on(self, sandbox: Sandbox) -> None:
        """As with sensor and get operator."""
        run = runs(skip_on=["no_answer"]).next_try()

        with pytest.raises(AirflowSkipException, match="no_answer"):
            ends(run, sandbox, "no_answer")

        assert run.ti.xcoms == {"return_value": sandbox.calls[0]}


class TestClear:
    """The task is cleared after it has finished."""

    @STATES
    @pytest.mark.parametrize("reattach", [True, False])
    def test_reattach(self, sandbox: Sandbox, state: str | None, reattach: bool) -> None:
        """With it the same record is pushed again; without it the person is called again."""
        task = runs(reattach=reattach, retries=2, state=TaskStateStore() if state else None)
        first = ends(task.next_try(), sandbox)
        sandbox.clock.advance(3600)
        task.clear()
        run = task.next_try()

        second = run.step("execute") if reattach else ends(run, sandbox)

        assert (second == first) is reattach
        assert len(sandbox.calls) == (1 if reattach else 2)

    @STATES
    def test_without_reattach_a_crash_still_dials_once(self, sandbox: Sandbox, state: str | None) -> None:
        """The second call has ended well by the time of the retry: it is not placed a third time."""
        task = runs(reattach=False, retries=2, state=TaskStateStore() if state else None)
        ends(task.next_try(), sandbox)
        sandbox.clock.advance(3600)
        task.clear()
        assert isinstance(task.next_try().step("execute"), TaskDeferred)
        sandbox.finish(sandbox.calls[-1]["id"])
        sandbox.clock.advance(60)

        record = task.next_try().step("execute")

        assert record == sandbox.calls[1]
        assert len(sandbox.calls) == 2

    @STATES
    @pytest.mark.parametrize("fault", [{"status": 500}, {"status": 500, "after_commit": True}], ids=str)
    def test_without_reattach_the_retry_is_for_the_call_that_the_clear_asked_for(
        self, sandbox: Sandbox, state: str | None, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first try after the clear dies around its POST: the old call's record is no answer."""
        task = runs(reattach=False, retries=2, state=TaskStateStore() if state else None)
        first = ends(task.next_try(), sandbox)
        sandbox.clock.advance(3600)
        task.clear()
        sandbox.faults.next("POST", "outbound-calls$", **fault)
        with monkeypatch.context() as patched:  # the process dies, and looks for nothing
            patched.setattr(CallPlacer, "_find_lost", die)
            with pytest.raises(SystemExit):
                task.next_try().step("execute")
        sandbox.clock.advance(60)

        record = ends(task.next_try(), sandbox)

        assert record["id"] != first["id"]
        assert len(sandbox.calls) == 2

    def test_a_call_to_another_number_is_told_of(
        self, sandbox: Sandbox, task_log: pytest.LogCaptureFixture
    ) -> None:
        """The number was corrected before the clear; the log doesn't tell either."""
        task = runs()
        first = ends(task.next_try(), sandbox)
        sandbox.clock.advance(60)
        task.clear()
        assert task.next_try().step("execute") == first
        assert "another number" not in task_log.text
        task.arguments["to_number"] = MAGIC_NUMBERS["busy"]
        task.clear()

        assert task.next_try().step("execute") == first

        assert f"Call {first['id']} went to another number than the task has now." in task_log.text
        assert NUMBER not in task_log.text
        assert MAGIC_NUMBERS["busy"] not in task_log.text
        task.arguments["reattach"] = False
        task.clear()
        assert ends(task.next_try(), sandbox)["to_number"] == MAGIC_NUMBERS["busy"]

    def test_without_reattach_a_live_call_is_gone_on_with(self, sandbox: Sandbox) -> None:
        """Nobody is called twice at the same time."""
        task = runs(reattach=False)
        task.next_try().step("execute")
        sandbox.clock.advance(LIST_LAG)
        task.clear()

        record = ends(task.next_try(), sandbox)

        assert [record] == sandbox.calls


class TestDeferral:
    """A task that resumes never dials."""

    def test_an_event_that_says_nothing(self, sandbox: Sandbox) -> None:
        """It fails, and the call is still only one."""
        run = runs().next_try()
        run.step("execute")

        for event in (None, {}, {"call_id": None}, "text"):
            with pytest.raises(exceptions.TelzinoError, match="event is unknown"):
                runs().next_try().step("execute_complete", event=event)

        assert len(sandbox.calls) == 1

    def test_it_needs_nothing_but_the_event(self, sandbox: Sandbox) -> None:
        """The process that resumes is a new one, and some Airflows drop the other arguments."""
        task = runs()
        run = task.next_try()
        event = run.fire(_ended(sandbox, run.step("execute")))

        record = PlacingRun(task.next_try().task, run.ti, runs=task).step("execute_complete", event=event)

        assert [record] == sandbox.calls

    @STATES
    def test_a_trigger_that_never_fired(self, sandbox: Sandbox, state: str | None) -> None:
        """Airflow has no word of the call then: it is found again."""
        task = runs(state=TaskStateStore() if state else None)
        run = task.next_try()
        run.step("execute")
        sandbox.finish(sandbox.calls[0]["id"])

        record = PlacingRun(task.next_try().task, run.ti, runs=task).step("__fail__", error="Trigger timeout")

        assert [record] == sandbox.calls

    @NEEDS_TASK_STATE
    def test_a_trigger_that_never_fired_for_a_call_of_another_agent(self, connect: ConnectionSetter) -> None:
        """The connection's agent has changed since; the kept call's counts."""
        with Sandbox(agents=2, clock="manual") as two:
            connect(two)
            task = runs(state=TaskStateStore())
            run = task.next_try()
            run.step("execute")
            two.finish(two.calls[0]["id"])
            connect(two, extra={"agent_id": two.agent_ids[1]})

            resumed = PlacingRun(task.next_try().task, run.ti, runs=task)
            record = resumed.step("__fail__", error="Trigger timeout")

            assert [record] == two.calls

    def test_a_call_that_can_not_be_found_then_is_an_error(self, sandbox: Sandbox) -> None:
        """It doesn't dial."""
        with pytest.raises(exceptions.TelzinoUnknownPlacementError, match="not in the agent's list"):
            runs().next_try().step("__fail__", error="Trigger timeout")

        assert sandbox.calls == []


def _ended(sandbox: Sandbox, deferral: Any) -> Any:
    sandbox.finish(sandbox.calls[0]["id"])
    return deferral


class TestKill:
    """Somebody kills the task."""

    def test_the_log_says_that_the_call_goes_on(
        self, sandbox: Sandbox, task_log: pytest.LogCaptureFixture
    ) -> None:
        """Telzino documents no way to hang up."""
        run = runs(deferrable=True).next_try()
        run.step("execute")

        run.task.on_kill()

        assert f"Call {sandbox.calls[0]['id']} goes on" in task_log.text

    def test_a_task_that_was_killed_does_not_dial(
        self, sandbox: Sandbox, task_log: pytest.LogCaptureFixture
    ) -> None:
        """Airflow 3 lets it run on for some seconds: in these it looks at the list, and stops."""
        run = runs().next_try()
        run.task.on_kill()

        with pytest.raises(AirflowException, match="killed before it dialled"):
            run.step("execute")

        assert sandbox.calls == []
        assert "If one is being placed, it goes on" in task_log.text

    def test_a_task_that_is_killed_between_two_posts(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first one surely had no effect: there is no second."""
        sandbox.faults.next("POST", "outbound-calls$", status=429, times=9)
        run = runs().next_try()
        monkeypatch.setattr("tenacity.nap.time.sleep", lambda _seconds: run.task.on_kill())

        with pytest.raises(AirflowException, match="killed before it dialled"):
            run.step("execute")

        assert methods(sandbox) == ["GET outbound-calls", "POST outbound-calls"]
