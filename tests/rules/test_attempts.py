"""Is it dialled, is it dialled again? What a task does that was never cleared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
import pytest

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.models import CallStatus
from airflow_provider_telzino.rules.attempts import DEFAULT_REDIAL_DELAY, WaitUntil, next_step
from airflow_provider_telzino.rules.identity import History, TaskRun
from tests.support.histories import (
    NOW,
    OUTCOMES,
    UNREACHED,
    brief,
    call,
    cleared,
    minutes,
    rules,
    step_after,
    task_run,
)


class TestFirstRound:
    """The task was never cleared: this is its first process, or a retry."""

    def test_without_a_call_it_dials(self) -> None:
        """The first attempt."""
        assert brief(step_after([], task_run())) == ("dial", 1)

    @pytest.mark.parametrize("status", ["queued", "dispatching", "dispatched", "dialing", "in_progress"])
    @pytest.mark.parametrize("run", [task_run(), cleared()], ids=["retry", "cleared"])
    @pytest.mark.parametrize("reattach", [True, False])
    def test_a_call_in_progress_is_continued(self, status: str, run: TaskRun, reattach: bool) -> None:
        """Whoever runs the task again, and whatever `reattach` says: nobody is called twice at once."""
        calls = [call("live", status, at=-1), call("over", "busy", at=-50)]

        assert brief(step_after(calls, run, rules(reattach=reattach))) == ("attach", "live")

    @pytest.mark.parametrize("outcome", OUTCOMES)
    @pytest.mark.parametrize("fail_on", [(), ("failed",), OUTCOMES], ids=str)
    @pytest.mark.parametrize("reattach", [True, False])
    def test_a_retry_never_dials_after_an_outcome_that_is_not_redialled(
        self, outcome: str, fail_on: tuple[str, ...], reattach: bool
    ) -> None:
        """Not after one that fails the task either, however long ago it was."""
        given = rules(redial_on=(), fail_on=fail_on, reattach=reattach)

        assert brief(step_after([call("only", outcome, at=-5_000)], task_run(), given)) == ("done", "only")

    @pytest.mark.parametrize("fail_on", [(), UNREACHED], ids=str)
    @pytest.mark.parametrize(
        ("statuses", "step"),
        [
            (["busy"], ("dial", 2)),
            (["no_answer"], ("dial", 2)),
            (["busy", "no_answer"], ("dial", 3)),
            (["busy", "no_answer", "busy"], ("done", "2")),
            (["busy", "completed"], ("done", "1")),
            (["busy", "failed"], ("done", "1")),
            (["completed"], ("done", "0")),
            (["failed"], ("done", "0")),
            (["busy", "dialing"], ("attach", "1")),
        ],
    )
    def test_outcomes_of_redial_on_are_followed_by_another_attempt_until_none_is_left(
        self, statuses: list[str], step: tuple[Any, ...], fail_on: tuple[str, ...]
    ) -> None:
        """Whether the outcome fails the task matters only for the last attempt, and not here."""
        calls = [call(str(n), status, at=-300 + 60 * n, attempt=n + 1) for n, status in enumerate(statuses)]

        assert brief(step_after(calls, task_run(), rules(fail_on=(*fail_on, "failed")))) == step

    def test_a_single_attempt_is_never_followed_by_another(self) -> None:
        """`max_attempts` counts all calls, not only the further ones."""
        assert brief(step_after([call("only", "busy")], task_run(), rules(max_attempts=1))) == (
            "done",
            "only",
        )

    def test_without_redial_on_the_number_of_attempts_does_not_matter(self) -> None:
        """Its default is three, and redialling is off."""
        given = rules(redial_on=(), max_attempts=3)

        assert brief(step_after([call("only", "busy")], task_run(), given)) == ("done", "only")

    def test_an_attempt_counts_even_if_its_call_cannot_be_found(self) -> None:
        """The number in the metadata says how many there were before."""
        third = call("third", "busy", attempt=3)

        assert brief(step_after([third], task_run())) == ("done", "third")
        assert brief(step_after([third], task_run(), rules(max_attempts=4))) == ("dial", 4)


class TestTwoCallsOfOneAttempt:
    """A process of the task was taken for dead, dialled nevertheless, and so did the next one."""

    @pytest.mark.parametrize(
        ("statuses", "step"),
        [
            (("busy", "in_progress"), ("attach", "1")),
            (("in_progress", "busy"), ("attach", "0")),
            (("busy", "completed"), ("done", "1")),
            (("completed", "busy"), ("done", "0")),
            (("failed", "completed"), ("done", "1")),
            (("completed", "failed"), ("done", "0")),
            (("busy", "failed"), ("done", "1")),
            (("busy", "no_answer"), ("dial", 3)),
        ],
    )
    def test_the_better_one_counts_and_no_third_is_placed_for_it(
        self, statuses: tuple[str, str], step: tuple[Any, ...]
    ) -> None:
        """The line was busy with the other call, and one conversation is enough."""
        calls = [call(str(n), status, at=-60 + n) for n, status in enumerate(statuses)]

        assert brief(step_after(calls, task_run())) == step

    def test_both_count_as_attempts(self) -> None:
        """The person has heard the phone ring twice."""
        calls = [call("a", "busy", at=-60), call("b", "busy", at=-59)]

        assert brief(step_after(calls, task_run(), rules(max_attempts=2))) == ("done", "b")


class TestDelay:
    """How long it takes until the next attempt."""

    ENDED = NOW - timedelta(minutes=10)
    CALL = call("a", "busy", at=-11, ended=-10)

    @pytest.mark.parametrize(
        ("delay", "step"),
        [
            (timedelta(0), ("dial", 2)),
            (timedelta(minutes=10) - timedelta(microseconds=1), ("dial", 2)),
            (timedelta(minutes=10), ("dial", 2)),
            (timedelta(minutes=10, microseconds=1), ("wait until", NOW + timedelta(microseconds=1))),
            (timedelta(days=2), ("wait until", ENDED + timedelta(days=2))),
        ],
        ids=str,
    )
    def test_it_counts_from_the_end_of_the_call_before(self, delay: timedelta, step: tuple[Any, ...]) -> None:
        """At that very moment it is over, however often the task has started since."""
        assert brief(step_after([self.CALL], task_run(), rules(redial_delay=delay))) == step

    def test_each_outcome_may_have_its_own(self) -> None:
        """And the default where none is given."""
        given = rules(redial_delay={"busy": timedelta(minutes=5)})
        no_answer = call("a", "no_answer", at=-11, ended=-10)

        assert brief(step_after([self.CALL], task_run(), given)) == ("dial", 2)
        assert brief(step_after([no_answer], task_run(), given)) == (
            "wait until",
            self.ENDED + DEFAULT_REDIAL_DELAY,
        )

    def test_the_last_call_decides(self) -> None:
        """Its outcome, and its end."""
        calls = [
            call("a", "busy", at=-90, ended=-89),
            call("b", "no_answer", at=-20, ended=-19, attempt=2),
        ]
        given = rules(redial_delay={"busy": timedelta(0), "no_answer": timedelta(minutes=20)})

        assert brief(step_after(calls, task_run(), given)) == ("wait until", minutes(1))

    @pytest.mark.parametrize("ended", [None, "", "soon", 5])
    def test_a_record_without_an_end_counts_from_when_it_was_placed(self, ended: object) -> None:
        """The delay is then shorter by the length of the call, which nobody had."""
        record = self.CALL | {"ended_at": ended}

        step = step_after([record], task_run(), rules(redial_delay=timedelta(minutes=12)))

        assert brief(step) == ("wait until", minutes(1))

    def test_a_record_without_any_time_is_not_followed_by_another_call(self) -> None:
        """When the delay is over can't be known, and waiting from now on would never end."""
        record = self.CALL | {"ended_at": None, "created_at": None}

        step = step_after([record], task_run())

        assert brief(step) == ("done", "a")
        assert "does not say when" in getattr(step, "why", "")


