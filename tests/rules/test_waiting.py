"""The rules of a wait, without network or real time."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.models import CallStatus
from airflow_provider_telzino.rules.waiting import (
    MIN_POLL_INTERVAL,
    CallEvent,
    DeferAgain,
    Fail,
    Finish,
    NextStep,
    OutcomePolicy,
    TimedOut,
    Wait,
    flag,
    next_step,
    seconds,
)

START = 1_000_000.0


class Log:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, *args: object) -> None:
        """Keep a line."""
        self.lines.append(message % args)


def wait(**changes: Any) -> Wait:
    """Begin a wait of 100 s."""
    arguments: dict[str, Any] = {"deadline": START + 100, "poll_interval": 10, "log": Log()}
    return Wait("c", **(arguments | changes))


def test_each_change_of_status_is_logged_once() -> None:
    """A line for each change, with the time since the one before; a poll with nothing new is silent."""
    with time_machine.travel(START, tick=False) as clock:
        one = wait()
        for pause, status in [
            (0, "queued"),
            (1, "queued"),
            (1.4, "dialing"),
            (5, "dialing"),
            (2, "completed"),
        ]:
            clock.shift(pause)
            ended = one.observe({"status": status})

    assert ended
    assert one.log.lines == [
        "Call c is queued.",
        "Call c: queued → dialing after 2.4 s.",
        "Call c: dialing → completed after 7.0 s.",
    ]


def test_a_wait_continues_that_of_another_process() -> None:
    """The status and its age are passed on, so that nothing is logged twice and the ages are right."""
    with time_machine.travel(START, tick=False):
        one = wait(status="dialing", since=START - 30)

        one.observe({"status": "dialing"})

        assert one.log.lines == []
        assert one.last_seen() == "it was last seen dialing, for 30.0 s"
        one.observe({"status": "in_progress"})
        assert one.log.lines == ["Call c: dialing → in_progress after 30.0 s."]


def test_a_wait_without_any_status_says_so() -> None:
    """Without any successful request there is no status to name."""
    assert wait().last_seen() == "no request for its status has succeeded"


def test_pauses_have_jitter_and_end_at_the_deadline() -> None:
    """A pause is the interval, give or take a fiftieth; none goes beyond the deadline."""
    with time_machine.travel(START, tick=False) as clock:
        one = wait()
        pauses = [one.pause() for _ in range(300)]
        clock.shift(97)
        last = one.pause()
        clock.shift(10)
        late = one.pause(), one.time_left()

    assert 9.8 <= min(pauses) < 9.86
    assert 10.14 < max(pauses) <= 10.2
    assert last <= 3.0001
    assert late == (0, 0)


def test_no_interval_makes_a_busy_loop() -> None:
    """An interval of 0 becomes a tenth of a second."""
    assert wait(poll_interval=0).poll_interval == MIN_POLL_INTERVAL


LIVE = {"id": "c", "status": "in_progress", "ended_at": None}
ENDED = {"id": "c", "status": "failed", "ended_at": "2026-06-11T12:54:15.354244+00:00"}
EVENTS = {
    outcome: CallEvent(outcome, call_id="c")
    for outcome in ("ended", "timeout", "refused", "stopped", "broken")
}


class TestNextStep:
    """What follows the end of a trigger."""

    @pytest.mark.parametrize("outcome", EVENTS)
    @pytest.mark.parametrize("time_left", [0, 60])
    @pytest.mark.parametrize("refused_before", [False, True])
    def test_a_call_that_has_ended_finishes_the_task(
        self, outcome: str, time_left: float, refused_before: bool
    ) -> None:
        """However its trigger ended: the true outcome counts."""
        step = next_step(EVENTS[outcome], ENDED, time_left=time_left, refused_before=refused_before)

        assert step == Finish(ENDED)

    @pytest.mark.parametrize(
        ("outcome", "record", "time_left", "refused_before", "expected"),
        [
            # The trigger saw that the call has ended, but its record is not here: an outage.
            ("ended", None, 60, False, DeferAgain()),
            ("ended", LIVE, 60, False, DeferAgain()),
            ("ended", None, 0, False, Fail("record unavailable")),
            ("ended", LIVE, 0, False, Fail("record unavailable")),
            # The deadline has passed in the trigger.
            ("timeout", LIVE, 0, False, TimedOut()),
            ("timeout", None, 0, False, TimedOut()),
            ("timeout", LIVE, 60, False, TimedOut()),
            # The trigger was refused. This worker, which was not, must see that twice in a row to believe it.
            ("refused", LIVE, 60, False, DeferAgain(refused=True)),
            ("refused", LIVE, 60, True, Fail("refused in the triggerer")),
            ("refused", LIVE, 0, True, Fail("refused in the triggerer")),
            ("refused", LIVE, 0, False, TimedOut()),
            # Neither of them got an answer: that is an outage, not a difference between the two.
            ("refused", None, 60, False, DeferAgain()),
            ("refused", None, 60, True, DeferAgain()),
            ("refused", None, 0, True, TimedOut()),
            # Airflow stopped the trigger, or reports that it broke.
            ("stopped", LIVE, 0, False, TimedOut()),
            ("stopped", None, 0, False, TimedOut()),
            ("broken", LIVE, 0, False, Fail("trigger broken")),
            ("broken", None, 0, False, Fail("trigger broken")),
        ],
    )
    def test_a_call_that_has_not_ended(
        self,
        outcome: str,
        record: dict[str, Any] | None,
        time_left: float,
        refused_before: bool,
        expected: NextStep,
    ) -> None:
        """It is waited for again, unless the time is over or the wait can't work."""
        step = next_step(EVENTS[outcome], record, time_left=time_left, refused_before=refused_before)

        assert step == expected


