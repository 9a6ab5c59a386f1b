"""Whom a campaign calls next, and how long it waits: tables, without clock and network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_telzino.rules.attempts import RedialRules
from airflow_provider_telzino.rules.campaign import (
    CampaignCalls,
    Pause,
    Standing,
    bare_call,
    clock_lead,
    contact_run,
    group,
    plan_pause,
    stand,
    wave_size,
)
from airflow_provider_telzino.rules.identity import TaskRun
from tests.support.histories import (
    AFTER_CLEAR,
    FIRST_ROUND,
    NOW,
    TASK,
    call,
    cleared,
    minutes,
    task_run,
)

RULES = RedialRules.checked(("no_answer", "busy"), 3, timedelta(minutes=30), fail_on=(), reattach=True)
MUCH_LATER = minutes(600)
TWO_MINUTES = timedelta(minutes=2)


@dataclass(frozen=True)
class Person:
    """A contact, as far as the rules know one."""

    key: str
    to_number: str


ANN, BOB, CLEO = Person("ann", "+18135550001"), Person("bob", "+18135550002"), Person("cleo", "+18135550003")
EVERYONE = (ANN, BOB, CLEO)


def call_to(person: Person, name: str, status: str = "completed", **fields: Any) -> dict[str, Any]:
    """Return the record of a call that the campaign has placed to a contact."""
    made = call(name, status, to_number=person.to_number, **fields)
    made["request_metadata"]["airflow"]["contact"] = person.key
    return made


def standing(
    *calls: dict[str, Any],
    contacts: tuple[Person, ...] = EVERYONE,
    run: TaskRun | None = None,
    last_dial: datetime = MUCH_LATER,
    settled: tuple[str, ...] = (),
) -> Standing[Person]:
    """Say where the contacts are at ``NOW``."""
    run = run or task_run()
    known = CampaignCalls(map(bare_call, calls), run)
    return stand(contacts, known, run, RULES, NOW, last_dial=last_dial, settled=settled)


def keys(found: Standing[Person]) -> dict[str, list[str]]:
    """Return who is where."""
    return {
        "ready": [ready.contact.key for ready in found.ready],
        "live": [live.contact.key for live in found.live],
        "ended": [ended.contact.key for ended in found.ended],
    }


# --- Where each contact is ---


def test_contacts_without_a_call_are_ready_in_their_order() -> None:
    """A new campaign calls its contacts in the order of the list."""
    found = standing()

    assert keys(found) == {"ready": ["ann", "bob", "cleo"], "live": [], "ended": []}
    assert {ready.dial.attempt for ready in found.ready} == {1}


def test_each_contact_follows_the_rules_of_a_single_call() -> None:
    """One call is live, one has ended well, and one went unanswered half an hour ago and longer."""
    found = standing(
        call_to(ANN, "a1", "in_progress", at=-1),
        call_to(BOB, "b1", "completed"),
        call_to(CLEO, "c1", "no_answer", at=-40),
    )

    assert keys(found) == {"ready": ["cleo"], "live": ["ann"], "ended": ["bob"]}
    assert found.ready[0].dial.attempt == 2


def test_a_redial_that_is_not_due_waits() -> None:
    """Who was busy ten minutes ago is called in twenty minutes."""
    found = standing(call_to(ANN, "a1", "busy", at=-10.5), contacts=(ANN,))

    assert found.later == [minutes(20)]


def test_redials_come_first_and_the_longest_wait_before_all() -> None:
    """A redial that is due does not wait behind those who were never called."""
    found = standing(call_to(CLEO, "c1", "busy", at=-50), call_to(BOB, "b1", "busy", at=-60))

    assert keys(found)["ready"] == ["bob", "cleo", "ann"]


def test_the_last_attempt_ends_a_contact() -> None:
    """After ``max_attempts`` the last outcome stands, and all calls are counted."""
    calls = [call_to(ANN, f"a{n}", "busy", at=-200 + 40 * n, attempt=n) for n in (1, 2, 3)]

    found = standing(*calls, contacts=(ANN,))

    assert keys(found)["ended"] == ["ann"]
    assert found.ended[0].attempts == 3
    assert found.ended[0].call is not None
    assert found.ended[0].call["id"] == "a3"


def test_nobody_is_called_after_the_last_moment_for_it() -> None:
    """From ``dial_timeout`` on, contacts stay uncalled, and those who were called keep their outcome."""
    found = standing(call_to(ANN, "a1", "busy", at=-40), last_dial=NOW)

    assert keys(found)["ended"] == ["ann", "bob", "cleo"]
    assert [ended.call and ended.call["id"] for ended in found.ended] == ["a1", None, None]


def test_a_redial_beyond_the_last_moment_is_not_waited_for() -> None:
    """A contact whose redial would come too late has ended now."""
    found = standing(call_to(ANN, "a1", "busy", at=-10.5), contacts=(ANN,), last_dial=minutes(20))

    assert keys(found)["ended"] == ["ann"]
    assert found.later == []


def test_who_is_settled_is_not_called() -> None:
    """A contact that the API or ``may_call`` refused stays refused."""
    found = standing(settled=("bob",))

    assert keys(found) == {"ready": ["ann", "cleo"], "live": [], "ended": ["bob"]}


# --- Whose call it is ---


@pytest.mark.parametrize(
    "contacts",
    [
        pytest.param((Person("new", "+18135550009"), ANN), id="another before it"),
        pytest.param((Person("17", ANN.to_number),), id="another id"),
    ],
)
def test_a_contact_keeps_its_call_when_the_list_changes(contacts: tuple[Person, ...]) -> None:
    """A call belongs to the number that it went to, whatever the list looks like now."""
    found = standing(call_to(ANN, "a1"), contacts=contacts)

    assert [ended.contact.to_number for ended in found.ended] == [ANN.to_number]
    assert ANN.to_number not in [ready.contact.to_number for ready in found.ready]


def test_a_retry_keeps_the_call_to_a_number_that_has_changed() -> None:
    """Without a clear, the contact was called, and the campaign counts that it has another number now."""
    found = standing(call_to(ANN, "a1"), contacts=(Person("ann", "+18135550009"),))

    assert keys(found)["ended"] == ["ann"]
    assert found.moved_numbers == 1


def test_a_clear_calls_a_number_that_has_changed() -> None:
    """A clear is a person's word: the new number is called."""
    found = standing(call_to(ANN, "a1"), contacts=(Person("ann", "+18135550009"),), run=cleared())

    assert keys(found)["ready"] == ["ann"]
    assert found.moved_numbers == 0


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_clear_calls_nobody_whose_outcome_is_in(status: str) -> None:
    """A cleared campaign continues: whatever a contact's outcome, it stays."""
    found = standing(call_to(ANN, "a1", status), contacts=(ANN,), run=cleared())

    assert keys(found)["ended"] == ["ann"]


