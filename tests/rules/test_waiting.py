"""The rules of a wait, without network or real time."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.models import CallStatus
from airflow_provider_telzino.rules.waiting import MIN_POLL_INTERVAL, OutcomePolicy, Wait, seconds

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
    """A line a change, with the time since the one before; a look that shows nothing new is silent."""
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
            ended = one.saw({"status": status})

    assert ended
    assert one.log.lines == [
        "Call c is queued.",
        "Call c: queued → dialing after 2.4 s.",
        "Call c: dialing → completed after 7.0 s.",
    ]


def test_a_wait_goes_on_where_another_process_left_it() -> None:
    """The status and its age come along, so that nothing is logged twice and the ages are right."""
    with time_machine.travel(START, tick=False):
        one = wait(status="dialing", since=START - 30)

        one.saw({"status": "dialing"})

        assert one.log.lines == []
        assert one.last_seen() == "it was last seen dialing, for 30.0 s"
        one.saw({"status": "in_progress"})
        assert one.log.lines == ["Call c: dialing → in_progress after 30.0 s."]


def test_a_wait_that_saw_nothing_says_so() -> None:
    """Without any successful look there is no status to name."""
    assert wait().last_seen() == "it could not be looked at"


def test_pauses_have_jitter_and_end_at_the_deadline() -> None:
    """A pause is the interval, give or take a fiftieth; none passes the end."""
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
    """An interval of 0 is taken as a tenth of a second."""
    assert wait(poll_interval=0).poll_interval == MIN_POLL_INTERVAL


class TestOutcomePolicy:
    """What a DAG author may ask for."""

    def test_statuses_as_text_or_enum(self) -> None:
        """Both kinds of names mean the same."""
        policy = OutcomePolicy.checked([CallStatus.FAILED, "busy"], {"no_answer"}, None)

        assert policy.fail_on == {"failed", "busy"}
        assert policy.skip_on == {"no_answer"}

    @pytest.mark.parametrize(
        ("fail_on", "skip_on", "record_fields", "words"),
        [
            (("no-answer",), (), None, "`fail_on` holds 'no-answer'.*busy, completed, failed, no_answer"),
            (("dialing",), (), None, "`fail_on` holds 'dialing'"),
            ("failed", (), None, "`fail_on` should be a list or tuple"),
            ((5,), (), None, "`fail_on` should be"),
            ((), None, None, "`skip_on` should be"),
            (("busy",), ("busy",), None, "busy is in `fail_on` and in `skip_on`"),
            ((), (), "id", "`record_fields` should be"),
            ((), (), (), "`record_fields` is empty"),
        ],
    )
    def test_mistakes(self, fail_on: Any, skip_on: Any, record_fields: Any, words: str) -> None:
        """A typo, a status that no call ends in, or a text for a list: an error at DAG parse."""
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
    """A duration that is none is refused by name."""
    with pytest.raises(TelzinoConfigurationError, match="`timeout`"):
        seconds("timeout", value)


def test_durations() -> None:
    """Numbers and timedeltas are both fine."""
    assert seconds("timeout", timedelta(minutes=2)) == 120
    assert seconds("timeout", 0) == 0
