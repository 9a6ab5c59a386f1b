"""Is it dialled again after a clear? What a task does whose contact may have moved meanwhile."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_telzino.rules.attempts import Dial, Done
from tests.support.histories import (
    AFTER_CLEAR,
    FIRST_ROUND,
    OTHER_NUMBER,
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


class TestClear:
    """A clear is a person's word."""

    @pytest.mark.parametrize(
        ("outcome", "redial_on", "fail_on", "reattach", "step"),
        [
            ("completed", UNREACHED, ("failed",), True, ("done", "last")),
            ("completed", UNREACHED, ("failed",), False, ("dial", 1)),
            ("completed", UNREACHED, ("completed",), True, ("dial", 1)),
            ("failed", UNREACHED, ("failed",), True, ("dial", 1)),
            ("failed", UNREACHED, (), True, ("done", "last")),
            ("busy", UNREACHED, ("failed",), True, ("dial", 1)),
            ("busy", (), ("busy",), True, ("dial", 1)),
            ("busy", UNREACHED, ("busy",), True, ("dial", 1)),
            ("busy", (), ("failed",), True, ("done", "last")),
            ("busy", (), (), False, ("dial", 1)),
        ],
    )
    def test_what_it_does_depends_on_the_last_outcome(
        self,
        outcome: str,
        redial_on: tuple[str, ...],
        fail_on: tuple[str, ...],
        reattach: bool,
        step: tuple[Any, ...],
    ) -> None:
        """It calls again where the call went badly; where it went well, only with `reattach=False`."""
        given = rules(redial_on, fail_on=fail_on, reattach=reattach)

        assert brief(step_after([call("last", outcome, attempt=3)], cleared(), given)) == step

    def test_the_new_round_counts_its_attempts_from_the_first(self) -> None:
        """Those before the clear don't count."""
        before = [call(str(n), "busy", at=-600 + n, attempt=n + 1) for n in range(3)]
        since = call("since", "busy", at=-60, generation=AFTER_CLEAR)

        assert brief(step_after(before, cleared())) == ("dial", 1)
        assert brief(step_after([*before, since], cleared())) == ("dial", 2)

    @pytest.mark.parametrize("reattach", [True, False])
    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_a_retry_after_a_clear_never_dials_after_the_outcome_of_the_new_round(
        self, outcome: str, reattach: bool
    ) -> None:
        """One clear, one call, whatever dies meanwhile."""
        given = rules((), fail_on=OUTCOMES, reattach=reattach)
        calls = [call("before", at=-100), call("since", outcome, at=-50, generation=AFTER_CLEAR)]

        assert brief(step_after(calls, cleared(), given)) == ("done", "since")

    def test_a_changed_number_is_called_once(self) -> None:
        """The calls to the old number say nothing about the new one."""
        before = call("before")
        since = call("since", at=-1, generation=AFTER_CLEAR, to_number=OTHER_NUMBER)

        assert brief(step_after([before], cleared(), to_number=OTHER_NUMBER)) == ("dial", 1)
        assert brief(step_after([before, since], cleared(), to_number=OTHER_NUMBER)) == ("done", "since")

    @pytest.mark.parametrize("reattach", [True, False])
    @pytest.mark.parametrize(
        ("outcome", "step"),
        [
            ("completed", ("done", "continued")),
            ("failed", ("done", "continued")),
            ("busy", ("wait until", minutes(29))),
        ],
    )
    def test_the_outcome_of_a_call_that_was_in_progress_at_the_clear_is_the_answer_to_it(
        self, outcome: str, step: tuple[Any, ...], reattach: bool
    ) -> None:
        """It is judged as if the new round had placed it: a busy line is not called again at once."""
        run = cleared(started=minutes(-10))
        continued = call("continued", outcome, at=-12, ended=-1)

        assert brief(step_after([continued], run, rules(reattach=reattach))) == step

    def test_the_redial_after_such_a_call_is_the_second_attempt(self) -> None:
        """And no more of them follow than after a call of the new round."""
        run = cleared(started=minutes(-100))
        continued = call("continued", "busy", at=-101, ended=-90)
        second = call("second", "busy", at=-50, attempt=2, generation=AFTER_CLEAR)

        assert brief(step_after([continued], run, rules(max_attempts=2))) == ("dial", 2)
        assert brief(step_after([continued, second], run, rules(max_attempts=2))) == ("done", "second")

    def test_a_good_call_of_any_round_before_counts(self) -> None:
        """The person has been reached in this DAG run."""
        calls = [call("good", at=-100), call("bad", "busy", at=-50, generation=3)]

        assert brief(step_after(calls, cleared())) == ("done", "good")


