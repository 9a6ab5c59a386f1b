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

from tests.support.dag_test_run import ANSWERS, RESULT_MARK, scripted


def run(file: Path) -> dict[str, Any]:
    """Run one of them, with a number that completes."""
    with scripted({ANSWERS: ["completed"]}) as telzino:
        dag = runpy.run_path(str(file))[file.stem]()
        state = dag.test(run_conf={"to_number": ANSWERS}).state
        return {"state": state, "calls": [call["status"] for call in telzino.calls]}


def main(folder: Path) -> None:
    """Run all. Airflow wants each DAG in its own folder of DAGs."""
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(folder)
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    results = {file.stem: run(file) for file in sorted(folder.glob("*.py"))}
    print(f"\n{RESULT_MARK}{json.dumps(results)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
