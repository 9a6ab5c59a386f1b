"""The rules of placing, without I/O: whose call is it, how far is searched, attach or dial."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_telzino.exceptions import TelzinoConfigurationError
from airflow_provider_telzino.placing import (
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


def task_run(since: datetime | None = NOW) -> TaskRun:
    return TaskRun(IDENTITY, since, is_first=False, begins_anew=False)


def context(**attributes: Any) -> dict[str, Any]:
    """A context of a retry in a DAG run that was due an hour ago."""
    task = SimpleNamespace(retries=3)
    ti = {**IDENTITY, "try_number": 2, "max_tries": 3, "task": task}
    dag_run = {"run_after": NOW - timedelta(hours=1), "start_date": NOW, "clear_number": 0}
    for name, value in attributes.items():
        (dag_run if name in dag_run or name == "data_interval_end" else ti)[name] = value
    return {"ti": SimpleNamespace(**ti), "dag_run": SimpleNamespace(**dag_run)}


def call(status: str = "dialing", number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"call-{number}",
        "status": status,
        "created_at": (NOW + timedelta(minutes=number)).isoformat(),
        "request_metadata": {"airflow": dict(IDENTITY)},
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
        ("try_number", "max_tries", "begins_anew"),
        [(1, 3, True), (2, 3, False), (4, 3, False), (3, 5, True), (4, 5, False)],
    )
    def test_the_first_try_after_a_clear(self, try_number: int, max_tries: int, begins_anew: bool) -> None:
        """A clear raises ``max_tries`` to the tries so far and the task's retries."""
        read = TaskRun.from_context(context(try_number=try_number, max_tries=max_tries))

        assert read.begins_anew is begins_anew


class TestMetadata:
    """The identity in the call's metadata."""

    def test_it_stands_beside_the_authors_own(self) -> None:
        """Under the key ``airflow``."""
        assert with_identity({"crm_id": "123"}, IDENTITY) == {"crm_id": "123", "airflow": IDENTITY}
        assert with_identity(None, IDENTITY) == {"airflow": IDENTITY}

    def test_the_author_may_not_use_our_key(self) -> None:
        """Whatever stands there."""
        with pytest.raises(TelzinoConfigurationError, match="key 'airflow'"):
            with_identity({"airflow": None}, IDENTITY)


class TestSearch:
    """A search through the list, page by page."""

    def test_only_the_tasks_own_calls_are_found(self) -> None:
        """The whole identity must be the same, not only a part of it."""
        search = Search(task_run())
        others = [
            None,
            {},
            {"airflow": None},
            {"airflow": {**IDENTITY, "map_index": 4}},
            {"airflow": {**IDENTITY, "more": 1}},
            {"airflow": {name: IDENTITY[name] for name in ("dag_id", "run_id", "task_id")}},
        ]

        page = [call(number=n, request_metadata=each) for n, each in enumerate(others, 2)]
        search.take(page, more=True)
        search.take([call(number=1)], more=False)

        assert [each["id"] for each in search.own] == ["call-1"]

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
    @pytest.mark.parametrize("begins_anew", [True, False])
    def test_with_reattach(self, statuses: list[str], attached: int | None, begins_anew: bool) -> None:
        """It dials only when all its calls ended in ``fail_on``, after a clear and in a retry alike."""
        own = [call(status, number) for number, status in enumerate(statuses)]

        step = decide(own, fail_on=FAIL_ON, reattach=True, begins_anew=begins_anew)

        assert (step.call if isinstance(step, Attach) else None) == (
            None if attached is None else own[attached]
        )

    @pytest.mark.parametrize(
        ("statuses", "begins_anew", "attached"),
        [
            (["completed"], True, None),
            (["completed"], False, 0),
            (["in_progress"], True, 0),
            (["busy", "in_progress"], True, 1),
            (["busy", "completed"], False, None),
            (["completed", "completed"], False, 0),
        ],
    )
    def test_without_reattach(self, statuses: list[str], begins_anew: bool, attached: int | None) -> None:
        """A clear dials again once the call has ended; a retry still only after ``fail_on``."""
        own = [call(status, number) for number, status in enumerate(statuses)]

        step = decide(own, fail_on=FAIL_ON, reattach=False, begins_anew=begins_anew)

        assert (step.call if isinstance(step, Attach) else None) == (
            None if attached is None else own[attached]
        )

    def test_an_unknown_status_is_live_until_it_has_an_end(self) -> None:
        """As everywhere: ``ended_at`` decides."""
        live, ended = call("transferring", ended_at=None), call("voicemail", ended_at=NOW.isoformat())
        rules: dict[str, Any] = {"fail_on": FAIL_ON, "reattach": False, "begins_anew": True}

        assert isinstance(decide([live], **rules), Attach)
        assert isinstance(decide([ended], **rules), Dial)

    def test_it_says_why(self) -> None:
        """For the log: statuses, no more."""
        rules: dict[str, Any] = {"fail_on": FAIL_ON, "reattach": True, "begins_anew": False}

        assert "ended with busy, which is in `fail_on`" in decide([call("busy")], **rules).why
        assert decide([call("dialing")], **rules).why == "it is dialing"
