"""All contacts of a campaign are checked before the first is called; no error contains a value."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.placing.contacts import (
    Contact,
    Reject,
    check_literal_contacts,
    contacts_error,
    read_contacts,
)
from airflow_provider_telzino.rules.identity import TaskRun, with_identity
from airflow_provider_telzino.rules.permission import DialLimits

FIRST, SECOND, THIRD = "+18135551234", "+18135551235", "+18135551236"
TOLL_FREE, OF_NO_COUNTRY = "+18005551234", "+9991234567"  # in all zones of a continent; in none
HOURS = DialLimits.checked(("09:00", "20:00"), None, None, timedelta(days=1))
NO_HOURS = DialLimits.checked(None, None, None, timedelta(days=1))
RUN = TaskRun(
    {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1}, None, True, 0, was_cleared=False
)


def marked(metadata: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The metadata with the identity of a campaign's contact."""
    return with_identity(metadata, TaskRun({**RUN.identity, "contact": key}, None, True, 0, False), 3)


def reasons(given: object, **campaign: Any) -> dict[int, str]:
    """What is wrong, by position."""
    _, rejects = read_contacts(given, **campaign)
    return {each.position: each.reason for each in rejects}


# --- What contacts are ---


def test_numbers_and_dicts_become_contacts() -> None:
    """With the campaign's values where a contact has none, and all that was given for templates."""
    given = [FIRST, {"to_number": SECOND, "id": 7, "name": "Ada", "timezone": "Europe/Berlin"}]

    contacts, rejects = read_contacts(given, timezone="Asia/Tokyo", callback_url="https://example.com/x")

    assert rejects == []
    assert contacts == [
        Contact(
            position=1,
            id=FIRST,
            key=FIRST,
            to_number=FIRST,
            call_context=None,
            metadata={},
            callback_url="https://example.com/x",
            timezone="Asia/Tokyo",
            fields={"to_number": FIRST, "id": FIRST, "timezone": "Asia/Tokyo"},
        ),
        Contact(
            position=2,
            id=7,
            key="7",
            to_number=SECOND,
            call_context=None,
            metadata={},
            callback_url="https://example.com/x",
            timezone="Europe/Berlin",
            fields={"to_number": SECOND, "id": 7, "timezone": "Europe/Berlin", "name": "Ada"},
        ),
    ]


def test_a_contact_has_its_own_context_metadata_and_callback() -> None:
    """Its context is text, not a template; its metadata is merged over the campaign's."""
    own = {
        "to_number": FIRST,
        "call_context": "Say {{ nothing }}.",
        "metadata": {"b": 3},
        "callback_url": "https://example.com/own",
    }

    (contact,), rejects = read_contacts(
        [own],
        call_context=lambda fields: "the campaign's",
        metadata={"a": 1, "b": 2},
        callback_url="https://example.com/x",
    )

    assert rejects == []
    assert contact.call_context == "Say {{ nothing }}."
    assert contact.metadata == {"a": 1, "b": 3}
    assert contact.callback_url == "https://example.com/own"


def test_empty_cells_of_a_table_are_the_campaigns_values() -> None:
    """A CSV file has empty text where a contact has no value, and a database has NULL."""
    options = ("call_context", "metadata", "callback_url", "timezone")
    given = [
        {"to_number": FIRST, **dict.fromkeys(options, "")},
        {"to_number": SECOND, "id": None, **dict.fromkeys(options)},
    ]

    contacts, rejects = read_contacts(
        given, call_context=lambda fields: "Hello.", metadata={"a": 1}, timezone="Asia/Tokyo"
    )

    assert rejects == []
    assert {(each.call_context, each.timezone) for each in contacts} == {("Hello.", "Asia/Tokyo")}
    assert [each.metadata for each in contacts] == [{"a": 1}, {"a": 1}]


