"""Airflow's web interface in a real browser: the connection form, logs, XCom, labels, links and docs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect

from airflow_provider_telzino.get_provider_info import CONN_FIELDS, HOOK_NAME, UI_FIELD_BEHAVIOUR
from airflow_provider_telzino.sandbox import (
    CLIENT_ID,
    CLIENT_SECRET,
    DEFAULT_AGENT_ID,
    MAGIC_NUMBERS,
    Sandbox,
)
from devtools.airflow_instance import AirflowInstance
from tests.support.browser import confined_page, running_chromium, take_screenshot
from tests.support.integration.running_airflow import running_airflow
from tests.support.programs import needs

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("end to end"), needs("chromium")]

CONN_ID = "telzino_from_form"
CALL_CONTEXT = "You are calling Wilhelmina about her appointment."

Screenshot = Callable[[str], None]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox whose calls take seconds."""
    # With this seed the record is short enough for the XCom tab to show all of it.
    with Sandbox(speed=5, seed=1) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """A whole Airflow, with a DAG that uses a connection which doesn't exist yet."""
    with running_airflow(tmp_path_factory.mktemp("browser") / "airflow", "browser") as running:
        for dag_id in ("browser", "labels"):
            running.wait_for_dag(dag_id)
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, airflow: AirflowInstance) -> Iterator[Page]:
    """A page of Airflow, logged in, that can reach nothing but Airflow."""
    with confined_page(chromium, airflow.base_url) as page:
        page.goto(airflow.base_url)
        page.get_by_label("Username").fill(airflow.username)
        page.get_by_label("Password").fill(airflow.password)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Admin").wait_for()
        yield page


@pytest.fixture
def screenshot(page: Page, tmp_path: Path) -> Screenshot:
    """Take a screenshot of the page."""
    return lambda name: take_screenshot(page, name, tmp_path)


def field(form: Locator, name: str) -> Locator:
    """Return a field of the connection form by its name; ours in Extra are named ``element_...``."""
    return form.locator(f"[name='{name}']")


def choose_type(page: Page, name: str) -> None:
    """Select the type of the connection."""
    page.get_by_role("dialog").get_by_role("combobox").click()
    page.keyboard.type(name)
    page.get_by_role("option", name=name, exact=True).click()


def open_extra_fields(form: Locator) -> None:
    """Expand our own fields."""
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    expect(field(form, "element_agent_id")).to_be_visible()


def wait_for_polls(airflow: AirflowInstance, sandbox: Sandbox, call_id: str, count: int) -> None:
    """Wait until a call has been polled so many times."""
    airflow.wait_until(
        lambda: sum(request.path.endswith(call_id) for request in list(sandbox.requests)) >= count,
        "polls of the call",
        timeout=180,
    )


