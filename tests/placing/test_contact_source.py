"""Contacts reach the task from wherever they come, and Airflow stores none of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSkipException

from airflow_provider_telzino.exceptions import TelzinoArgumentError, TelzinoError
from airflow_provider_telzino.placing.call_context import compiled_context, context_renderer
from airflow_provider_telzino.placing.contact_source import ContactSource
from tests.support.contact_dags import dags
from tests.support.contact_dags.dags import FIRST, NAME, RESULT_MARK, SECOND, SECRET, Campaign, Source

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"AIRFLOW__CORE__DAGS_FOLDER": str(Path(dags.__file__).parent), "PYTHONHASHSEED": "random"}
ONE, TWO = [FIRST["to_number"], NAME], [SECOND["to_number"], NAME]

in_one_process = pytest.mark.xdist_group("contact DAGs")


def program(what: str) -> dict[str, Any]:
    """Serialize or run the DAGs in a process of their own."""
    command = [sys.executable, "-m", "tests.support.contact_dags.dags", what]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    _, mark, rest = ("\n" + done.stdout).partition("\n" + RESULT_MARK)
    assert mark, done.stdout[-4_000:] + done.stderr[-4_000:]
    results: dict[str, Any] = json.loads(rest.splitlines()[0])
    return results


# --- In a DAG ---


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    """One run of each DAG."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    return program("run")


EXPECTED: dict[str, tuple[list[Any], str]] = {
    "literal[-1]": ([ONE, TWO], "<contacts: 2>"),
    "output[-1]": ([ONE, TWO], "<contacts: 2>"),
    "template[-1]": ([ONE, TWO], "<contacts>"),
    "function[-1]": ([ONE, TWO], "<contacts of the function contacts_of_the_run>"),
    "mapped_output[0]": ([ONE], "<contacts: 1>"),
    "mapped_output[1]": ([ONE, TWO], "<contacts: 2>"),
    "mapped_texts[0]": ([ONE], "<contacts>"),
    "mapped_texts[1]": ([TWO], "<contacts>"),
    "mapped_literals[0]": ([[FIRST["to_number"], None]], "<contacts: 1>"),
    "mapped_literals[1]": ([[SECOND["to_number"], None]], "<contacts: 1>"),
    **{f"partial_literal[{index}]": ([ONE, TWO], "<contacts: 2>") for index in (0, 1)},
    **{f"partial_output[{index}]": ([ONE, TWO], "<contacts: 2>") for index in (0, 1)},
    **{f"partial_template[{index}]": ([ONE, TWO], "<contacts>") for index in (0, 1)},
    **{
        f"partial_function[{index}]": ([ONE, TWO], "<contacts of the function contacts_of_the_run>")
        for index in (0, 1)
    },
}


@pytest.mark.slow
@in_one_process
@pytest.mark.parametrize("task", EXPECTED)
def test_a_task_gets_its_contacts(runs: dict[str, Any], task: str) -> None:
    """Unrendered, whatever they contain; and Airflow shows how many they are at most."""
    pushed, shown = EXPECTED[task]

    assert runs["contacts"][task] == {"state": "success", "pushed": pushed, "shown": shown}


@pytest.mark.slow
@in_one_process
def test_a_template_may_render_native_objects(runs: dict[str, Any]) -> None:
    """Then it needs no ``tojson``."""
    assert runs["native_contacts"]["template[-1]"]["pushed"] == [ONE, TWO]


@pytest.mark.slow
@in_one_process
def test_the_serialized_dag_is_the_same_at_each_parse() -> None:
    """Otherwise Airflow would store a new version of the DAG each time. And it has no contact."""
    first, second = program("serialize"), program("serialize")

    assert first == second
    assert SECRET not in json.dumps(first)


@pytest.mark.parametrize(
    ("task", "upstream"),
    [
        ("output", {"source"}),
        ("partial_output", {"source"}),
        ("mapped_output", {"lists"}),
        ("literal", set()),
        ("function", set()),
    ],
)
def test_airflow_finds_the_task_whose_output_the_contacts_are(task: str, upstream: set[str]) -> None:
    """Also of a mapped task."""
    assert dags.CONTACTS.get_task(task).upstream_task_ids == upstream


def test_contacts_that_are_set_later_are_found_as_well() -> None:
    """As with any template field."""
    with DAG("later", schedule=None):
        source = Source(task_id="source", pushes=[])
        task = Campaign(task_id="campaign", contacts=[])
        task.contacts = ContactSource.of(source.output)

    assert task.upstream_task_ids == {"source"}


def test_a_lambda_an_object_and_a_class_have_a_stable_name() -> None:
    """No memory address, which would differ at each parse."""

    class Reader:
        def __call__(self) -> list[str]:
            return []

    named: list[object] = [lambda: FIRST, Reader(), Reader]
    for given in named:
        assert " at 0x" not in repr(ContactSource(given))
        assert repr(ContactSource(given)).startswith("<contacts of the function test_")


# --- A function ---


def only_what_it_names(ds: str, other: str = "default") -> list[str]:
    """A function that reads a part of Airflow's context."""
    return [ds, other]


