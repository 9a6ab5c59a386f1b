"""Whose call is it? Every case of `docs/whose_call.md` that metadata and number decide."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.rules.identity import History, TaskRun, attempt_of, identity_in, with_identity
from tests.support.histories import (
    AFTER_CLEAR,
    NUMBER,
    OTHER_NUMBER,
    TASK,
    call,
    cleared,
    minutes,
    task_run,
)

Calls = list[dict[str, Any]]


def own_calls(calls: Calls, run: TaskRun, to_number: str = NUMBER) -> tuple[list[str], list[str]]:
    """Return the ids of the task's own calls: those of this round, and those of earlier ones."""
    history = History.of(calls, run, to_number)
    return [each["id"] for each in history.current], [each["id"] for each in history.earlier]


class TestMetadata:
    """The identity in a call's metadata."""

    def test_it_is_added_to_what_the_author_gave(self) -> None:
        """With the attempt and the generation, and without the try number."""
        given = {"crm_id": "123"}

        sent = with_identity(given, task_run(3), attempt=2)

        mark = {**TASK, "map_index": 3, "attempt": 2, "generation": 2}
        assert sent == {"crm_id": "123", "airflow": mark}
        assert given == {"crm_id": "123"}

    def test_it_is_recognised_again(self) -> None:
        """What one process sends, the next one finds in the record."""
        sent = with_identity({}, task_run(3), attempt=2)

        record = {"id": "a", "status": "queued", "to_number": NUMBER, "request_metadata": sent}

        assert own_calls([record], task_run(3)) == (["a"], [])
        assert attempt_of(record) == 2

    def test_the_author_may_not_use_its_key(self) -> None:
        """Whatever the value is."""
        with pytest.raises(TelzinoConfigurationError, match="key 'airflow', which is reserved"):
            with_identity({"airflow": None}, task_run(), attempt=1)

    @pytest.mark.parametrize("metadata", [None, "text", [], {}, {"airflow": None}, {"airflow": "text"}])
    def test_a_call_of_somebody_else_has_none(self, metadata: object) -> None:
        """Whatever its metadata looks like."""
        assert identity_in({"request_metadata": metadata}) == {}
        assert identity_in({}) == {}

    @pytest.mark.parametrize("attempt", [None, 0, -1, True, "2", 1.5])
    def test_an_attempt_that_is_not_a_number_counts_as_the_first(self, attempt: object) -> None:
        """Only this provider writes it, so it is always one; but it has passed through other hands."""
        assert attempt_of({"request_metadata": {"airflow": {"attempt": attempt}}}) == 1


NOBODYS: list[tuple[str, dict[str, Any]]] = [
    ("another DAG", {"dag_id": "other"}),
    ("another DAG run", {"run_id": "other"}),
    ("another task", {"task_id": "other"}),
    ("no DAG run named", {"run_id": None}),
]


