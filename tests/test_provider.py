"""What Airflow reads from the package, and what importing it costs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import warnings
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.version import Version

import airflow_provider_telzino
from airflow_provider_telzino import __version__
from airflow_provider_telzino.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR, get_provider_info
from airflow_provider_telzino.hooks.telzino import TelzinoHook
from tests.conftest import CALL_ID, ConnectionSetter

pytestmark = pytest.mark.slow

PACKAGE = Path(airflow_provider_telzino.__file__).parent

AIRFLOW = "from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator, Stats"
"""What every DAG file has loaded already, whatever the version of Airflow."""


def airflow_is_older_than(release: str) -> bool:
    """Compare the running Airflow's version."""
    return Version(version("apache-airflow")) < Version(release)


def in_a_new_process(code: str) -> Any:
    """Run Python code in a process of its own and read the JSON that it prints."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_airflow_finds_the_provider() -> None:
    """The entry point leads to the provider info."""
    (found,) = [
        each
        for each in entry_points(group="apache_airflow_provider")
        if each.value.startswith("airflow_provider_telzino.")
    ]

    assert found.load()() == get_provider_info()


def test_provider_info_is_valid() -> None:
    """The provider info follows Airflow's own schema, and is for this version."""
    schema = json.loads((files("airflow") / "provider_info.schema.json").read_text())

    jsonschema.validate(get_provider_info(), schema)

    assert get_provider_info()["versions"] == [__version__]


def test_every_module_that_it_names_exists() -> None:
    """Hooks, sensors, operators and triggers are where the provider info says."""
    info = get_provider_info()
    modules = [
        name
        for kind in ("hooks", "sensors", "operators", "triggers")
        for entry in info[kind]
        for name in entry["python-modules"]
    ]

    for module in modules:
        assert (PACKAGE.parent / (module.replace(".", "/") + ".py")).is_file()


def test_it_names_the_triggers() -> None:
    """All but the one that only begins tasks in the triggerer, which nobody writes into a DAG."""
    (found,) = [each["python-modules"] for each in get_provider_info()["triggers"]]

    assert {name.rpartition(".")[2] for name in found} == {"call", "batch", "ended_calls"}


def test_the_form_is_the_same_on_old_and_new_airflow() -> None:
    """Hook methods (to 3.1) and provider info (from 3.2) come from one source."""
    (connection_type,) = get_provider_info()["connection-types"]
    behaviour = TelzinoHook.get_ui_field_behaviour()

    assert connection_type["connection-type"] == TelzinoHook.conn_type == "telzino"
    assert connection_type["hook-name"] == TelzinoHook.hook_name
    assert behaviour["hidden_fields"] == ["schema", "port", "extra"]
    assert behaviour["relabeling"] == connection_type["ui-field-behaviour"]["relabeling"]
    assert set(connection_type["conn-fields"]) == {"agent_id", "audience", "timeout", "ca_bundle", "call_url"}
    assert set(behaviour["placeholders"]) == {"host", "login", "password"} | set(
        connection_type["conn-fields"]
    )


@pytest.mark.skipif(
    # 2.11 brings Flask-AppBuilder along, the matrix adds it to 3.0, and from 3.2 on it isn't needed.
    importlib.util.find_spec("flask_appbuilder") is None
    and not airflow_is_older_than("3.1")
    and airflow_is_older_than("3.2"),
    reason="3.1's API server stands in for Flask-AppBuilder, which isn't installed: see the next test",
)
def test_airflow_loads_the_connection_type_without_warnings() -> None:
    """Airflow's provider manager accepts the form and logs no warning about it."""
    code = """
import json, logging, warnings
lines = []
class Keep(logging.Handler):
    def emit(self, record): lines.append(record.getMessage())
logging.getLogger().addHandler(Keep(level=logging.WARNING))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from airflow.providers_manager import ProvidersManager
    manager = ProvidersManager()
    hook = manager.hooks["telzino"]
    fields = sorted(name for name in manager.connection_form_widgets if "telzino" in name)
    hidden = manager.field_behaviours["telzino"]["hidden_fields"]
ours = [str(each.message) for each in caught if "elzino" in str(each.message)]
print(json.dumps([hook.hook_name, fields, hidden, ours, [line for line in lines if "elzino" in line]]))
"""
    name, fields, hidden, warned, logged = in_a_new_process(code)

    assert name == "Telzino"
    assert fields == [
        f"extra__telzino__{each}" for each in ("agent_id", "audience", "ca_bundle", "call_url", "timeout")
    ]
    assert hidden == ["schema", "port", "extra"]
    assert (warned, logged) == ([], [])


@pytest.mark.skipif(airflow_is_older_than("3"), reason="Airflow 2 makes the form itself, on the server")
def test_the_form_as_the_web_interface_gets_it() -> None:
    """Airflow 3's web interface asks the API server for the labels, and for what is hidden."""
    code = """
import json
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
(ours,) = [each for each in HookMetaService.hook_meta_data() if each.connection_type == "telzino"]
print(json.dumps(ours.model_dump()))
"""
    form = in_a_new_process(code)
    standard, extra = form["standard_fields"], form["extra_fields"]

    assert form["hook_name"] == "Telzino"
    assert {name for name, each in standard.items() if each and each["hidden"]} == {"url_schema", "port"}
    relabeled = UI_FIELD_BEHAVIOUR["relabeling"]
    assert {name: standard[name]["title"] for name in relabeled} == relabeled
    assert {name: each["schema"]["title"] for name, each in extra.items()} == {
        name: each["label"] for name, each in CONN_FIELDS.items()
    }


