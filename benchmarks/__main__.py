"""``python -m benchmarks [--quick]``: measure all contenders and print the tables."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from devtools.processes import ROOT

PLOT = ROOT / "docs" / "images" / "bench.svg"
# Before anything imports Airflow: it reads its settings once.
os.environ["AIRFLOW_HOME"] = str(ROOT / ".work" / "bench" / "airflow")

from benchmarks import report, tables, targets  # noqa: E402
from benchmarks.comparison import FULL, QUICK, compare  # noqa: E402
from benchmarks.plot import draw  # noqa: E402
from benchmarks.worlds import server  # noqa: E402


def main() -> int:
    """Run it. The exit code says whether everything worked, not whether it was fast."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes, less exact")
    quick = parser.parse_args().quick
    plan = QUICK if quick else FULL
    started = time.monotonic()

    def say(what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - started:5.0f} s  {what} ...\n")

    with server() as url, ThreadPoolExecutor(1) as beside:
        outage = beside.submit(targets.outage, url, plan)
        found = compare(url, plan, say)
        say("the outage, and other cases")
        rows = list(targets.rows(url, plan, found, outage.result()))
    printed = "\n\n".join(
        [tables.target_table(rows), *report.comparison_tables(found, plan), tables.setting()]
    )
    print(printed)
    if not quick:
        draw(found, plan, PLOT)
        tables.write_into_docs("micro", printed)
    return 1 if any(lag.missed for lag in found.lag.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