class TestUnmapped:
    """One task instance, which has always had the same position."""

    @pytest.mark.parametrize(("whose", "change"), NOBODYS, ids=[whose for whose, _ in NOBODYS])
    @pytest.mark.parametrize("run", [task_run(), cleared()], ids=["retry", "cleared"])
    def test_only_calls_of_this_task_in_this_run_are_its_own(
        self, whose: str, change: dict[str, Any], run: TaskRun
    ) -> None:
        """The same number alone is not enough: another task may have called it, too."""
        theirs = call("theirs")
        theirs["request_metadata"]["airflow"] |= change

        assert own_calls([theirs, call("nobodys", request_metadata=None)], run) == ([], [])

    def test_the_position_in_a_loop_is_part_of_the_identity(self) -> None:
        """Airflow 3.4 can run a task several times in one DAG run."""
        second_iteration = {**TASK, "map_index": -1, "loop_index": 1}
        first = call("first")
        first["request_metadata"]["airflow"] |= {"loop_index": 0}
        second = call("second")
        second["request_metadata"]["airflow"] |= {"loop_index": 1}

        assert own_calls([first, second], task_run(identity=second_iteration)) == (["second"], [])

    def test_a_retry_continues_with_its_calls_newest_first(self) -> None:
        """In whatever order they were found."""
        calls = [call("a", at=-60), call("c", at=-20, attempt=3), call("b", at=-40, attempt=2)]

        assert own_calls(calls, task_run()) == (["c", "b", "a"], [])

    def test_a_retry_continues_with_its_call_to_a_number_that_has_changed_since(self) -> None:
        """The person may be on the phone, and nobody has asked for another call."""
        assert own_calls([call("old")], task_run(), OTHER_NUMBER) == (["old"], [])

    def test_after_a_clear_its_calls_are_of_an_earlier_round(self) -> None:
        """Those that it has placed since the clear are not."""
        calls = [call("before"), call("since", at=-1, generation=AFTER_CLEAR)]

        assert own_calls(calls, cleared()) == (["since"], ["before"])

    def test_after_a_clear_calls_to_another_number_are_not_its_own(self) -> None:
        """The number was corrected: nobody has called the right one yet."""
        calls = [call("before")]

        assert own_calls(calls, cleared(), OTHER_NUMBER) == ([], [])

    def test_a_retry_after_a_clear_continues_with_the_call_since_whatever_its_number(self) -> None:
        """As without a clear: the generation says that this is a retry."""
        since = call("since", at=-1, generation=AFTER_CLEAR)

        assert own_calls([since], cleared(), OTHER_NUMBER) == (["since"], [])

    def test_a_call_without_a_time_is_the_oldest(self) -> None:
        """An order is all that its time is needed for."""
        calls = [call("no time", created_at=None), call("bad time", created_at="soon"), call("known")]

        assert own_calls(calls, task_run()) == (["known", "no time", "bad time"], [])

    def test_a_call_that_was_in_progress_at_the_clear_belongs_to_the_new_round(self) -> None:
        """The task has continued with it, so its outcome is the answer to the clear."""
        run = cleared(started=minutes(-10))
        ended_since = call("continued", at=-12, ended=-5)
        ended_before = call("over", at=-30, ended=-15)

        assert own_calls([ended_since, ended_before], run) == (["continued"], ["over"])

    @pytest.mark.parametrize(
        ("started", "change"),
        [(None, {}), (-10, {"ended_at": None}), (-10, {"created_at": None}), (-13, {})],
        ids=["start unknown", "end unknown", "begin unknown", "placed after the start"],
    )
    def test_in_doubt_a_call_before_the_clear_stays_of_the_earlier_round(
        self, started: float | None, change: dict[str, Any]
    ) -> None:
        """Its generation says so."""
        run = cleared(started=None if started is None else minutes(started))

        assert own_calls([call("before", at=-12, ended=-5, **change)], run) == ([], ["before"])


