"""The plan says what a campaign will do; only the campaign that was approved calls anybody."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import hypothesis
import pendulum
import pytest
from hypothesis import strategies as st

from airflow_provider_telzino.exceptions import TelzinoArgumentError, TelzinoPlanChangedError
from airflow_provider_telzino.placing.campaign_plan import check_approval, fingerprint_of, make_plan
from airflow_provider_telzino.placing.contacts import read_contacts
from airflow_provider_telzino.rules.attempts import RedialRules
from airflow_provider_telzino.rules.permission import DialLimits

NOW = pendulum.datetime(2026, 11, 27, 10)  # a Friday; 5:00 in New York, 11:00 in Berlin
FLORIDA, TOLL_FREE, OF_NO_COUNTRY = "+18135551234", "+18005551234", "+9991234567"
BERLIN = {"to_number": "+493012345678", "timezone": "Europe/Berlin", "name": "SECRET"}
OFFICE = ("09:00", "20:00")
A_DAY = timedelta(days=1)
SETTINGS = {"call_context": "Hello {{ contact.name }}.", "agent_id": "agent", "max_active_calls": 100}


def may_call(contact: Any, now: Any) -> bool:
    """A function of a DAG author's."""
    return True


def limits(
    hours: Any = None, days: Any = None, may: Any = None, dial_timeout: timedelta = A_DAY
) -> DialLimits:
    """When people may be called."""
    return DialLimits.checked(hours, days, may, dial_timeout)


def redialling(
    on: Any = ("busy",), attempts: int = 3, delay: timedelta = A_DAY, fail_on: Any = (), reattach: bool = True
) -> RedialRules:
    """How often they are called."""
    return RedialRules.checked(on, attempts, delay, fail_on=fail_on, reattach=reattach)


def plan(given: list[Any], allowed: DialLimits | None = None, **arguments: Any) -> dict[str, Any]:
    """The plan for contacts."""
    allowed = allowed or limits()
    contacts, rejects = read_contacts(given, limits=allowed)
    rules = arguments.pop("redialling", redialling())
    return make_plan(
        contacts, rejects, settings=SETTINGS, limits=allowed, redialling=rules, now=NOW, **arguments
    )


# --- What it says ---


def test_the_plan_counts_contacts_and_rejects() -> None:
    """With the positions and reasons of those that can't be called, but nobody's data."""
    found = plan([BERLIN, "+49SECRET", FLORIDA])

    assert json.loads(json.dumps(found)) == found
    assert found["contacts"] == 2
    assert [each["position"] for each in found["rejects"]] == [2]
    assert "`to_number`" in found["rejects"][0]["reason"]
    assert "SECRET" not in str(found)
    assert BERLIN["to_number"] not in str(found)


@pytest.mark.parametrize(("redial_on", "expected"), [(["busy"], 6), ([], 2)])
def test_the_plan_says_how_many_calls_there_are_at_most(redial_on: list[str], expected: int) -> None:
    """Without `redial_on` nobody is called twice, whatever `max_attempts` is."""
    assert plan([BERLIN, FLORIDA], redialling=redialling(redial_on))["calls_at_most"] == expected


def test_the_plan_counts_time_zones() -> None:
    """The most frequent one first."""
    given = [OF_NO_COUNTRY, FLORIDA, TOLL_FREE, BERLIN, {**BERLIN, "to_number": "+493012345679"}]

    assert list(plan(given)["time_zones"].items()) == [
        ("Europe/Berlin", 2),
        ("unknown", 1),
        ("America/New_York", 1),
        ("several", 1),
    ]


