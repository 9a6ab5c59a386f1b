"""How far to search for a task's calls, and what a pass through the agent's list finds."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from airflow_provider_telzino.rules.identity import TaskRun
from airflow_provider_telzino.rules.search import (
    CLOCK_MARGIN,
    KnownCalls,
    SearchPass,
    SearchPlan,
    exhaustive_search,
    plan_search,
)
from tests.support.histories import AFTER_CLEAR, NOW, TASK, call, cleared, minutes, task_run

SINCE = minutes(-600)
STORED = minutes(-10)
ONE_PAGE = SearchPlan(SINCE, 1, (0.0,), is_exhaustive=False)
ONE_PASS = SearchPlan(SINCE, 100, (0.0,), is_exhaustive=False)
SINCE_THE_RUN = SearchPlan(SINCE, 100, (0.0, 5.0, 10.0), is_exhaustive=True)
SINCE_STORED = replace(SINCE_THE_RUN, since=STORED - CLOCK_MARGIN)
FIRST, RETRY, CLEARED = task_run(is_first=True), task_run(), cleared()


class TestPlan:
    """How far to search, for every combination of what is known."""

    @pytest.mark.parametrize(
        ("known", "first", "retry", "after_clear"),
        [
            # This Airflow has no task state: whatever ran before may have dialled.
            (KnownCalls(is_supported=False), ONE_PAGE, SINCE_THE_RUN, SINCE_THE_RUN),
            # It has one, and no process has stored that it was about to dial.
            (KnownCalls(), ONE_PAGE, ONE_PASS, SINCE_THE_RUN),
            # Nothing is stored, but a clear may have deleted it: the task may have dialled before.
            (KnownCalls(may_be_deleted=True), ONE_PAGE, SINCE_THE_RUN, SINCE_THE_RUN),
            # Unreadable is not empty: what the task state says counts, not the try number.
            (KnownCalls(is_readable=False), SINCE_THE_RUN, SINCE_THE_RUN, SINCE_THE_RUN),
            # A dial is unaccounted for, on its own or beside calls that are known.
            (KnownCalls(dialling_since=STORED), SINCE_STORED, SINCE_STORED, SINCE_STORED),
            (KnownCalls(calls=(call("a", "busy"),), dialling_since=STORED), *[SINCE_STORED] * 3),
            # All calls are known: an ordinary redial needs no search, and no pause.
            (KnownCalls(calls=(call("a", "busy"),)), None, None, None),
            (KnownCalls(is_supported=False, calls=(call("a", "busy"),)), None, None, None),
        ],
    )
    def test_an_unmapped_task(
        self,
        known: KnownCalls,
        first: SearchPlan | None,
        retry: SearchPlan | None,
        after_clear: SearchPlan | None,
    ) -> None:
        """It searches only for a call that may have been placed without being known."""
        assert [plan_search(run, known) for run in (FIRST, RETRY, CLEARED)] == [first, retry, after_clear]

    @pytest.mark.parametrize(
        ("run", "calls", "plan"),
        [
            (task_run(1), [call("a", map_index=1)], None),
            (cleared(1), [call("a", map_index=1, generation=AFTER_CLEAR)], None),
            (
                cleared(1),
                [call("a", map_index=1), call("b", map_index=1, generation=AFTER_CLEAR)],
                None,
            ),
            (cleared(1), [call("a", map_index=1)], SINCE_THE_RUN),
            # Its generation is that of this round, but at another map index.
            (cleared(1), [call("a", map_index=0, generation=AFTER_CLEAR)], SINCE_THE_RUN),
        ],
        ids=["not cleared", "since the clear", "before and since", "before the clear", "moved here"],
    )
    def test_a_mapped_task_searches_after_a_clear_though_it_knows_earlier_calls(
        self, run: TaskRun, calls: list[dict[str, Any]], plan: SearchPlan | None
    ) -> None:
        """Its contact may have been at another index in the meantime, and have been called there."""
        assert plan_search(run, KnownCalls(calls=tuple(calls))) == plan

    @pytest.mark.parametrize(("is_supported", "plan"), [(True, ONE_PAGE), (False, ONE_PASS)])
    def test_a_new_map_index_searches_the_whole_list_where_airflow_may_not_count_a_clear(
        self, is_supported: bool, plan: SearchPlan
    ) -> None:
        """Before Airflow 3.2 a clear of an unfinished DAG run may have moved a contact there unnoticed."""
        run = task_run(3, is_first=True, expanded_at=minutes(-10))

        assert plan_search(run, KnownCalls(is_supported=is_supported)) == plan

    @pytest.mark.parametrize("run", [FIRST, RETRY, CLEARED], ids=["first", "retry", "cleared"])
    def test_without_a_start_of_the_run_no_call_is_too_old(self, run: TaskRun) -> None:
        """The search is then bounded by its pages only."""
        plan = plan_search(replace(run, since=None), KnownCalls())

        assert plan is not None
        assert plan.since is None

    def test_a_lost_answer_is_searched_for_until_the_list_must_have_the_call(self) -> None:
        """Three passes in 15 seconds."""
        assert exhaustive_search(SINCE) == SINCE_THE_RUN


def search_pass(since: datetime | None = SINCE, max_pages: int = 100) -> SearchPass:
    """Begin a pass for the calls of the task with map index 3."""
    return SearchPass(task_run(3), replace(SINCE_THE_RUN, since=since, max_pages=max_pages))


def own(name: str, at: float = -60, **fields: Any) -> dict[str, Any]:
    """Return a call of the task."""
    return call(name, at=at, map_index=3, **fields)


def ids(search: SearchPass) -> list[str]:
    """Return the ids of the calls that were found."""
    return [each["id"] for each in search.found]


class TestSearchPass:
    """A pass through the list, page by page."""

    def test_it_finds_the_calls_of_the_task_in_this_run(self) -> None:
        """Of any map index, since a contact may have moved; nobody else's."""
        others = [
            None,
            {},
            {"airflow": None},
            {"airflow": "text"},
            {"airflow": {**TASK, "map_index": 3, "run_id": "other"}},
            {"airflow": {"dag_id": "d", "task_id": "t", "map_index": 3}},
        ]
        search = search_pass()

        search.add_page([own(str(n), request_metadata=each) for n, each in enumerate(others)], more=True)
        search.add_page([own("ours"), call("moved", map_index=4)], more=False)

        assert ids(search) == ["ours", "moved"]
        assert search.unidentified == []

    def test_it_ends_with_the_list(self) -> None:
        """Then it has seen everything."""
        search = search_pass(since=None)

        assert search.add_page([own("a")], more=True) is True
        assert search.is_complete is False
        assert search.add_page([own("b")], more=False) is False
        assert search.is_complete is True

    def test_an_empty_page_does_not_end_it(self) -> None:
        """Only the list says that it has ended."""
        search = search_pass()

        assert search.add_page([], more=True) is True
        assert search.is_complete is False

    def test_it_ends_at_calls_that_are_older_than_the_task(self) -> None:
        """The list has the newest first: if the last call of a page is too old, all that follow are."""
        search = search_pass()

        wants_more = search.add_page([own("ours"), own("too old", at=-601)], more=True)

        assert (wants_more, search.is_complete) == (False, True)
        assert ids(search) == ["ours"]

    def test_a_call_at_the_very_start_of_the_task_is_not_too_old(self) -> None:
        """It belongs to the time that is searched."""
        search = search_pass()

        assert search.add_page([own("ours", at=-600)], more=True) is True
        assert ids(search) == ["ours"]

    def test_it_ends_with_its_last_page_and_says_so(self) -> None:
        """Not having seen everything is not the same as having found nothing."""
        search = search_pass(max_pages=2)

        assert search.add_page([own("a")], more=True) is True
        assert search.add_page([own("b")], more=True) is False
        assert search.is_complete is False

    @pytest.mark.parametrize("created_at", [None, "", "yesterday", 5])
    def test_a_call_without_a_time_does_not_end_it(self, created_at: object) -> None:
        """It may be the task's, and so may those after it."""
        search = search_pass()

        assert search.add_page([own("a", created_at=created_at)], more=True) is True
        assert ids(search) == ["a"]

    def test_a_call_that_appears_on_two_pages_counts_once(self) -> None:
        """This happens when another call is placed meanwhile."""
        search = search_pass()

        search.add_page([own("a")], more=True)
        search.add_page([own("a")], more=False)

        assert ids(search) == ["a"]

    def test_a_call_that_the_list_says_too_little_about_is_unidentified(self) -> None:
        """Without metadata or status, its record has to be requested."""
        no_metadata = {"id": "a", "status": "dialing", "created_at": NOW.isoformat()}
        no_status = {"id": "b", "created_at": NOW.isoformat(), "request_metadata": None}
        too_old = {"id": "c", "created_at": minutes(-601).isoformat()}
        search = search_pass()

        search.add_page([no_metadata, no_status, own("ours"), too_old], more=False)
        unidentified = list(search.unidentified)
        search.add_record(own("a"))
        search.add_record(own("b", request_metadata=None))

        assert unidentified == ["a", "b"]
        assert ids(search) == ["ours", "a"]