def all_of_it(**context: Any) -> list[str]:
    """A function that reads all of it."""
    return sorted(context)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda: ["nothing"], ["nothing"]),
        (only_what_it_names, ["2026-01-01", "default"]),
        (all_of_it, ["ds", "run_id"]),
    ],
)
def test_a_function_gets_the_context_that_it_asks_for(
    function: Callable[..., list[str]], expected: list[str]
) -> None:
    """As with Airflow's PythonOperator."""
    context = {"ds": "2026-01-01", "run_id": "run"}

    assert list(ContactSource(function).read(context)) == expected


@pytest.mark.parametrize(
    ("function", "named"),
    [(only_what_it_names, "needs `ds`, which"), (lambda ds, *, typo: [], "needs `ds`, `typo`, which")],
)
def test_a_function_that_needs_what_the_run_lacks_is_one_error(
    function: Callable[..., list[str]], named: str
) -> None:
    """Airflow 3 gives a run without a logical date no ``ds``: the error says what there is instead."""
    with pytest.raises(TelzinoArgumentError, match=rf"{named}.*`dag_run`, with `run_after`"):
        ContactSource(function).read({"run_id": "run"})


def numbers_with(error: Exception) -> Iterator[str]:
    """Generate contacts until something goes wrong."""
    yield FIRST["to_number"]
    raise error


@pytest.mark.parametrize("raises_at_once", [True, False])
def test_the_words_of_an_error_of_a_function_are_not_repeated(raises_at_once: bool) -> None:
    """They may contain a contact. The error says where it was, and Airflow may retry it."""
    error = LookupError(f"no row of {FIRST['to_number']}")

    def function() -> Iterator[str]:
        if raises_at_once:
            raise error
        return numbers_with(error)

    with pytest.raises(
        TelzinoError,
        match=r"The function for `contacts` raised LookupError \(line \d+ of (function|numbers_with)\)",
    ) as caught:
        ContactSource(function).read({})

    assert not isinstance(caught.value, AirflowFailException)
    assert FIRST["to_number"] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("ends", [AirflowSkipException, AirflowFailException])
def test_a_function_may_skip_or_fail_its_task(ends: type[Exception]) -> None:
    """As any code of a DAG author may."""
    with pytest.raises(ends, match="as the author says"):
        ContactSource(lambda: numbers_with(ends("as the author says"))).read({})


# --- The context ---


def rendered(call_context: str, contact: dict[str, Any], **dag_arguments: Any) -> str:
    """The ``call_context`` of a task for a contact."""
    with DAG("context", schedule=None, **dag_arguments):
        task = Source(task_id="task", pushes=None)
    return context_renderer(compiled_context(call_context, task), {"ds": "2026-01-01"})(contact)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("call_context", "expected"),
    [
        ("Hello {{ contact.name }}, it is {{ ds }}.", "Hello {{ ds }}, it is 2026-01-01."),
        ("{{ contact.age }}", "30"),
        ("Hello.", "Hello."),
        ("{{ contact.to_number | last_digits }} {{ greeting }}", "1234 Good day"),
    ],
)
def test_a_template_of_the_dag_is_rendered_for_a_contact(
    call_context: str, expected: str, native: bool
) -> None:
    """With the DAG's own macros and filters. It is always text, and a contact is never a template."""
    contact = {"to_number": "+18135551234", "name": "{{ ds }}", "age": 30}

    text = rendered(
        call_context,
        contact,
        render_template_as_native_obj=native,
        user_defined_macros={"greeting": "Good day"},
        user_defined_filters={"last_digits": lambda number: number[-4:]},
    )

    assert text == expected


def test_one_contact_leaves_nothing_for_the_next() -> None:
    """And Airflow's context is as it was."""
    with DAG("context", schedule=None):
        task = Source(task_id="task", pushes=None)
    context = {"ds": "2026-01-01"}
    render = context_renderer(compiled_context("{{ contact.name | default('you') }}", task), context)

    assert [render({"name": "Ada"}), render({})] == ["Ada", "you"]
    assert context == {"ds": "2026-01-01"}


@pytest.mark.parametrize(
    ("call_context", "words"),
    [
        ("Hello\n{{ contact.name }", "not a valid Jinja template.*line 2"),
        ("{% if contact.name %}SECRET", "not a valid Jinja template"),
        (5, "`call_context` should be text, but is of type int"),
        ("SECRET" * 1_000, "6,000 characters"),
    ],
    ids=["placeholder", "block", "type", "length"],
)
def test_a_wrong_template_is_one_error(call_context: Any, words: str) -> None:
    """Whatever the contacts are."""
    with pytest.raises(TelzinoArgumentError, match=f"(?s){words}") as caught:
        rendered(call_context, {})

    assert SECRET not in str(caught.value)


def test_the_template_of_a_long_context_may_be_longer_than_the_limit() -> None:
    """What counts is its text for a contact."""
    assert rendered("{# " + "x" * 5_000 + " #}Hello {{ contact.name }}.", {"name": "Ada"}) == "Hello Ada."