class TestMapped:
    """A list of contacts has changed, and a clear has moved contacts to other map indices."""

    @pytest.mark.parametrize(
        ("outcome", "reattach", "step"),
        [
            ("completed", True, ("done", "moved")),
            ("completed", False, ("dial", 1)),
            ("busy", True, ("dial", 1)),
            ("failed", True, ("dial", 1)),
            ("in_progress", True, ("attach", "moved")),
            ("in_progress", False, ("attach", "moved")),
        ],
    )
    def test_a_moved_contact_is_treated_as_one_that_has_stayed(
        self, outcome: str, reattach: bool, step: tuple[Any, ...]
    ) -> None:
        """Its call has moved with it, and the call of the one before is not its own."""
        calls = [
            call("moved", outcome, map_index=0),
            call("neighbour", map_index=1, to_number=OTHER_NUMBER, at=-1),
        ]

        assert brief(step_after(calls, cleared(1), rules(reattach=reattach))) == step

    def test_a_new_contact_is_called(self) -> None:
        """Though its map index has a call."""
        calls = [call("0", map_index=0), call("1", map_index=1)]

        assert brief(step_after(calls, cleared(0), to_number=OTHER_NUMBER)) == ("dial", 1)

    def test_a_contact_that_moves_back_keeps_the_call_of_the_other_place(self) -> None:
        """It was busy here, was moved, called again and reached there: it is not called a third time."""
        calls = [
            call("here", "busy", map_index=0, at=-100),
            call("there", map_index=1, at=-50, generation=AFTER_CLEAR),
        ]

        assert brief(step_after(calls, cleared(0, generation=8))) == ("done", "there")

    @pytest.mark.parametrize(
        ("outcome", "step"),
        [
            ("completed", ("done", "moved")),
            ("busy", ("done", "moved")),
            ("failed", ("done", "moved")),
            ("dialing", ("attach", "moved")),
        ],
    )
    @pytest.mark.parametrize("reattach", [True, False])
    def test_an_index_that_the_clear_has_created_never_dials_after_a_call(
        self, outcome: str, step: tuple[Any, ...], reattach: bool
    ) -> None:
        """It was not cleared itself: nobody is called again because a list grew."""
        run = task_run(3, is_first=True, expanded_at=minutes(-10))

        found = step_after([call("moved", outcome, map_index=2)], run, rules(reattach=reattach))

        assert brief(found) == step

    def test_an_index_that_the_clear_has_created_ends_with_the_best_call(self) -> None:
        """Also with `reattach=False`, which is about clears of this task instance."""
        run = task_run(3, is_first=True, expanded_at=minutes(-10))
        calls = [call("good", map_index=2, at=-60), call("bad", "busy", map_index=1, at=-50)]

        assert brief(step_after(calls, run, rules(reattach=False))) == ("done", "good")

    @pytest.mark.parametrize(
        ("own", "other", "step"),
        [
            ("completed", "completed", ("done", "own")),
            ("completed", "busy", ("done", "own")),
            ("completed", "dialing", ("done", "own")),
            ("busy", "completed", ("done", "other")),
            ("busy", "dialing", ("attach", "other")),
            ("dialing", "completed", ("attach", "own")),
            ("busy", "busy", ("dial", 1)),
        ],
    )
    def test_a_number_that_is_twice_in_a_cleared_list_may_share_a_call(
        self, own: str, other: str, step: tuple[Any, ...]
    ) -> None:
        """Its own call comes first; if that went badly, the other one is better than to call again."""
        calls = [call("own", own, map_index=0, at=-60), call("other", other, map_index=1, at=-50)]

        assert brief(step_after(calls, cleared(0))) == step

    @pytest.mark.parametrize(
        ("status", "step"),
        [("busy", ("attach", "other")), ("completed", ("done", "own")), ("failed", ("done", "own"))],
    )
    def test_nobody_is_called_again_while_another_call_to_the_number_is_in_progress(
        self, status: str, step: tuple[Any, ...]
    ) -> None:
        """The redial is due, but the person is on the phone with the other place in the list."""
        own = call("own", status, map_index=0, at=-60, generation=AFTER_CLEAR)
        other = call("other", "in_progress", map_index=1, at=-1)

        assert brief(step_after([own, other], cleared(0))) == step


def test_in_no_history_is_anyone_called_more_often_than_the_rules_allow() -> None:
    """All sequences of outcomes, played through: a task dials, crashes, is retried and cleared twice."""
    for redial_on, fail_on, most, reattach in itertools.product(
        [(), ("busy",), UNREACHED], [(), ("failed",), UNREACHED], [1, 2, 3], [True, False]
    ):
        given = rules(redial_on, most, timedelta(0), fail_on=fail_on, reattach=reattach)
        for outcomes in itertools.product(OUTCOMES, repeat=2):
            calls: list[dict[str, Any]] = []
            for generation in (FIRST_ROUND, AFTER_CLEAR, 8):
                first = generation == FIRST_ROUND
                run = task_run() if first else cleared(generation=generation, started=None)
                before = len(calls)
                ended_badly = not calls or calls[-1]["status"] in (*redial_on, *fail_on)

                while isinstance(step := step_after(calls, run, given), Dial):
                    placed = len(calls) - before
                    assert step.attempt == placed + 1
                    status = outcomes[placed % 2]
                    calls.append(
                        call(
                            str(len(calls)),
                            status,
                            at=-500 + len(calls),
                            generation=generation,
                            attempt=step.attempt,
                        )
                    )
                placed = len(calls) - before

                assert isinstance(step, Done)
                assert placed <= most
                assert (placed > 0) is (first or ended_badly or not reattach)
                assert all(each["status"] in redial_on for each in calls[before:-1])
                assert step.call is calls[-1]