@pytest.mark.parametrize(
    "given",
    [
        [FIRST, SECOND],
        (FIRST, SECOND),
        iter([FIRST, SECOND]),
        f'["{FIRST}", {{"to_number": "{SECOND}", "x": null}}]',
        f"\n['{FIRST}', {{'to_number': '{SECOND}', 'x': None}}]",
    ],
    ids=["list", "tuple", "iterator", "JSON", "Python"],
)
def test_a_list_may_come_in_many_forms(given: object) -> None:
    """Also as the text that a rendered template is."""
    contacts, rejects = read_contacts(given)

    assert rejects == []
    assert [each.to_number for each in contacts] == [FIRST, SECOND]


def test_there_may_be_no_contacts() -> None:
    """A query may find none."""
    assert read_contacts([]) == ([], [])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, ["type NoneType"]),
        (5, ["type int"]),
        (b"SECRET", ["type bytes"]),
        ({"to_number": FIRST}, ["single dict"]),
        ({FIRST, SECOND}, ["set", "no order"]),
        ("SECRET", ["6 characters", "contacts=task.output", "tojson"]),
        ('"SECRET"', ["type str"]),
        ("None", ["type NoneType"]),
        ("[" * 100_000, ["100,000 characters"]),
    ],
)
def test_anything_else_is_refused(given: object, words: list[str]) -> None:
    """The error says what a list of contacts is."""
    with pytest.raises(
        TelzinoArgumentError, match="`contacts` should be a list of numbers or dicts"
    ) as caught:
        read_contacts(given)

    assert [word for word in words if word not in str(caught.value)] == []
    assert "SECRET" not in str(caught.value)


# --- What is wrong with a contact ---


@pytest.mark.parametrize(
    ("contact", "words"),
    [
        ("555-SECRET", ["`to_number`", "E.164", "10 characters"]),
        (18135551234, ["`to_number`", "type int", "put quotes around it"]),
        (None, ["phone number", "`to_number`", "NoneType"]),
        ([FIRST], ["phone number", "list"]),
        ({"name": "SECRET"}, ["no `to_number`."]),
        ({"Phone": FIRST}, ["no `to_number`", "rename 'phone'"]),
        ({"to_number": "{{ SECRET }}"}, ["`to_number`", "never rendered"]),
        ({"to_number": FIRST, "id": True}, ["`id`", "type bool"]),
        ({"to_number": FIRST, "id": 1.5}, ["`id`", "type float"]),
        ({"to_number": FIRST, "id": ""}, ["`id`", "1 to 200", "has 0"]),
        ({"to_number": FIRST, "id": "S" * 201}, ["`id`", "1 to 200", "has 201"]),
        ({"to_number": FIRST, "id": 10**5_000}, ["`id`", "1 to 200"]),
        ({"to_number": FIRST, "id": "SECRET\0"}, ["`id`", "NUL"]),
        ({"to_number": FIRST, "id": "SECRET\ud800"}, ["`id`", "surrogate"]),
        ({"to_number": FIRST, "call_context": "SECRET" * 1_000}, ["`call_context`", "6,000", "4,000"]),
        ({"to_number": FIRST, "call_context": 5}, ["`call_context`", "type int"]),
        ({"to_number": FIRST, "metadata": "SECRET"}, ["`metadata`", "6 characters"]),
        ({"to_number": FIRST, "metadata": {"x": {"SECRET"}}}, ["`metadata`", "JSON"]),
        ({"to_number": FIRST, "metadata": {"x": "S" * 16_300}}, ["`metadata`", "16,384"]),
        ({"to_number": FIRST, "metadata": {"airflow": "SECRET"}}, ["`metadata`", "'airflow'"]),
        ({"to_number": FIRST, "callback_url": "http://SECRET"}, ["`callback_url`", "https://"]),
        ({"to_number": FIRST, "timezone": "SECRET"}, ["`timezone`", "IANA"]),
        ({"to_number": "SECRET", "timezone": "SECRET"}, ["`to_number`", "`timezone`"]),
    ],
)
def test_a_reject_names_the_field_and_the_limit(contact: object, words: list[str]) -> None:
    """And all of its wrong fields at once, but never a value."""
    contacts, rejects = read_contacts([SECOND, contact], mark=marked)

    assert [each.position for each in contacts] == [1]
    ((position, reason),) = rejects
    assert position == 2
    assert [word for word in words if word not in reason] == []
    assert "SECRET" not in reason


