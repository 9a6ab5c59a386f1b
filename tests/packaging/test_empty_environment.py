"""The wheel, installed beside nothing but Airflow, runs the demo's DAG from the sdist."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import requests

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, DEFAULT_AGENT_ID, MAGIC_NUMBERS
from devtools.set_up import CONSTRAINTS, ROOT, pinned, pip_settings, uv_environment

pytestmark = pytest.mark.integration

DAG_ID = "example_telzino_place_call"
UV = Path(sys.executable).parent / "uv"


def run(*command: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command outside of this work tree, which must succeed."""
    done = subprocess.run(command, cwd=env["HOME"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    return done


def test_the_wheel_runs_the_demo(tmp_path: Path) -> None:
    """A call is placed in its sandbox, and the DAG run succeeds."""
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    run(*build, env={**os.environ, "HOME": str(tmp_path)})
    (sdist,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    examples = tmp_path / sdist.name.removesuffix(".tar.gz") / "example_dags"
    assert (examples / f"{DAG_ID}.py").exists()

    uv_env = uv_environment(pip_settings(), {**os.environ, "HOME": str(tmp_path)})
    run(UV, "venv", "--python", sys.executable, tmp_path / "empty", env=uv_env)
    python = tmp_path / "empty" / "bin" / "python"
    requirements = [pinned("apache-airflow"), str(wheel)]
    run(UV, "pip", "install", "--python", python, "--constraints", CONSTRAINTS, *requirements, env=uv_env)

    env = {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(examples),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    start: list[str | Path] = [
        python,
        "-u",
        "-m",
        "airflow_provider_telzino.sandbox",
        "--port",
        "0",
        "--speed",
        "20",
    ]
    with subprocess.Popen(start, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as sandbox:
        try:
            assert sandbox.stdout is not None
            url = next(word for word in sandbox.stdout.readline().split() if word.startswith("http")).rstrip(
                "/"
            )
            connection = {"conn_type": "telzino", "host": url, "password": ACCESS_TOKEN}
            env["AIRFLOW_CONN_TELZINO_DEFAULT"] = json.dumps(
                {**connection, "extra": {"agent_id": DEFAULT_AGENT_ID}}
            )
            run("airflow", "db", "migrate", env=env)
            conf = json.dumps({"to_number": MAGIC_NUMBERS["completed"]})
            log = run("airflow", "dags", "test", DAG_ID, "--conf", conf, env=env)
            calls = requests.get(
                f"{url}/v1/agents/{DEFAULT_AGENT_ID}/outbound-calls",
                headers={"Authorization": f"Bearer {ACCESS_TOKEN}"},
                timeout=30,
            ).json()["data"]
        finally:
            sandbox.terminate()

    assert [call["status"] for call in calls] == ["completed"], log.stdout[-3_000:]
    assert "state=success" in log.stdout + log.stderr