def test_a_clear_counts_the_attempts_before_it() -> None:
    """A cleared campaign doesn't begin again with attempt 1."""
    found = standing(call_to(ANN, "a1", "busy"), contacts=(ANN,), run=cleared())

    assert [ready.dial.attempt for ready in found.ready] == [2]


def test_ids_that_shift_with_the_list_hide_nobody() -> None:
    """Ids that are positions: the new contact has the id of one who was called, and is still listed."""
    shifted = (Person("1", BOB.to_number), Person("2", ANN.to_number))

    found = standing(call_to(Person("1", ANN.to_number), "a1"), contacts=shifted)

    assert keys(found) == {"ready": ["1"], "live": [], "ended": ["2"]}


def test_two_contacts_that_swapped_their_numbers_are_not_called() -> None:
    """Each was called, whichever way one looks at it."""
    swapped = (Person("ann", BOB.to_number), Person("bob", ANN.to_number))

    found = standing(call_to(ANN, "a1"), call_to(BOB, "b1"), contacts=swapped)

    assert keys(found)["ready"] == []


def test_calls_of_another_task_are_nobodys() -> None:
    """Another campaign of the same run may call the same number."""
    other = call_to(ANN, "a1")
    run = task_run(identity={**TASK, "task_id": "other", "map_index": -1})

    # The search keeps only calls of the same task; the identity says so.
    assert not run.is_same_task(other)


def test_another_instance_of_a_mapped_campaign_has_its_own_calls() -> None:
    """Two instances that were never cleared each call a number that both have."""
    found = standing(call_to(ANN, "a1", map_index=1), contacts=(ANN,), run=task_run(0))

    assert keys(found)["ready"] == ["ann"]


def test_a_contact_that_moved_to_another_instance_is_not_called_again() -> None:
    """After a clear, a contact may be in another one of a mapped campaign's lists."""
    found = standing(call_to(ANN, "a1", map_index=1), contacts=(ANN,), run=cleared(0))

    assert keys(found)["ended"] == ["ann"]


@pytest.mark.parametrize("lacks", [True, False])
def test_a_call_whose_record_lacks_the_number_is_known_by_the_contacts_id(lacks: bool) -> None:
    """An item of a list may say less than the record."""
    made = call_to(ANN, "a1") | {"to_number": None}
    if lacks:
        del made["to_number"]

    found = standing(made, contacts=(ANN,))

    assert keys(found)["ended"] == ["ann"]
    assert found.moved_numbers == 0


def test_live_calls_count_even_if_nobody_asks_for_them() -> None:
    """A call to a contact that left the list is live all the same."""
    known = CampaignCalls([call_to(ANN, "a1", "dialing", at=-1)], task_run())

    assert [each["id"] for each in known.live] == ["a1"]