def test_metadata_is_measured_with_the_tasks_identity() -> None:
    """The task adds to each call who has placed it, the contact's id included."""
    metadata = {"x": "m" * 16_100}

    assert reasons([FIRST], metadata=metadata) == {}
    assert reasons([FIRST], metadata=metadata, mark=marked) == {}
    assert "16,384" in reasons([{"to_number": FIRST, "id": "i" * 200}], metadata=metadata, mark=marked)[1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([FIRST, SECOND, FIRST], {1: "the same number as position 3", 3: "the same number as position 1"}),
        (
            [{"to_number": FIRST, "id": 1}, {"to_number": FIRST, "id": 2}],
            {1: "same number", 2: "same number"},
        ),
        (
            [{"to_number": FIRST, "id": 7}, {"to_number": SECOND, "id": "7"}, THIRD],
            {1: "the same id as position 2", 2: "the same id as position 1"},
        ),
        ([FIRST, {"to_number": SECOND, "id": FIRST}], {1: "same id", 2: "same id"}),
        ([FIRST] * 3, {1: "position 2", 2: "position 1", 3: "position 1"}),
        ([FIRST, {"to_number": FIRST, "timezone": "?"}], {1: "same number", 2: "same number"}),
    ],
    ids=["number", "number, other ids", "id as text", "id that is a number", "three", "of an invalid one"],
)
def test_the_same_contact_twice_is_refused(given: list[Any], expected: dict[int, str]) -> None:
    """Both positions are named: one of the two is a mistake, and nobody may be called twice."""
    found = reasons(given)

    assert found.keys() == expected.keys()
    assert [position for position, words in expected.items() if words not in found[position]] == []


# --- The campaign's context ---


def test_the_context_is_rendered_from_the_contacts_fields() -> None:
    """With those that were filled in."""
    contacts, _ = read_contacts([FIRST], call_context=lambda fields: f"For {fields['id']}.")

    assert contacts[0].call_context == f"For {FIRST}."


def test_a_template_that_fails_rejects_the_contact() -> None:
    """The reason names the class of the error only: its message may contain the contact."""

    def render(fields: Mapping[str, Any]) -> str:
        return f"Hello {fields['name']}."

    given = [{"to_number": FIRST, "name": "Ada"}, SECOND, {"to_number": THIRD, "name": "SECRET" * 1_000}]
    found = reasons(given, call_context=render)

    assert found[2] == "`call_context` can't be rendered for this contact: KeyError."
    assert "6,007 characters" in found[3]
    assert found.keys() == {2, 3}


# --- Calling hours ---


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (FIRST, None),
        (OF_NO_COUNTRY, "`timezone`"),
        ({"to_number": OF_NO_COUNTRY, "timezone": "Europe/Berlin"}, None),
        (TOLL_FREE, "never open in all"),
        ({"to_number": TOLL_FREE, "timezone": "America/New_York"}, None),
    ],
    ids=str,
)
def test_calling_hours_need_a_time_zone(given: object, words: str | None) -> None:
    """From the number, or else the contact's; without hours none is needed."""
    narrow = DialLimits.checked(("09:00", "10:00"), None, None, timedelta(days=1))

    assert reasons([given], limits=NO_HOURS) == {}
    found = reasons([given], limits=narrow)
    assert found == {} if words is None else words in found[1]


def test_the_campaigns_time_zone_is_enough() -> None:
    """It holds for all contacts that have none."""
    assert reasons([OF_NO_COUNTRY], limits=HOURS, timezone="Europe/Berlin") == {}


# --- One error for all ---


