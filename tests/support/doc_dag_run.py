"""Run the DAG files in a folder with ``dag.test()`` against a sandbox; print the results.

Each file has the name of the function that makes its DAG.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, DEFAULT_AGENT_ID, MAGIC_NUMBERS, Sandbox
from tests.support.dag_test_run import RESULT_MARK, zone_at_noon


def run(file: Path) -> dict[str, Any]:
    """Run one of them at noon, whenever that is, with a number that completes."""
    file.write_text(file.read_text().replace("America/New_York", zone_at_noon()))
    with Sandbox(speed=20) as sandbox:
        extra = {"agent_id": DEFAULT_AGENT_ID}
        connection = {"conn_type": "telzino", "host": sandbox.url, "password": ACCESS_TOKEN, "extra": extra}
        os.environ["AIRFLOW_CONN_TELZINO_DEFAULT"] = json.dumps(connection)
        dag = runpy.run_path(str(file))[file.stem]()
        state = dag.test(run_conf={"to_number": MAGIC_NUMBERS["completed"]}).state
        return {"state": state, "calls": [call["status"] for call in sandbox.calls]}


def main(folder: Path) -> None:
    """Run all. Airflow wants each DAG in its own folder of DAGs."""
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(folder)
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    results = {file.stem: run(file) for file in sorted(folder.glob("*.py"))}
    print(f"\n{RESULT_MARK}{json.dumps(results)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