def test_imports_warn_of_nothing() -> None:
    """No module uses what Airflow, or Python, is about to drop."""
    code = f"""
import importlib, json, pkgutil, warnings
{AIRFLOW}
import airflow_provider_telzino
folder = airflow_provider_telzino.__path__[0]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    modules = [each.name for each in pkgutil.walk_packages([folder], "airflow_provider_telzino.")]
    for name in modules:
        if not name.endswith("__main__"):
            importlib.import_module(name)
print(json.dumps([modules, [str(each.message) for each in caught if each.filename.startswith(folder)]]))
"""
    modules, warned = in_a_new_process(code)

    assert "airflow_provider_telzino.triggers.call" in modules
    assert warned == []


@pytest.mark.parametrize(
    "module",
    [
        *("sensors.call", "sensors.batch", "operators.call", "operators.campaign", "operators.transcript"),
        *("hooks.telzino", "triggers.batch", "triggers.ended_calls"),
    ],
)
def test_imports_are_lean(module: str) -> None:
    """Every DAG parse and every worker start pays for an import, so no HTTP library and no web server."""
    code = f"""
import json, sys
{AIRFLOW}
before = set(sys.modules)
import airflow_provider_telzino.{module}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    added = in_a_new_process(code)

    heavy = {"aiohttp", "requests", "urllib3", "fastapi", "uvicorn", "airflow_provider_telzino.sandbox"}
    assert not heavy.intersection(added)
    assert f"airflow_provider_telzino.{module}" in added


def test_the_provider_info_needs_nothing() -> None:
    """Every Airflow process reads it at its start: it imports nothing but the package itself."""
    code = """
import json, sys
import __future__, typing
before = set(sys.modules)
import airflow_provider_telzino.get_provider_info
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    assert in_a_new_process(code) == [
        "airflow_provider_telzino",
        "airflow_provider_telzino.get_provider_info",
    ]


def test_imports_cost_little_beside_airflows_own() -> None:
    """Sensors and operators add no modules but ours and tenacity, and so little time, to a DAG parse."""
    code = f"""
import json, sys
{AIRFLOW}
before = set(sys.modules)
import airflow_provider_telzino.sensors.call, airflow_provider_telzino.sensors.batch
import airflow_provider_telzino.operators.call
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    added = {name.partition(".")[0] for name in in_a_new_process(code)}
    assert added <= {"airflow", "airflow_provider_telzino", "tenacity"}


def test_what_takes_long_is_not_done_in_the_event_loop(connect: ConnectionSetter) -> None:
    """The triggerer's first poll imports aiohttp and reads CA certificates in threads."""
    connect("https://127.0.0.1:1")
    code = f"""
import asyncio, json, ssl, sys, threading
from airflow_provider_telzino.exceptions import TelzinoUnavailableError
from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook

in_the_loop = {{}}

def note(name):
    here = threading.current_thread() is threading.main_thread()
    in_the_loop[name] = in_the_loop.get(name, False) or here

class Imports:
    def find_spec(self, name, path=None, target=None):
        note(name)

def create_default_context(*args, original=ssl.create_default_context, **options):
    note("CA certificates")
    return original(*args, **options)

async def poll():
    hook = TelzinoAsyncHook()
    try:
        await hook.get_call({CALL_ID!r}, retry_for=0)
    except TelzinoUnavailableError:
        await hook.close()

assert "aiohttp" not in sys.modules
sys.meta_path.insert(0, Imports())
ssl.create_default_context = create_default_context
asyncio.run(poll())
assert {{"aiohttp", "CA certificates"}} <= set(in_the_loop)  # Airflow 2.11 itself has imported requests
print(json.dumps([in_the_loop.get(name, False) for name in ("aiohttp", "requests", "CA certificates")]))
"""
    assert in_a_new_process(code) == [False, False, False]


def test_public_names_are_where_the_interface_says() -> None:
    """DAGs of others depend on these imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from airflow_provider_telzino.exceptions import TelzinoError
        from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook, TelzinoHook
        from airflow_provider_telzino.models import Call, CallStatus
        from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
        from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator
        from airflow_provider_telzino.sensors.batch import TelzinoCallBatchSensor
        from airflow_provider_telzino.sensors.call import TelzinoCallSensor
        from airflow_provider_telzino.triggers.call import TelzinoCallTrigger
        from airflow_provider_telzino.triggers.ended_calls import TelzinoCallEndedTrigger

    for public in (
        Call,
        CallStatus,
        TelzinoAsyncHook,
        TelzinoCallBatchSensor,
        TelzinoCallEndedTrigger,
        TelzinoCallSensor,
        TelzinoCallTrigger,
        TelzinoError,
        TelzinoGetCallOperator,
        TelzinoGetTranscriptOperator,
        TelzinoHook,
        TelzinoPlaceCallOperator,
    ):
        assert public.__doc__


def test_the_package_is_typed() -> None:
    """Type checkers of users read our annotations."""
    assert (PACKAGE / "py.typed").is_file()