class TestMapped:
    """One of many task instances, recognised by its position in a list of contacts that may change."""

    def test_a_retry_knows_only_calls_of_its_own_index(self) -> None:
        """Even if the list has the same number twice: both are called."""
        calls = [call("0", map_index=0), call("1", map_index=1)]

        assert own_calls(calls, task_run(0)) == (["0"], [])
        assert own_calls(calls, task_run(2)) == ([], [])

    @pytest.mark.parametrize(
        ("change", "before", "after"),
        [
            ("unchanged", "ABC", "ABC"),
            ("inserted in front", "ABC", "XABC"),
            ("inserted in the middle", "ABC", "AXBC"),
            ("removed", "ABC", "BC"),
            ("reversed", "ABC", "CBA"),
            ("replaced", "ABC", "AXC"),
            ("all of it", "ABC", "CXA"),
        ],
    )
    def test_after_a_clear_each_contact_keeps_its_call(self, change: str, before: str, after: str) -> None:
        """Whatever became of the list, a contact has the call to its own number; a new one has none."""
        numbers = {name: f"+1813555000{ord(name) % 10}" for name in "ABCX"}
        calls = [
            call(name, map_index=index, to_number=numbers[name], at=-60 + index)
            for index, name in enumerate(before)
        ]

        found = {name: own_calls(calls, cleared(index), numbers[name]) for index, name in enumerate(after)}

        assert found == {name: ([], [name] if name in before else []) for name in after}

    def test_a_number_that_is_twice_in_the_list_prefers_the_call_of_its_own_index(self) -> None:
        """After a clear, it also has the other one's: better than to call again."""
        calls = [call("0", map_index=0, at=-60), call("1", map_index=1, at=-50)]

        assert own_calls(calls, cleared(0)) == ([], ["0", "1"])
        assert own_calls(calls, cleared(1)) == ([], ["1", "0"])

    @pytest.mark.parametrize("lacks", [True, False])
    def test_a_call_of_another_index_that_does_not_say_to_whom_it_went_is_not_its_own(
        self, lacks: bool
    ) -> None:
        """It may be to anybody. That the number is null says as little as that it is missing."""
        theirs = call("theirs", map_index=1, to_number=None)
        ours = call("ours", map_index=0, to_number=None)
        if lacks:
            del theirs["to_number"], ours["to_number"]

        assert own_calls([theirs, ours], cleared(0)) == ([], ["ours"])

    def test_an_index_that_may_have_another_contact_now_needs_the_number_to_match(self) -> None:
        """Airflow doesn't change the generation of a task that is cleared while its process runs."""
        run = task_run(1, was_cleared=True)

        assert own_calls([call("neighbour", map_index=1)], run, OTHER_NUMBER) == ([], [])
        assert own_calls([call("own", map_index=1)], run) == (["own"], [])

    def test_a_retry_in_a_run_without_clears_continues_whatever_the_number(self) -> None:
        """As an unmapped task does."""
        assert own_calls([call("old", map_index=1)], task_run(1), OTHER_NUMBER) == (["old"], [])

    def test_an_index_that_a_clear_has_created_has_the_calls_that_are_older_than_itself(self) -> None:
        """The list grew, and its last contact has an index that didn't exist before."""
        run = task_run(3, is_first=True, expanded_at=minutes(-10))
        calls = [
            call("moved", map_index=2, at=-11),
            call("younger", map_index=1, at=-9),
            call("no time", map_index=0, created_at=None),
        ]

        assert own_calls(calls, run) == ([], ["moved"])

    def test_a_call_in_progress_moves_with_its_contact(self) -> None:
        """And its outcome belongs to the new round, wherever it was placed."""
        run = cleared(1, started=minutes(-10))
        sibling = call("of a sibling in this round", map_index=2, at=-8, ended=-7)

        assert own_calls([call("moved", map_index=0, at=-12, ended=-5), sibling], run) == (
            ["moved"],
            ["of a sibling in this round"],
        )


class TestAttempts:
    """What becomes the XCom `attempts`."""

    CALLS: Calls = [  # noqa: RUF012 - a table
        call("1a", "busy", at=-90, generation=2, attempt=1),
        call("1b", "busy", at=-80, generation=2, attempt=2),
        call("2a", "busy", at=-60, generation=5, attempt=1),
        call("2b", "completed", at=-50, generation=5, attempt=2),
    ]

    @pytest.mark.parametrize(
        ("generation", "of", "attempts"),
        [
            (5, "2b", ["2a", "2b"]),
            (8, "2b", ["2a", "2b"]),
            (8, "1b", ["1a", "1b"]),
        ],
        ids=["of this round", "of the last round", "of the first round"],
    )
    def test_they_are_the_calls_of_one_round_oldest_first(
        self, generation: int, of: str, attempts: list[str]
    ) -> None:
        """A task that is cleared and pushes an old record again pushes the attempts that it belongs to."""
        history = History.of(self.CALLS, cleared(generation=generation), NUMBER)
        chosen = next(each for each in self.CALLS if each["id"] == of)

        assert [each["id"] for each in history.attempts_with(chosen)] == attempts

    def test_a_call_that_was_continued_after_a_clear_is_one_of_the_new_round(self) -> None:
        """The redial after it is the second attempt."""
        run = cleared(started=minutes(-10))
        continued = call("continued", "busy", at=-12, ended=-9)
        redial = call("redial", at=-5, generation=AFTER_CLEAR, attempt=2)
        history = History.of([redial, continued], run, NUMBER)

        assert [each["id"] for each in history.attempts_with(redial)] == ["continued", "redial"]

    def test_all_calls_are_kept_in_the_order_in_which_they_were_placed(self) -> None:
        """Those of this round; before its first call, those of all earlier rounds and of other indices."""
        moved = call("moved", map_index=1, at=-70)

        before = History.of([*self.CALLS, moved], cleared(generation=8), NUMBER)
        since = History.of([*self.CALLS, moved], cleared(generation=5), NUMBER)

        assert [each["id"] for each in before.attempts] == ["1a", "1b", "moved", "2a", "2b"]
        assert [each["id"] for each in since.attempts] == ["2a", "2b"]
        assert History().attempts == ()