def test_one_error_names_the_first_rejects_and_counts_the_others() -> None:
    """A list of ten thousand may be wrong as a whole."""
    contacts, rejects = read_contacts([FIRST] + ["SECRET"] * 1_999)

    message = contacts_error(contacts, rejects).sentence

    assert message.startswith(
        "1,999 of 2,000 contacts are invalid, and nobody is called: position 2: `to_number`"
    )
    assert "; position 21: " in message
    assert "position 22" not in message
    assert message.endswith("; and 1,979 more.")
    assert "SECRET" not in message


def test_one_reject_is_in_the_singular() -> None:
    """And named without a count of others."""
    message = contacts_error([], [Reject(1, "It is wrong.")]).sentence

    assert message == "1 of 1 contacts is invalid, and nobody is called: position 1: It is wrong."


@pytest.mark.parametrize(
    "campaign", [{"metadata": {1: 2}}, {"callback_url": "http://x"}, {"timezone": "Berlin"}], ids=str
)
def test_what_is_wrong_with_the_campaign_is_no_reject(campaign: dict[str, Any]) -> None:
    """It would be the same for all contacts."""
    (name,) = campaign

    with pytest.raises(TelzinoArgumentError, match=f"`{name}`"):
        read_contacts([FIRST], **campaign)


def test_literal_contacts_are_checked_when_the_dag_is_parsed() -> None:
    """Only a list that stands in the DAG file is known then."""
    check_literal_contacts([FIRST, {"to_number": SECOND}])
    check_literal_contacts("{{ params.contacts }}")
    check_literal_contacts(list)

    with pytest.raises(
        TelzinoArgumentError, match=r"2 of 3 contacts are invalid.*position 1: .*position 3: "
    ):
        check_literal_contacts([FIRST, SECOND, FIRST])


# --- Many, and any ---


def test_ten_thousand_contacts_are_small() -> None:
    """What they share is there once."""
    given = [{"to_number": f"+1813{n:07}", "id": n, "name": f"Contact {n}"} for n in range(10_000)]

    tracemalloc.start()
    contacts, _ = read_contacts(given, metadata={"campaign": "spring"}, mark=marked)
    added, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(contacts) == 10_000
    assert added / len(contacts) < 1_000  # bytes a contact


SECRET = "SECRET"  # in each value that may be wrong
texts = st.text(max_size=5).map(lambda text: SECRET + text)
values: st.SearchStrategy[Any] = st.one_of(
    texts, st.none(), st.booleans(), st.integers(), st.floats(), st.datetimes(), st.just(""), st.just(b"x")
)
numbers = st.sampled_from([FIRST, SECOND, THIRD, TOLL_FREE, OF_NO_COUNTRY])
dicts = st.fixed_dictionaries(
    {},
    optional={
        "to_number": numbers | values,
        "id": st.integers(0, 2) | values,
        "call_context": values,
        "metadata": st.dictionaries(texts, values, max_size=2) | values,
        "callback_url": st.just("https://example.com") | values,
        "timezone": st.just("Europe/Berlin") | values,
        "name": values,
        "phone": values,
    },
)


@hypothesis.given(st.lists(numbers | values | dicts, max_size=8), st.sampled_from([None, HOURS]))
def test_any_list_gives_contacts_or_rejects(given: list[Any], limits: DialLimits | None) -> None:
    """Each position is one or the other; no two contacts are the same, and no reason contains a value."""
    contacts, rejects = read_contacts(given, limits=limits, mark=marked)

    positions = [each.position for each in contacts] + [each.position for each in rejects]
    assert sorted(positions) == list(range(1, len(given) + 1))
    assert [each.position for each in contacts] == sorted(each.position for each in contacts)
    assert [each.position for each in rejects] == sorted(each.position for each in rejects)
    assert len({each.to_number for each in contacts}) == len({each.key for each in contacts}) == len(contacts)
    assert SECRET not in str(contacts_error(contacts, rejects))
    # Without those that are rejected, the list is good.
    again, none = read_contacts([given[each.position - 1] for each in contacts], limits=limits, mark=marked)
    assert none == []
    assert [each.key for each in again] == [each.key for each in contacts]