@pytest.mark.parametrize(
    ("given", "allowed", "first", "last"),
    [
        ([FLORIDA], limits(), "2026-11-27T10:00", "2026-11-28T10:00"),
        ([OF_NO_COUNTRY], limits(dial_timeout=timedelta(hours=1)), "2026-11-27T10:00", "2026-11-27T11:00"),
        ([BERLIN], limits(OFFICE), "2026-11-27T10:00", "2026-11-28T10:00"),
        ([BERLIN], limits(OFFICE, dial_timeout=timedelta(hours=12)), "2026-11-27T10:00", "2026-11-27T19:00"),
        ([FLORIDA], limits(OFFICE), "2026-11-27T14:00", "2026-11-28T01:00"),
        ([FLORIDA, BERLIN], limits(OFFICE), "2026-11-27T10:00", "2026-11-28T10:00"),
        ([BERLIN], limits(OFFICE, ["fri"]), "2026-11-27T10:00", "2026-11-27T19:00"),
        ([BERLIN], limits(None, ["fri"], None, timedelta(days=4)), "2026-11-27T10:00", "2026-11-27T23:00"),
        ([BERLIN], limits(OFFICE, ["mon"], None, timedelta(days=9)), "2026-11-30T08:00", "2026-11-30T19:00"),
        ([BERLIN], limits(OFFICE, ["mon"]), None, None),
        (
            [FLORIDA, BERLIN],
            limits(OFFICE, dial_timeout=timedelta(hours=2)),
            "2026-11-27T10:00",
            "2026-11-27T12:00",
        ),
        ([], limits(), None, None),
    ],
)
def test_the_plan_says_when_people_may_be_called(
    given: list[Any], allowed: DialLimits, first: str | None, last: str | None
) -> None:
    """From the first opening in any of their zones until the last closing, within `dial_timeout`."""
    found = plan(given, allowed)

    assert found["first_dial"] == (None if first is None else f"{first}:00+00:00")
    assert found["last_dial"] == (None if last is None else f"{last}:00+00:00")


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (limits(), 0),
        (limits(OFFICE), 0),
        (limits(OFFICE, dial_timeout=timedelta(hours=4)), 2),
        (limits(OFFICE, dial_timeout=timedelta(hours=5)), 0),
        (limits(OFFICE, ["mon"]), 3),
    ],
)
def test_the_plan_counts_whom_the_hours_rule_out(allowed: DialLimits, expected: int) -> None:
    """Those in whose time zone the hours don't open within `dial_timeout`."""
    given = [BERLIN, FLORIDA, "+18135551235"]

    assert plan(given, allowed)["not_in_time"] == expected


def test_no_plan_asks_may_call() -> None:
    """It is asked directly before each call."""

    def refuses(contact: Any, now: Any) -> bool:
        raise AssertionError

    assert plan([BERLIN], limits(may=refuses))["contacts"] == 1


# --- The fingerprint ---


def fingerprint(given: list[Any] | None = None, **changed: Any) -> str:
    """The fingerprint of a campaign, of which something may be different."""
    contacts, _ = read_contacts([BERLIN, FLORIDA] if given is None else given)
    arguments: dict[str, Any] = {"settings": SETTINGS, "limits": limits(), "redialling": redialling()}
    return fingerprint_of(contacts, **(arguments | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"given": []},
        {"given": [FLORIDA]},
        {"given": [FLORIDA, BERLIN]},
        {"given": [BERLIN, FLORIDA, TOLL_FREE]},
        {"given": [{**BERLIN, "name": "Ada"}, FLORIDA]},
        {"given": [{**BERLIN, "id": 1}, FLORIDA]},
        {"given": [{**BERLIN, "id": "1"}, FLORIDA]},
        {"given": [{**BERLIN, "call_context": "Hello."}, FLORIDA]},
        {"given": [{**BERLIN, "metadata": {"a": 1}}, FLORIDA]},
        {"given": [{**BERLIN, "callback_url": "https://example.com"}, FLORIDA]},
        {"given": [{**BERLIN, "timezone": "Europe/Rome"}, FLORIDA]},
        *({"settings": {**SETTINGS, name: "other"}} for name in SETTINGS),
        {"limits": limits(OFFICE)},
        {"limits": limits(("09:00", "20:01"))},
        {"limits": limits(OFFICE, ["fri"])},
        {"limits": limits(dial_timeout=timedelta(days=2))},
        {"limits": limits(may=may_call)},
        {"limits": limits(may=limits)},
        {"redialling": redialling(["no_answer"])},
        {"redialling": redialling(attempts=4)},
        {"redialling": redialling(delay=timedelta(minutes=1))},
        {"redialling": redialling(fail_on=["failed"])},
        {"redialling": redialling(reattach=False)},
    ],
    ids=lambda change: "-".join(change),
)
def test_any_change_changes_the_fingerprint(changed: dict[str, Any]) -> None:
    """Of who is called, when, how often, or with what words. No two changes have the same, either."""
    everything = [fingerprint(**each) for each in [{}, changed]]

    assert len(set(everything)) == 2


