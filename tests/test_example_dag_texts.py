"""What Airflow's web interface shows of the example DAGs: their documentation, and labels of mapped tasks."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS, Sandbox
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from tests.conftest import CALL_ID
from tests.support.dag_test_run import EXAMPLES, example_dag
from tests.support.installed_airflow import INSTALLED

FIRST_AIRFLOW = {"example_telzino_call_ended": (3, 0), "example_telzino_campaign_approval": (3, 1)}
"""Those that need a newer Airflow than 2.11."""
NAMES = [
    each.stem for each in sorted(EXAMPLES.glob("*.py")) if FIRST_AIRFLOW.get(each.stem, (2, 11)) <= INSTALLED
]
PAGE = Path(__file__).parents[1] / "docs" / "web_interface.md"
PERSONAL = {"to_number", "call_context", "callback_url", "summary_text", "transcript_text", "name"}
"""Fields of contacts and records that say something about a person."""
PHONE_NUMBER = re.compile(r"[+]?\d[\d ()/-]{6,}\d")
"""Also one that isn't E.164."""


@pytest.fixture(params=NAMES)
def dag(request: pytest.FixtureRequest) -> Any:
    """Each example."""
    return example_dag(request.param)


def code_of(dag: Any) -> str:
    """Return the source of an example, without the docstring of its file."""
    tree = ast.parse((EXAMPLES / f"{dag.dag_id}.py").read_text())
    return "\n".join(ast.unparse(each) for each in tree.body[1:])


def mapped_tasks(dag: Any) -> dict[str, Any]:
    """Return the mapped tasks, by their ids."""
    return {each.task_id: each for each in dag.tasks if hasattr(each, "partial_kwargs")}


def label(task: Any) -> str:
    """Return the label that Airflow gives to a task."""
    template = DAG("labels", schedule=None).get_template_env().from_string(task.map_index_template)
    return str(template.render(task=task))


def test_an_example_says_what_it_is_for(dag: Any) -> None:
    """What it does, in one line, what it needs, how to start it, and what to change."""
    first, _, rest = dag.doc_md.partition("\n\n")

    assert re.fullmatch(r"[A-Z].*[.]", first)
    assert re.findall(r"^- \*\*(.*?)\*\*", rest, re.MULTILINE) == ["Needs", "Start it", "Change"]


def test_it_names_the_connections_that_it_needs(dag: Any) -> None:
    """All that its tasks use, and whether people are called."""
    needs = dag.doc_md.partition("**Needs**")[2].partition("\n- **Change")[0]
    connections = set(re.findall(r"Hook\('(\w+)'\)", code_of(dag)))

    for name in {"telzino_default", *connections}:
        assert f"`{name}`" in needs
    calls = any(f"{name}Operator" in code_of(dag) for name in ("TelzinoPlaceCall", "TelzinoCampaign"))
    assert ("It calls nobody." in needs) is not calls
    assert ("sandbox" in needs) is calls


def test_what_it_names_is_in_its_code(dag: Any) -> None:
    """Tasks, parameters, columns: a name that is gone would mislead."""
    named = set(re.findall(r"`([A-Za-z_]+)`", dag.doc_md)) - {"telzino_default"}

    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", code_of(dag))] == []


def test_its_texts_name_nobody(dag: Any) -> None:
    """Neither its documentation nor its tasks': Airflow shows both to everybody who may see the DAG."""
    texts = [dag.doc_md, *(each.doc_md or "" for each in dag.tasks)]
    texts += [str(value) for value in dag.params.dump().values()]

    numbers = {number for text in texts for number in PHONE_NUMBER.findall(text)}
    assert numbers <= set(MAGIC_NUMBERS.values())


def test_every_mapped_task_has_a_label(dag: Any) -> None:
    """One that says nothing about a person."""
    templates = {
        name: each.partial_kwargs.get("map_index_template") for name, each in mapped_tasks(dag).items()
    }

    assert None not in templates.values(), templates
    for template in templates.values():
        assert not PERSONAL.intersection(re.findall(r"\w+", template))


def test_there_are_mapped_tasks() -> None:
    """The test before has found them."""
    found = {name: sorted(tasks) for name in NAMES if (tasks := mapped_tasks(example_dag(name)))}

    expected = {
        "example_telzino_call_contacts": ["call", "transcript"],
        "example_telzino_call_ended": ["handle", "record"],
        "example_telzino_nightly_calls": ["call"],
    }
    assert found == {name: tasks for name, tasks in expected.items() if name in NAMES}


def test_the_labels_of_the_examples(sandbox: Sandbox, connected: None) -> None:
    """By call or by row, when the task has run, too."""
    contacts = mapped_tasks(example_dag("example_telzino_call_contacts"))
    record = sandbox.add_call("completed")

    call = contacts["call"].unmap({"to_number": record["to_number"], "metadata": {"row": 7}})
    transcript = contacts["transcript"].unmap({"transcript_id": record})

    assert transcript.execute({})
    assert (label(call), label(transcript)) == ("row 7", f"call {record['id']}")


@pytest.mark.skipif(INSTALLED < (3, 0), reason="Airflow 2 has no watchers")
def test_the_labels_of_ended_calls(sandbox: Sandbox, connected: None) -> None:
    """By call, when the task has run, too."""
    ended = mapped_tasks(example_dag("example_telzino_call_ended"))
    call = sandbox.add_call("no_answer")

    record = ended["record"].unmap({"call_id": {"id": call["id"], "agent_id": call["agent_id"]}})
    handle = ended["handle"].unmap({"op_kwargs": {"record": record.execute({})}})

    assert label(record) == label(handle) == f"call {call['id']}"


def test_the_labels_that_the_docs_recommend(seed_record: dict[str, Any]) -> None:
    """Each template of the page's table gives the label that stands beside it."""
    recommended = re.findall(r"^\| .* \| `(.*{{.*)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)

    @task
    def handle(record: Any) -> None:
        """Work with a record."""

    with DAG("recipes", schedule=None) as dag:
        handle(record=seed_record)
        tasks: dict[str, Any] = {
            "contact {{ task.metadata['contact_id'] }}": TelzinoPlaceCallOperator(
                task_id="place", to_number=seed_record["to_number"], metadata={"contact_id": 17}
            ),
            "call {{ task.call_id }}": TelzinoCallSensor(task_id="wait", call_id=CALL_ID),
            "call {{ task.call_id['id'] }}": TelzinoGetCallOperator(task_id="get", call_id=seed_record),
            "call {{ task.transcript_id['id'] }}": TelzinoGetTranscriptOperator(
                task_id="transcript", transcript_id=seed_record
            ),
            "call {{ task.op_kwargs['record']['id'] }}": dag.get_task("handle"),
        }
    for template, each in tasks.items():
        each.map_index_template = template

    assert dict(recommended) == {template: label(each) for template, each in tasks.items()}
