"""The rules of placing, without I/O: whose call is it, how far is searched, attach or dial."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.rules.dialling import (
    CLOCK_MARGIN,
    Attach,
    Dial,
    Search,
    TaskRun,
    decide,
    with_identity,
)

NOW = datetime.now(timezone.utc)
IDENTITY = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": 3}


def task_run(since: datetime | None = NOW, generation: int = 3, *, was_cleared: bool = False) -> TaskRun:
    return TaskRun(IDENTITY, since, is_first=False, generation=generation, was_cleared=was_cleared)


def context(**attributes: Any) -> dict[str, Any]:
    """A context of a retry in a DAG run that was due an hour ago."""
    task = SimpleNamespace(retries=3)
    ti = {**IDENTITY, "try_number": 2, "max_tries": 3, "task": task}
    dag_run = {"run_after": NOW - timedelta(hours=1), "start_date": NOW, "clear_number": 0}
    for name, value in attributes.items():
        (dag_run if name in dag_run or name == "data_interval_end" else ti)[name] = value
    return {"ti": SimpleNamespace(**ti), "dag_run": SimpleNamespace(**dag_run)}


def call(
    status: str = "dialing", number: int = 1, generation: int | None = None, **fields: Any
) -> dict[str, Any]:
    mark = {} if generation is None else {"generation": generation}
    return {
        "id": f"call-{number}",
        "status": status,
        "created_at": (NOW + timedelta(minutes=number)).isoformat(),
        "request_metadata": {"airflow": IDENTITY | mark},
        **fields,
    }


class TestTaskRun:
    """What is read of Airflow's context."""

    def test_the_identity_has_no_try_number(self) -> None:
        """All tries of a task share it; a task that isn't mapped has index -1 on every Airflow."""
        read = TaskRun.from_context(context(map_index=None))

        assert read.identity == IDENTITY | {"map_index": -1}

    def test_calls_are_searched_from_when_the_run_was_due(self) -> None:
        """Not from the run's start, which a clear resets; clocks may differ."""
        read = TaskRun.from_context(context())

        assert read.since == NOW - timedelta(hours=1) - CLOCK_MARGIN

    def test_airflow_2_has_the_data_interval_instead(self) -> None:
        """Its end is when a run is due."""
        read = TaskRun.from_context(context(run_after=None, data_interval_end=NOW))

        assert read.since == NOW - CLOCK_MARGIN

    def test_a_run_of_the_future_bounds_nothing(self) -> None:
        """Airflow 2 may be told to run it now: its date would hide its own calls."""
        read = TaskRun.from_context(context(run_after=NOW + timedelta(days=1)))

        assert read.since is None

    def test_a_run_that_began_before_it_was_due(self) -> None:
        """It was one of the future then; its calls are as old as its start."""
        due, start = NOW - timedelta(minutes=10), NOW - timedelta(hours=2)

        read = TaskRun.from_context(context(run_after=None, data_interval_end=due, start_date=start))

        assert read.since == start - CLOCK_MARGIN

    @pytest.mark.parametrize(
        ("attributes", "is_first"),
        [
            ({"try_number": 1}, True),
            ({"try_number": 2}, False),
            ({"try_number": 1, "clear_number": 1}, False),
            ({"try_number": None}, False),
        ],
    )
    def test_the_first_try_of_all(self, attributes: dict[str, Any], is_first: bool) -> None:
        """Only then nobody else can have dialled."""
        assert TaskRun.from_context(context(**attributes)).is_first is is_first

    def test_without_a_dag_run_nothing_is_first(self) -> None:
        """What isn't known is not taken for granted."""
        read = TaskRun.from_context({"ti": context(try_number=1)["ti"]})

        assert (read.is_first, read.since) == (False, None)

    @pytest.mark.parametrize(
        ("attributes", "was_cleared"),
        [
            ({}, False),
            ({"max_tries": 4}, True),
            ({"clear_number": 1}, True),
            ({"clear_number": None}, False),
            ({"max_tries": None}, True),
            ({"task": None}, True),
        ],
    )
    def test_a_clear(self, attributes: dict[str, Any], was_cleared: bool) -> None:
        """It raises ``max_tries``; the DAG run doesn't count each of them."""
        read = TaskRun.from_context(context(**attributes))

        assert read.was_cleared is was_cleared

    def test_an_edit_of_the_retries_begins_no_generation(self) -> None:
        """Airflow keeps ``max_tries`` when the DAG's ``retries`` change: a mere retry stays one."""
        before, after = context(), context(task=SimpleNamespace(retries=7))

        assert TaskRun.from_context(before).generation == TaskRun.from_context(after).generation == 3