class TestCallEvent:
    """The event that a trigger emits and a task reads."""

    def test_a_task_reads_what_a_trigger_emits(self) -> None:
        """Through the JSON that Airflow stores."""
        event = CallEvent("refused", "c", "a", "dialing", 1.5, "TelzinoPermissionError", 2.5)

        assert CallEvent.parse(json.loads(json.dumps(event.payload()))) == event

    def test_what_is_missing_is_unknown(self) -> None:
        """An event may name only outcome and call."""
        assert CallEvent.parse({"outcome": "ended", "call_id": "c"}) == CallEvent("ended", "c")

    @pytest.mark.parametrize(
        "payload",
        [
            None,
            "ended",
            [],
            {},
            {"outcome": "won", "call_id": "c"},
            {"outcome": "stopped", "call_id": "c"},
            {"outcome": ["ended"], "call_id": "c"},
            {"outcome": "ended", "call_id": 5},
            {"outcome": "ended", "call_id": "c", "agent_id": {}},
            {"outcome": "ended", "call_id": "c", "status": 1},
            {"outcome": "ended", "call_id": "c", "status_since": "now"},
            {"outcome": "timeout", "call_id": "c", "deadline": "soon"},
        ],
    )
    def test_anything_else_is_invalid(self, payload: Any) -> None:
        """No event of our trigger, or one of an incompatible version."""
        assert CallEvent.parse(payload) is None

    @pytest.mark.parametrize(
        ("event", "concerns"),
        [
            (CallEvent("ended", "c"), True),
            (CallEvent("ended", "other"), False),
            (CallEvent("ended", None), False),
            (CallEvent("timeout", None), False),
            (CallEvent("refused", None), True),  # the task's `call_id` is invalid
            (CallEvent("refused", "other"), False),
            (CallEvent("stopped"), True),
            (CallEvent("broken"), True),
        ],
    )
    def test_an_event_about_another_call_is_recognised(self, event: CallEvent, concerns: bool) -> None:
        """Only a trigger that could not read the task's call, or Airflow itself, names none."""
        assert event.concerns("c") is concerns


