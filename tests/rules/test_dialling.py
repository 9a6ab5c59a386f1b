"""The rules for placing a call: whose call is it, how far to search, continue with a call or dial."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.rules.dialling import (
    CLOCK_MARGIN,
    Attach,
    Dial,
    SearchPass,
    SearchPlan,
    TaskRun,
    TaskState,
    decide,
    plan_search,
    with_identity,
)

NOW = datetime.now(timezone.utc)
IDENTITY = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": 3}


def task_run(since: datetime | None = NOW, generation: int = 3, *, was_cleared: bool = False) -> TaskRun:
    return TaskRun(IDENTITY, since, is_first=False, generation=generation, was_cleared=was_cleared)


def call(
    status: str = "dialing", number: int = 1, generation: int | None = None, **fields: Any
) -> dict[str, Any]:
    more = {} if generation is None else {"generation": generation}
    return {
        "id": f"call-{number}",
        "status": status,
        "created_at": (NOW + timedelta(minutes=number)).isoformat(),
        "request_metadata": {"airflow": IDENTITY | more},
        **fields,
    }


class TestMetadata:
    """The identity in the call's metadata."""

    def test_it_is_added_to_the_authors_own(self) -> None:
        """Under the key ``airflow``."""
        given = {"crm_id": "123"}

        assert with_identity(given, task_run(), reattach=True) == {"crm_id": "123", "airflow": IDENTITY}
        assert with_identity({}, task_run(), reattach=True) == {"airflow": IDENTITY}

    def test_without_reattach_the_generation_is_added_too(self) -> None:
        """So that a retry knows which of its calls were placed since the clear."""
        metadata = with_identity({}, task_run(generation=5), reattach=False)

        assert metadata == {"airflow": IDENTITY | {"generation": 5}}

    def test_the_author_may_not_use_our_key(self) -> None:
        """Whatever value it has."""
        with pytest.raises(TelzinoConfigurationError, match="key 'airflow'"):
            with_identity({"airflow": None}, task_run(), reattach=True)


STORED = NOW - timedelta(minutes=10)
ONE_PAGE = SearchPlan(NOW, 1, (0.0,), is_exhaustive=False)
ONE_PASS = SearchPlan(NOW, 100, (0.0,), is_exhaustive=False)
SINCE_THE_RUN = SearchPlan(NOW, 100, (0.0, 5.0, 10.0), is_exhaustive=True)
SINCE_STORED = replace(SINCE_THE_RUN, since=STORED - CLOCK_MARGIN)


class TestPlan:
    """How far to search, for every combination of what is known."""

    @pytest.mark.parametrize(
        ("state", "first", "retry", "first_of_cleared", "cleared"),
        [
            (TaskState(is_supported=False), ONE_PAGE, SINCE_THE_RUN, ONE_PAGE, SINCE_THE_RUN),
            (TaskState(is_readable=False), *[SINCE_THE_RUN] * 4),
            # Each try stores that it is about to dial. After a clear, Airflow may have deleted that.
            (TaskState(), ONE_PAGE, ONE_PASS, ONE_PAGE, SINCE_THE_RUN),
            (TaskState(dialling_since=STORED), *[SINCE_STORED] * 4),
            (TaskState(call=call("busy", -10)), *[SINCE_STORED] * 4),
            (TaskState(call=call("busy", created_at=None)), *[SINCE_THE_RUN] * 4),
            (TaskState(call=call("busy", -10), dialling_since=NOW), *[SINCE_STORED] * 4),
        ],
    )
    def test_each_case(
        self,
        state: TaskState,
        first: SearchPlan,
        retry: SearchPlan,
        first_of_cleared: SearchPlan,
        cleared: SearchPlan,
    ) -> None:
        """Only a first try, and a task that never was about to dial, may do with less than all."""
        plans = [
            plan_search(TaskRun(IDENTITY, NOW, is_first, 3, was_cleared), state)
            for was_cleared in (False, True)
            for is_first in (True, False)
        ]

        assert plans == [first, retry, first_of_cleared, cleared]

    @pytest.mark.parametrize("is_first", [True, False])
    def test_without_a_start_of_the_run_no_call_is_too_old(self, is_first: bool) -> None:
        """The search is then bounded by its pages only."""
        run = replace(task_run(since=None), is_first=is_first)

        assert plan_search(run, TaskState()).since is None
        assert plan_search(run, TaskState(is_readable=False)).since is None


def search_pass(since: datetime | None = NOW, max_pages: int = 100) -> SearchPass:
    return SearchPass(IDENTITY, replace(SINCE_THE_RUN, since=since, max_pages=max_pages))