def test_the_connection_form_and_a_run_that_uses_it(
    page: Page, airflow: AirflowInstance, sandbox: Sandbox, screenshot: Screenshot
) -> None:
    """From the form to the record: our labels in the form, the secret nowhere, the record in the XCom tab."""
    answers: list[str] = []

    def keep(response: Response) -> None:
        if re.match(r"application/json|text/", response.headers.get("content-type", "")) and response.ok:
            answers.append(response.text())

    # The form shows our fields, with our labels.
    page.goto(f"{airflow.base_url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    choose_type(page, "HTTP")
    for name in ("schema", "port"):  # what another type shows, and ours hides
        expect(field(form, name)).to_have_count(1)
    choose_type(page, HOOK_NAME)
    for name, label in UI_FIELD_BEHAVIOUR["relabeling"].items():
        expect(form.get_by_label(label, exact=True)).to_have_attribute("name", name)
        placeholder = UI_FIELD_BEHAVIOUR["placeholders"][name]
        expect(field(form, name)).to_have_attribute("placeholder", placeholder)
    for name in ("schema", "port"):
        assert name in UI_FIELD_BEHAVIOUR["hidden-fields"]
        expect(field(form, name)).to_have_count(0)
    expect(field(form, "password")).to_have_attribute("type", "password")
    open_extra_fields(form)
    for name, ours in CONN_FIELDS.items():
        expect(field(form, f"element_{name}")).to_be_visible()
        expect(form.get_by_text(ours["label"], exact=False).first).to_be_visible()
        expect(form.get_by_text(ours["description"], exact=True)).to_be_visible()
    page.set_viewport_size({"width": 1280, "height": 1180})  # all of them
    screenshot("connection-form-extra")
    page.set_viewport_size({"width": 1280, "height": 860})

    # It is filled in and saved.
    form.get_by_role("button", name="Standard Fields").click()
    field(form, "connection_id").fill(CONN_ID)
    field(form, "host").fill(sandbox.url)
    field(form, "login").fill(CLIENT_ID)
    screenshot("connection-form")
    field(form, "password").fill(CLIENT_SECRET)
    open_extra_fields(form)
    field(form, "element_agent_id").fill(DEFAULT_AGENT_ID)
    page.on("response", keep)
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()
    expect(page.get_by_role("cell", name=CONN_ID)).to_be_visible()

    # The secret is never shown again.
    row = page.get_by_role("row").filter(has_text=CONN_ID)
    row.get_by_role("button", name="Edit Connection").click()
    expect(field(form, "host")).to_have_value(sandbox.url)
    expect(field(form, "password")).to_have_value("***")
    html = page.content()
    form.get_by_role("button", name="Close").click()
    assert CLIENT_SECRET not in html

    # A run over this connection ends with the record. Each status lasts until the task has seen it.
    call_id = str(sandbox.place(MAGIC_NUMBERS["completed"], call_context=CALL_CONTEXT)["id"])
    sandbox.move(call_id, "dialing")
    run_id = airflow.api.trigger("browser", {"call_id": call_id})
    wait_for_polls(airflow, sandbox, call_id, 1)
    sandbox.move(call_id, "in_progress")
    wait_for_polls(airflow, sandbox, call_id, 3)
    sandbox.finish(call_id, "completed")
    assert airflow.wait_for_run("browser", run_id, timeout=180) == "success"
    record = sandbox.call(call_id)

    task = f"{airflow.base_url}/dags/browser/runs/{run_id}/tasks/wait_for_call"
    page.goto(task)
    for change in ("dialing → in_progress", "in_progress → completed"):
        expect(page.get_by_text(re.compile(f"Call {call_id}: {change}"))).to_be_visible()
    log = page.locator("body").inner_text()
    screenshot("task-log")
    page.goto(f"{task}/xcom")
    expect(page.get_by_text("return_value", exact=True)).to_be_visible()
    page.get_by_role("button", name="Expand all").or_(page.get_by_label("Expand")).first.click()
    expect(page.get_by_text(call_id).first).to_be_visible()
    for value in ("completed", record["summary_text"].splitlines()[0], str(record["duration"])):
        expect(page.get_by_text(value).first).to_be_visible()
    screenshot("xcom")

    for private in (CALL_CONTEXT, record["to_number"], record["summary_text"].splitlines()[0]):
        assert private not in log
    assert any(json.dumps(CONN_ID) in answer for answer in answers)
    assert [answer for answer in answers if CLIENT_SECRET in answer] == []


def test_mapped_tasks_that_call(
    page: Page, airflow: AirflowInstance, sandbox: Sandbox, screenshot: Screenshot
) -> None:
    """They have labels without personal data, and a button that leads to the call; the DAG has its text."""
    airflow.add_telzino_connection(sandbox.url)
    run_id = airflow.api.trigger("labels")
    assert airflow.wait_for_run("labels", run_id, timeout=180) == "success"

    # The list of the mapped tasks.
    tasks = f"{airflow.base_url}/dags/labels/runs/{run_id}/tasks/call/mapped"
    page.goto(tasks)
    page.set_viewport_size({"width": 1280, "height": 560})
    for label in ("contact 17", "contact 18"):
        expect(page.get_by_role("link", name=label, exact=True)).to_be_visible()
    for call in sandbox.calls:
        assert call["to_number"] not in page.locator("body").inner_text()
    screenshot("mapped-tasks")

    # The way from one of them to its call.
    page.goto(f"{tasks}/1/details")
    button = page.get_by_role("link", name="Call", exact=True)
    (call,) = (each for each in sandbox.calls if each["to_number"] == MAGIC_NUMBERS["busy"])
    expect(button).to_have_attribute("href", f"{sandbox.url}/#call={call['id']}")

    # What the DAG is for.
    page.goto(f"{airflow.base_url}/dags/labels")
    page.get_by_role("button", name="Dag Docs").click()
    documentation = page.get_by_role("dialog")
    expect(documentation).to_contain_text("Call two contacts")
    expect(documentation.get_by_role("listitem")).to_contain_text("Needs the connection telzino_default.")