class TestOutcomePolicy:
    """What a DAG author may ask for."""

    def test_statuses_as_text_or_enum(self) -> None:
        """Both kinds of names mean the same."""
        policy = OutcomePolicy.checked([CallStatus.FAILED, "busy"], {"no_answer"}, None)

        assert policy.fail_on == {"failed", "busy"}
        assert policy.skip_on == {"no_answer"}

    @pytest.mark.parametrize(
        ("fail_on", "skip_on", "status", "outcome"),
        [
            (("unknown",), (), "voicemail", "fails"),
            ((), ("unknown",), "voicemail", "is skipped"),
            (("failed",), ("busy",), "voicemail", "succeeds"),
            (("unknown",), (), "unknown", "fails"),  # should Telzino name a status so
            (("unknown",), (), "completed", "succeeds"),
            (("unknown",), (), "busy", "succeeds"),
            (("failed",), ("unknown",), "failed", "fails"),
            (("failed",), ("busy",), "busy", "is skipped"),
        ],
    )
    def test_what_an_outcome_does_to_the_task(
        self, fail_on: Any, skip_on: Any, status: str, outcome: str
    ) -> None:
        """``"unknown"`` stands for each status that isn't documented, and for no other."""
        policy = OutcomePolicy.checked(fail_on, skip_on, None)

        assert policy.is_success(status) is (outcome == "succeeds")
        assert policy.is_skip(status) is (outcome == "is skipped")

    @pytest.mark.parametrize(
        ("fail_on", "skip_on", "record_fields", "words"),
        [
            (("no-answer",), (), None, "`fail_on` has 'no-answer'.*busy, completed, failed, no_answer, and"),
            (("voicemail",), (), None, "`fail_on` has 'voicemail'.* unknown for any that isn't documented"),
            (("unknown",), ("unknown",), None, "unknown is in both `fail_on` and `skip_on`"),
            (("dialing",), (), None, "`fail_on` has 'dialing'"),
            ("failed", (), None, r"`fail_on` should be a list or tuple of statuses, such as \('failed',\)"),
            ((5,), (), None, "`fail_on` should be"),
            ((), None, None, "`skip_on` should be"),
            (("busy",), ("busy",), None, "busy is in both `fail_on` and `skip_on`"),
            (
                (),
                (),
                "id",
                r"`record_fields` should be a list or tuple of field names, such as \('id'",
            ),
            ((), (), (), "`record_fields` is empty"),
        ],
    )
    def test_mistakes(self, fail_on: Any, skip_on: Any, record_fields: Any, words: str) -> None:
        """A typo, a status that no call ends in, or text instead of a list: an error at DAG parse."""
        with pytest.raises(TelzinoConfigurationError, match=words):
            OutcomePolicy.checked(fail_on, skip_on, record_fields)

    def test_record_fields_cut_the_record(self, seed_record: dict[str, Any]) -> None:
        """Only what was asked for is pushed; a field that the record lacks is left out."""
        policy = OutcomePolicy.checked((), (), ["id", "duration", "none_such"])
        log = logging.getLogger(__name__)

        assert policy.cut(seed_record, log) == {"id": seed_record["id"], "duration": 251}
        assert OutcomePolicy.checked((), (), None).cut(seed_record, log) == seed_record


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "10", None, True, timedelta(seconds=-1)])
def test_bad_durations(value: Any) -> None:
    """The error for an invalid duration names the argument."""
    with pytest.raises(TelzinoConfigurationError, match="`timeout`"):
        seconds("timeout", value)


def test_durations() -> None:
    """Numbers and timedeltas are both fine."""
    assert seconds("timeout", timedelta(minutes=2)) == 120
    assert seconds("timeout", 0) == 0


@pytest.mark.parametrize("value", ["False", "true", "", 0, 1, None])
def test_bad_flags(value: Any) -> None:
    """Text such as "False" would count as true: the error names the argument."""
    with pytest.raises(TelzinoConfigurationError, match="`deferrable` should be True or False"):
        flag("deferrable", value)


@pytest.mark.parametrize("value", [True, False])
def test_flags(value: bool) -> None:
    """Booleans are returned as they are."""
    assert flag("deferrable", value) is value