class TestSearchPass:
    """A pass through the list, page by page."""

    def test_only_the_tasks_own_calls_are_found(self) -> None:
        """The whole identity must match, not only a part of it; there may be more in the metadata."""
        search = search_pass()
        others = [
            None,
            {},
            {"airflow": None},
            {"airflow": {**IDENTITY, "map_index": 4}},
            {"airflow": "text"},
            {"airflow": {name: IDENTITY[name] for name in ("dag_id", "run_id", "task_id")}},
        ]

        page = [call(number=n, request_metadata=each) for n, each in enumerate(others, 2)]
        search.add_page(page, more=True)
        search.add_page([call(number=1), call(number=0, generation=7)], more=False)

        assert [each["id"] for each in search.own] == ["call-1", "call-0"]

    def test_it_ends_with_the_list(self) -> None:
        """Then it has seen everything."""
        search = search_pass(since=None)

        assert search.add_page([call()], more=True) is True
        assert search.is_complete is False
        assert search.add_page([call(number=2)], more=False) is False
        assert search.is_complete is True

    def test_it_ends_at_calls_that_are_older_than_the_task(self) -> None:
        """If the last call of a page is too old, all that follow are."""
        search = search_pass()

        wants_more = search.add_page([call(), call(number=-1)], more=True)

        assert (wants_more, search.is_complete) == (False, True)
        assert [each["id"] for each in search.own] == ["call-1"]

    def test_it_ends_with_its_last_page_and_says_so(self) -> None:
        """Not having seen everything is not the same as having found nothing."""
        search = search_pass(max_pages=2)

        assert search.add_page([call(number=5)], more=True) is True
        assert search.add_page([call(number=4)], more=True) is False
        assert search.is_complete is False

    @pytest.mark.parametrize("created_at", [None, "", "yesterday"])
    def test_a_call_without_a_time_does_not_end_it(self, created_at: str | None) -> None:
        """It may be the task's, and so may those after it."""
        search = search_pass()

        assert search.add_page([call(created_at=created_at)], more=True) is True
        assert len(search.own) == 1

    def test_a_call_that_appears_on_two_pages_counts_once(self) -> None:
        """This happens when another call is placed meanwhile."""
        search = search_pass()

        search.add_page([call()], more=True)
        search.add_page([call()], more=False)

        assert len(search.own) == 1

    def test_a_call_that_the_list_says_too_little_about_is_unidentified(self) -> None:
        """Without metadata or status, its record has to be requested; it is then sorted in by its age."""
        bare = {"id": "call-2", "created_at": call(number=2)["created_at"]}
        search = search_pass()

        search.add_page([bare, call(number=1)], more=False)
        unidentified = list(search.unidentified)
        search.add_record(call(number=2))
        search.add_record(call(number=3, request_metadata=None))

        assert unidentified == ["call-2"]
        assert [each["id"] for each in search.own] == ["call-2", "call-1"]


FAIL_ON = ("busy", "no_answer")


class TestDecision:
    """Continue with a call or dial, given the task's calls, newest first."""

    @pytest.mark.parametrize(
        ("statuses", "attached"),
        [
            ([], None),
            (["queued"], 0),
            (["completed"], 0),
            (["failed"], 0),
            (["busy"], None),
            (["no_answer", "busy"], None),
            (["dialing", "busy"], 0),
            (["completed", "busy"], 0),
            # Two copies of the task have dialled: the line was busy with the other call.
            (["busy", "in_progress"], 1),
            (["busy", "completed"], 1),
            (["in_progress", "dialing"], 0),
        ],
    )
    @pytest.mark.parametrize("was_cleared", [True, False])
    def test_with_reattach(self, statuses: list[str], attached: int | None, was_cleared: bool) -> None:
        """It dials only if all its calls ended in ``fail_on``, after a clear as in a retry."""
        own = [call(status, number) for number, status in enumerate(statuses)]

        step = decide(own, task_run(was_cleared=was_cleared), fail_on=FAIL_ON, reattach=True)

        assert (step.call if isinstance(step, Attach) else None) == (
            None if attached is None else own[attached]
        )

    @pytest.mark.parametrize(
        ("calls", "attached"),
        [
            ([], None),
            ([("completed", 5)], None),  # the first try after the clear died before it dialled
            ([("completed", 9)], 0),
            ([("completed", 9), ("completed", 5)], 0),
            ([("busy", 9), ("completed", 5)], None),
            ([("busy", 9), ("completed", 9)], 1),
            ([("in_progress", 5)], 0),
            ([("busy", 9), ("in_progress", 5)], 1),
            ([("completed", None)], None),
        ],
    )
    def test_without_reattach(self, calls: list[tuple[str, int | None]], attached: int | None) -> None:
        """Only live calls and those since the clear count: a clear dials once, whatever crashes."""
        own = [call(status, number, generation) for number, (status, generation) in enumerate(calls)]

        step = decide(own, task_run(generation=9, was_cleared=True), fail_on=FAIL_ON, reattach=False)

        assert (step.call if isinstance(step, Attach) else None) == (
            None if attached is None else own[attached]
        )

    def test_a_call_without_a_generation_counts_until_the_task_is_cleared(self) -> None:
        """The task had ``reattach=True`` when it placed it; to change that is not a clear."""
        step = decide([call("completed")], task_run(), fail_on=FAIL_ON, reattach=False)

        assert isinstance(step, Attach)

    def test_an_unknown_status_is_live_until_it_has_an_end(self) -> None:
        """``ended_at`` decides, as everywhere."""
        live, ended = call("transferring", ended_at=None), call("voicemail", ended_at=NOW.isoformat())
        rules: dict[str, Any] = {"fail_on": ["voicemail"], "reattach": True}

        assert isinstance(decide([live], task_run(), **rules), Attach)
        assert isinstance(decide([ended], task_run(), **rules), Dial)

    def test_it_gives_the_reason(self) -> None:
        """For the log: statuses and nothing else."""
        rules: dict[str, Any] = {"fail_on": FAIL_ON, "reattach": True}

        assert "ended with busy, which is in `fail_on`" in decide([call("busy")], task_run(), **rules).why
        assert decide([call("dialing")], task_run(), **rules).why == "it is dialing"