class TestMetadata:
    """The identity in the call's metadata."""

    def test_it_stands_beside_the_authors_own(self) -> None:
        """Under the key ``airflow``."""
        given = {"crm_id": "123"}

        assert with_identity(given, task_run(), reattach=True) == {"crm_id": "123", "airflow": IDENTITY}
        assert with_identity({}, task_run(), reattach=True) == {"airflow": IDENTITY}

    def test_without_reattach_the_generation_is_sent_too(self) -> None:
        """So that a retry knows which of its calls were placed since the clear."""
        marked = with_identity({}, task_run(generation=5), reattach=False)

        assert marked == {"airflow": IDENTITY | {"generation": 5}}

    def test_the_author_may_not_use_our_key(self) -> None:
        """Whatever stands there."""
        with pytest.raises(TelzinoConfigurationError, match="key 'airflow'"):
            with_identity({"airflow": None}, task_run(), reattach=True)


class TestSearch:
    """A search through the list, page by page."""

    def test_only_the_tasks_own_calls_are_found(self) -> None:
        """The whole identity must be the same, not only a part of it; more may stand beside it."""
        search = Search(task_run())
        others = [
            None,
            {},
            {"airflow": None},
            {"airflow": {**IDENTITY, "map_index": 4}},
            {"airflow": "text"},
            {"airflow": {name: IDENTITY[name] for name in ("dag_id", "run_id", "task_id")}},
        ]

        page = [call(number=n, request_metadata=each) for n, each in enumerate(others, 2)]
        search.take(page, more=True)
        search.take([call(number=1), call(number=0, generation=7)], more=False)

        assert [each["id"] for each in search.own] == ["call-1", "call-0"]

    def test_it_ends_with_the_list(self) -> None:
        """Then all was seen."""
        search = Search(task_run(since=None))

        assert search.take([call()], more=True) is True
        assert search.complete is False
        assert search.take([call(number=2)], more=False) is False
        assert search.complete is True

    def test_it_ends_where_the_task_had_not_begun(self) -> None:
        """A page whose last call is older than the run: what follows is older still."""
        search = Search(task_run())

        wants_more = search.take([call(), call(number=-1)], more=True)

        assert (wants_more, search.complete) == (False, True)
        assert [each["id"] for each in search.own] == ["call-1"]

    def test_it_ends_with_its_pages_and_says_so(self) -> None:
        """Not to have seen all is not the same as to have found nothing."""
        search = Search(task_run(), max_pages=2)

        assert search.take([call(number=5)], more=True) is True
        assert search.take([call(number=4)], more=True) is False
        assert search.complete is False

    @pytest.mark.parametrize("created_at", [None, "", "yesterday"])
    def test_a_call_without_a_time_ends_nothing(self, created_at: str | None) -> None:
        """It may be the task's, and so may those after it."""
        search = Search(task_run())

        assert search.take([call(created_at=created_at)], more=True) is True
        assert len(search.own) == 1

    def test_a_call_that_comes_on_two_pages_counts_once(self) -> None:
        """As happens when another is placed meanwhile."""
        search = Search(task_run())

        search.take([call()], more=True)
        search.take([call()], more=False)

        assert len(search.own) == 1

    def test_a_call_of_which_the_list_says_too_little_is_unclear(self) -> None:
        """Without metadata or status, its record has to be looked at; it takes its place by age."""
        bare = {"id": "call-2", "created_at": call(number=2)["created_at"]}
        search = Search(task_run())

        search.take([bare, call(number=1)], more=False)
        unclear = list(search.unclear)
        search.take_record(call(number=2))
        search.take_record(call(number=3, request_metadata=None))

        assert unclear == ["call-2"]
        assert [each["id"] for each in search.own] == ["call-2", "call-1"]


FAIL_ON = ("busy", "no_answer")


class TestDecision:
    """Attach or dial, given the task's calls, newest first."""

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
        """It dials only when all its calls ended in ``fail_on``, after a clear and in a retry alike."""
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
        """Only calls of this generation count, and live ones: a clear dials once, whatever dies meanwhile."""
        own = [call(status, number, generation) for number, (status, generation) in enumerate(calls)]

        step = decide(own, task_run(generation=9, was_cleared=True), fail_on=FAIL_ON, reattach=False)

        assert (step.call if isinstance(step, Attach) else None) == (
            None if attached is None else own[attached]
        )

    def test_a_call_without_a_generation_counts_until_there_was_a_clear(self) -> None:
        """The task had ``reattach`` on when it placed it; turning it off isn't a clear."""
        step = decide([call("completed")], task_run(), fail_on=FAIL_ON, reattach=False)

        assert isinstance(step, Attach)

    def test_an_unknown_status_is_live_until_it_has_an_end(self) -> None:
        """As everywhere: ``ended_at`` decides."""
        live, ended = call("transferring", ended_at=None), call("voicemail", ended_at=NOW.isoformat())
        rules: dict[str, Any] = {"fail_on": ["voicemail"], "reattach": True}

        assert isinstance(decide([live], task_run(), **rules), Attach)
        assert isinstance(decide([ended], task_run(), **rules), Dial)

    def test_it_says_why(self) -> None:
        """For the log: statuses, no more."""
        rules: dict[str, Any] = {"fail_on": FAIL_ON, "reattach": True}

        assert "ended with busy, which is in `fail_on`" in decide([call("busy")], task_run(), **rules).why
        assert decide([call("dialing")], task_run(), **rules).why == "it is dialing"
