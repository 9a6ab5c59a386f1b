"""The command ``python -m airflow_provider_telzino.sandbox``, as a real process."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_telzino.sandbox import DEFAULT_AGENT_ID, MAGIC_NUMBERS, Sandbox
from airflow_provider_telzino.sandbox.__main__ import main, parser

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-m", "airflow_provider_telzino.sandbox"]
LAST_NUMBER = list(MAGIC_NUMBERS.values())[-1]


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command, and yield it and what it prints until it serves; kill it at the end."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    try:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if LAST_NUMBER in line:
                break
        yield process, printed
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_and_end(number: signal.Signals) -> None:
    """It prints all that a user needs, serves, and ends cleanly on Ctrl-C or SIGTERM."""
    with running("--speed", "50", "--seed", "7", "--agents", "2") as (process, printed):
        found = re.search(r"http://127\.0\.0\.1:\d+", printed)
        assert found is not None, process.communicate(timeout=10)
        api = f"{found.group()}/v1/agents"
        answer = requests.get(api, headers={"Authorization": "Bearer sandbox-token"}, timeout=10)

        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)

    assert [agent["id"] for agent in answer.json()["data"]] == Sandbox(seed=7, agents=2).agent_ids
    assert (process.returncode, rest.strip(), errors) == (0, "", "")
    assert all(shown in printed for shown in MAGIC_NUMBERS.values())
    call_url = found.group() + "/#call={call_id}"
    command = printed[printed.index("airflow connections") : printed.index("Magic numbers")]
    assert shlex.split(command.replace("\\\n", "")) == [
        *("airflow", "connections", "add", "telzino_default", "--conn-type", "telzino"),
        *("--conn-host", found.group(), "--conn-login", "sandbox", "--conn-password", "sandbox-secret"),
        *("--conn-extra", json.dumps({"agent_id": DEFAULT_AGENT_ID, "call_url": call_url})),
    ]


def test_options_reach_the_sandbox() -> None:
    """Faults and credentials can be set by options."""
    options = ["--rate-limit-rate", "1", "--retry-after", "3", "--access-token", "abc", "--latency", "0-0.01"]
    options += ["--max-concurrent-calls", "7"]
    with running(*options) as (_, printed):
        (url,) = set(re.findall(r"http://127\.0\.0\.1:\d+", printed))

        answer = requests.get(f"{url}/v1/agents", headers={"Authorization": "Bearer abc"}, timeout=10)

        shown = requests.get(f"{url}/sandbox/calls.json", timeout=10).json()

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert shown["max_concurrent_calls"] == 7


SCRIPT = {
    "outcomes": ["completed"],
    "summary_text": "The callee will come.",
    "transcript": [["user", "Yes."]],
}


def test_a_script_reaches_the_sandbox(tmp_path: Path) -> None:
    """Calls to its numbers end as it says."""
    (tmp_path / "calls.json").write_text(json.dumps({"+15005550120": SCRIPT}))
    with running("--script", str(tmp_path / "calls.json"), "--speed", "10000") as (_, printed):
        (url,) = set(re.findall(r"http://127\.0\.0\.1:\d+", printed))
        calls = f"{url}/v1/agents/{DEFAULT_AGENT_ID}/outbound-calls"
        with requests.Session() as api:
            api.headers["Authorization"] = "Bearer sandbox-token"
            call = api.post(calls, json={"to_number": "+15005550120"}, timeout=10).json()
            record: dict[str, Any] = {}
            while record.get("ended_at") is None:
                record = api.get(f"{calls}/{call['id']}", timeout=10).json()

    assert (record["status"], record["summary_text"]) == ("completed", "The callee will come.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("{", "Expecting"),
        ("[]", "a number for each key"),
        ('{"+15005550120": "busy"}', "mapping"),
        ('{"+15005550120": {}}', "'outcomes'"),
        ('{"+15005550120": {"outcomes": ["ringing"]}}', "`outcomes` should be"),
        ('{"+15005550120": {"outcomes": ["busy"], "summary": "a"}}', "'summary'"),
    ],
)
def test_a_bad_script(
    text: str | None, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the file, and what is wrong with it."""
    path = tmp_path / "calls.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(SystemExit) as end:
        main(["--script", str(path)])

    assert end.value.code == 2
    errors = capsys.readouterr().err
    assert "--script" in errors
    assert str(path) in errors
    assert reason in errors


def test_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is in use is a clear error."""
    with Sandbox() as other:
        code = main(["--port", other.url.rpartition(":")[2]])

    assert code == 1
    assert "in use" in (errors := capsys.readouterr().err)
    assert "--port 0" in errors


def test_foreign_host(capsys: pytest.CaptureFixture[str]) -> None:
    """Only loopback."""
    code = main(["--host", "0.0.0.0"])  # noqa: S104 - it is refused

    assert code == 2
    assert "loopback" in capsys.readouterr().err


def test_without_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If FastAPI is missing, the error says what to install."""
    for module in [name for name in sys.modules if name.startswith("airflow_provider_telzino.sandbox.")]:
        if module.rpartition(".")[2] in ("app", "schemas"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "fastapi", None)

    code = main(["--port", "0"])

    assert code == 1
    assert "airflow-provider-telzino[sandbox]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [["--port", "70000"], ["--port", "x"], ["--speed", "0"], ["--speed", "nan"], ["--error-rate", "2"],
     ["--latency", "2-1"], ["--latency", "-1"], ["--rate-limit", "0"], ["--agents", "0"],
     ["--max-concurrent-calls", "0"],
     ["--retry-after", "a\nb"], ["--list-lag", "inf"], ["--unknown"]],
)  # fmt: skip
def test_bad_options(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A bad option is named."""
    with pytest.raises(SystemExit) as end:
        main(options)

    assert end.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` explains all options."""
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])

    shown = capsys.readouterr().out
    for option in ("--speed", "--seed", "--latency", "--error-rate", "--rate-limit", "--retry-after"):
        assert option in shown


def test_nothing_of_airflow_is_imported() -> None:
    """The sandbox doesn't depend on Airflow."""
    code = (
        "import sys; from airflow_provider_telzino.sandbox import Sandbox\n"
        "with Sandbox(): print([name for name in sys.modules if name.split('.')[0] == 'airflow'])"
    )

    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert printed.strip() == "[]"