class TestUnknownStatuses:
    """Telzino may add statuses; the end of the call decides whether it has ended."""

    def test_one_without_an_end_is_in_progress(self) -> None:
        """As everywhere."""
        assert brief(step_after([call("a", "transferring")], task_run())) == ("attach", "a")

    @pytest.mark.parametrize("run", [task_run(), cleared()], ids=["retry", "cleared"])
    def test_one_that_has_ended_is_an_outcome_that_is_not_redialled(self, run: TaskRun) -> None:
        """Only documented statuses can be."""
        assert brief(step_after([call("a", "voicemail", ended=-59)], run)) == ("done", "a")

    def test_in_fail_on_unknown_stands_for_each_of_them(self) -> None:
        """A clear after such a failure calls again, a retry doesn't."""
        given = rules(fail_on=("unknown",))
        ended = call("a", "voicemail", ended=-59)

        assert brief(step_after([ended], task_run(), given)) == ("done", "a")
        assert brief(step_after([ended], cleared(), given)) == ("dial", 1)
        assert brief(step_after([call("a", "failed")], cleared(), given)) == ("done", "a")


class TestArguments:
    """What a DAG author may give."""

    def test_statuses_may_be_text_or_enum(self) -> None:
        """Both mean the same, and come out as text."""
        given = rules([CallStatus.BUSY, "no_answer"], redial_delay={CallStatus.BUSY: timedelta(minutes=5)})

        assert given.redial_on == {"busy", "no_answer"}
        assert {type(each) for each in given.redial_on} == {str}
        assert given.delays == {"busy": timedelta(minutes=5), "no_answer": DEFAULT_REDIAL_DELAY}

    @pytest.mark.parametrize(
        "redial_on",
        ["busy", ["completed"], ["dialing"], ["unknown"], ["no-answer"], [1], [None], [["busy"]], None],
        ids=repr,
    )
    def test_bad_outcomes(self, redial_on: object) -> None:
        """After a conversation nobody is called again; and a text is not a list of statuses."""
        with pytest.raises(TelzinoConfigurationError, match=r"`redial_on` .* no_answer, busy, failed"):
            rules(redial_on)

    @pytest.mark.parametrize("max_attempts", [0, -1, 101, True, "3", 2.0, None])
    @pytest.mark.parametrize("redial_on", [(), ("busy",)], ids=str)
    def test_bad_numbers_of_attempts(self, max_attempts: object, redial_on: object) -> None:
        """They are an error even if nothing is redialled."""
        with pytest.raises(TelzinoConfigurationError, match=r"`max_attempts` .* from 1 to 100"):
            rules(redial_on, max_attempts)

    @pytest.mark.parametrize(
        "delay",
        [
            300,
            "5m",
            None,
            timedelta(seconds=-1),
            timedelta(days=367),
            {"busy": 300},
            {"completed": timedelta(minutes=5)},
            {"no-answer": timedelta(minutes=5)},
            {None: timedelta(minutes=5)},
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("redial_on", [(), ("busy",)], ids=str)
    def test_bad_delays(self, delay: object, redial_on: object) -> None:
        """They are an error even if nothing is redialled."""
        with pytest.raises(TelzinoConfigurationError, match=r"`redial_delay` .*a timedelta"):
            rules(redial_on, redial_delay=delay)

    @pytest.mark.parametrize(
        "delay", [timedelta(0), timedelta(days=366), pendulum.duration(hours=1), {}], ids=repr
    )
    def test_good_delays(self, delay: Any) -> None:
        """From none at all to a year; what a mapping lacks has the default."""
        expected = DEFAULT_REDIAL_DELAY if delay == {} else delay

        assert rules(("busy",), redial_delay=delay).delays == {"busy": expected}


def test_reasons_name_calls_and_statuses_and_no_one() -> None:
    """They are logged."""
    busy = call("a", "busy", at=-60)
    reasons = {
        step_after([], task_run()).why: "the task has placed no call yet",
        step_after([call("a", "dialing")], task_run()).why: "it is dialing",
        step_after([busy], task_run()).why: "call a ended with busy; attempt 2 of 3",
        step_after(
            [busy], task_run(), rules(max_attempts=1)
        ).why: "it ended with busy, and no attempt is left",
        step_after([call("a")], task_run()).why: "it ended with completed",
        step_after([call("a")], cleared()).why: "it ended with completed before the task was cleared",
        step_after([busy], cleared()).why: "the task was cleared, and call a ended with busy before",
    }

    assert list(reasons) == list(reasons.values())


class TestOtherClocks:
    """Telzino's clock may be ahead of Airflow's: by seconds, or, in a sandbox that runs fast, by hours."""

    def test_the_delay_counts_from_now_at_the_latest(self) -> None:
        """A call that has ended has not ended in the future, so this is never too early."""
        history = History(current=(call("a", "busy", at=90, ended=100),))
        given = rules(max_attempts=2)

        step = next_step(history, task_run(), given, NOW)

        assert isinstance(step, WaitUntil)
        assert step.moment == NOW + given.delays["busy"]

    @pytest.mark.parametrize("waited_after", [{"a"}, {"a", "b"}])
    def test_a_task_that_has_waited_dials(self, waited_after: set[str]) -> None:
        """It would wait for ever otherwise."""
        history = History(current=(call("a", "busy", at=90, ended=100),))

        step = next_step(history, task_run(), rules(max_attempts=2), NOW, waited_after)

        assert brief(step) == ("dial", 2)

    def test_it_has_not_waited_after_a_call_that_it_did_not_know(self) -> None:
        """Another process may have placed one meanwhile."""
        calls = (call("b", "busy", at=-1, ended=0, attempt=2), call("a", "busy", at=-60))

        step = next_step(History(current=calls), task_run(), rules(max_attempts=3), NOW, {"a"})

        assert isinstance(step, WaitUntil)