def test_two_ids_that_read_alike_are_not_the_same() -> None:
    """A number and its text are different in the result."""
    assert fingerprint([{**BERLIN, "id": 1}]) != fingerprint([{**BERLIN, "id": "1"}])


def test_what_is_no_change_keeps_the_fingerprint() -> None:
    """The order of keys, the order of statuses, and when the plan was made."""
    turned = [dict(reversed(BERLIN.items())), FLORIDA]

    assert fingerprint(turned) == fingerprint()
    assert fingerprint(settings=dict(reversed(SETTINGS.items()))) == fingerprint()
    assert fingerprint(redialling=redialling(["busy", "no_answer"])) == fingerprint(
        redialling=redialling(["no_answer", "busy"])
    )
    assert plan([BERLIN, FLORIDA])["fingerprint"] == fingerprint()


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    """Also with values that JSON doesn't have, and whatever the seed of Python's hashes is."""
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
    odd: dict[Any, Any] = {"due": moment, "price": Decimal("1.10"), "tags": {"a", "b", "c"}, 5: b"x"}

    found = fingerprint([BERLIN | odd], limits=limits(OFFICE, ["mon", "tue"], may_call))

    # Of an earlier process. If the way of counting changes, earlier approvals don't hold any more.
    assert found == "6af0c7e8cb4d2546b73beb7293b3910291bedf8a4096ddca6d49c952316b8e72"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@hypothesis.given(json_values, json_values)
def test_different_fields_have_different_fingerprints(one: Any, two: Any) -> None:
    """However they are nested."""
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)

    assert (fingerprint([{**BERLIN, "x": one}]) == fingerprint([{**BERLIN, "x": two}])) is same


# --- The approval ---

FORMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "plan": lambda found: found,
    "fingerprint": lambda found: found["fingerprint"],
    "JSON": lambda found: json.dumps(found),
    "Python": lambda found: f"\n{found} ",
    "fingerprint in space": lambda found: f" {found['fingerprint']}\n",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_plan_that_was_approved_may_be_called(form: Callable[[dict[str, Any]], Any]) -> None:
    """In any form that an XCom or a template may have."""
    check_approval(form(plan([BERLIN, FLORIDA])), fingerprint())


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_another_plan_is_refused(form: Callable[[dict[str, Any]], Any]) -> None:
    """The error says what to do."""
    with pytest.raises(TelzinoPlanChangedError, match=r"have changed.*nobody is called.*dry_run=True"):
        check_approval(form(plan([BERLIN])), fingerprint())


@pytest.mark.parametrize(
    "approved",
    [None, "", "  ", {}, [], True, "None", "yes", "SECRET" * 11, {"fingerprint": None}, '{"fingerprint": 5}'],
    ids=str,
)
def test_what_is_no_plan_is_refused(approved: object) -> None:
    """An approval that has got lost is none."""
    with pytest.raises(TelzinoArgumentError, match=r"`approved_plan` should be.*nobody is called") as caught:
        check_approval(approved, fingerprint())

    assert "SECRET" not in str(caught.value)