def test_the_identity_names_the_contact() -> None:
    """A call of the campaign is marked with its contact."""
    run = contact_run(task_run(), ANN.key)

    assert run.identity == {**TASK, "map_index": -1, "contact": "ann"}


def test_what_is_kept_of_a_call_is_small() -> None:
    """Neither the context nor the DAG author's metadata is kept: there may be tens of thousands of calls."""
    made = call_to(ANN, "a1") | {"call_context": "You are calling Ann.", "agent_id": "x"}
    made["request_metadata"]["crm"] = "x" * 10_000

    kept = bare_call(made)

    assert set(kept) == {"id", "status", "to_number", "created_at", "ended_at", "request_metadata"}
    assert set(kept["request_metadata"]) == {"airflow"}


@pytest.mark.parametrize("generation", [FIRST_ROUND, AFTER_CLEAR])
def test_a_number_counts_in_every_generation(generation: int) -> None:
    """Calls before and after a clear are the same campaign's."""
    found = standing(call_to(ANN, "a1", generation=generation), contacts=(ANN,), run=cleared())

    assert keys(found)["ended"] == ["ann"]


# --- How long it waits ---


def pause(**fields: Any) -> Pause:
    """Plan the pause of a campaign of 100 live calls at most."""
    defaults: dict[str, Any] = {
        "live": 100,
        "overdue": 0,
        "free": 0,
        "ready": 500,
        "moments": [],
        "soonest": minutes(0.25),
        "latest": minutes(120),
        "rules": RULES,
        "max_active": 100,
    }
    return plan_pause(**(defaults | fields))


@pytest.mark.parametrize(
    ("fields", "until_ended"),
    [
        pytest.param({}, 25, id="many are ready: a quarter of the calls"),
        pytest.param({"ready": 10}, 10, id="few are ready: as many"),
        pytest.param({"free": 5, "live": 95}, 20, id="some could be live already"),
        pytest.param({"ready": 0, "live": 7}, 7, id="nobody is ready: all calls"),
        pytest.param({"ready": 0, "live": 7, "overdue": 2}, 5, id="but not those that it gave up"),
        pytest.param({"ready": 0, "live": 2, "overdue": 2}, 1, id="unless there are no others"),
        pytest.param({"live": 3, "max_active": 3}, 1, id="a small campaign"),
        pytest.param({"live": 0, "free": 100}, 0, id="no call is live"),
    ],
)
def test_it_resumes_when_enough_calls_have_ended(fields: dict[str, Any], until_ended: int) -> None:
    """Each worker run places a quarter of the calls that may be live, if so many are to be placed."""
    assert pause(**fields).until_ended == until_ended


def test_it_resumes_at_the_next_moment_for_others() -> None:
    """A redial or an opening comes before the time at which a call is overdue."""
    assert pause(moments=[minutes(90), minutes(60)]).wake_at == minutes(62)


def test_it_never_resumes_too_soon() -> None:
    """The list must show the calls that were just placed."""
    planned = pause(moments=[NOW])

    assert planned.wake_at == planned.not_before == minutes(0.25)


def test_it_resumes_some_time_after_an_outcome_that_is_called_again() -> None:
    """The trigger counts the delay of a redial from the end of the first such call."""
    assert pause().resume_after == {"no_answer": 32 * 60, "busy": 32 * 60}


@pytest.mark.parametrize(
    ("offsets", "size", "due"),
    [
        pytest.param([], 3, None, id="none"),
        pytest.param([5], 3, 5, id="one"),
        pytest.param([5, 6], 3, 6, id="few: the last of them"),
        pytest.param([5, 60], 3, 7, id="but the first is not delayed for long"),
        pytest.param([5, 5.1, 5.2, 5.3], 3, 5.2, id="enough"),
    ],
)
def test_moments_are_grouped(offsets: list[float], size: int, due: float | None) -> None:
    """One worker run serves several moments, and delays none of them for long."""
    assert group([minutes(each) for each in offsets], size, TWO_MINUTES) == (due and minutes(due))


@pytest.mark.parametrize(("max_active", "size"), [(1, 1), (3, 1), (100, 25), (1_000, 250)])
def test_a_wave_is_at_least_a_tenth(max_active: int, size: int) -> None:
    """There is at most one worker run for every tenth of the calls that may be live."""
    assert wave_size(max_active) == size
    assert size >= max_active / 10


def test_a_clock_that_is_ahead_shows_in_the_calls() -> None:
    """A sandbox's clock may be hours ahead; what was known of it is not forgotten."""
    ahead = [call_to(ANN, "a1", at=60)]

    assert clock_lead(ahead, NOW, 0.0) == pytest.approx(3_630)
    assert clock_lead([], NOW, 5.0) == 5.0
    assert clock_lead([call_to(ANN, "a1")], NOW, 0.0) == 0.0
