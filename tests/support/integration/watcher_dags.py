"""DAG files with watchers of ended calls: the example, and others that share its polls.

Those others have nothing to run. They aren't paused: Airflow stops the watchers of paused DAGs.
"""

from __future__ import annotations

from pathlib import Path

EXAMPLE = "example_telzino_call_ended"
INTERVAL = 3.0  # seconds between two polls
WATCHERS = 10

OTHER = """
from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Asset, AssetWatcher, dag

from airflow_provider_telzino.triggers.ended_calls import TelzinoCallEndedTrigger

TRIGGER = TelzinoCallEndedTrigger(poll_interval={interval})
ASSET = Asset(
    name="{name}", uri="telzino://{name}", watchers=[AssetWatcher(name="{name}", trigger=TRIGGER)]
)


@dag(dag_id="{name}", schedule=[ASSET])
def watched():
    EmptyOperator(task_id="nothing")


watched()
"""


def write_dags(folder: Path) -> None:
    """Write ten DAG files, each with a watcher of the same calls, to a folder."""
    folder.mkdir(parents=True)
    source = (Path(__file__).resolve().parents[3] / "example_dags" / f"{EXAMPLE}.py").read_text()
    for old, new in {
        "TelzinoCallEndedTrigger()": f"TelzinoCallEndedTrigger(poll_interval={INTERVAL})",
        "is_paused_upon_creation=True": "is_paused_upon_creation=False",
    }.items():
        assert old in source, old
        source = source.replace(old, new)
    (folder / f"{EXAMPLE}.py").write_text(source)
    for number in range(1, WATCHERS):
        name = f"watcher_{number}"
        (folder / f"{name}.py").write_text(OTHER.format(name=name, interval=INTERVAL))
