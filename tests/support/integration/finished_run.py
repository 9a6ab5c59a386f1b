"""One DAG run whose tasks wait and end in every way, while its calls progress step by step."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

import requests

from airflow_provider_telzino.sandbox import CLIENT_ID, Sandbox
from devtools.airflow_instance import AirflowInstance
from devtools.airflow_instance.rest_client import task_name
from tests.support.integration.leaks import Watcher, written_files
from tests.support.integration.metrics_server import MetricsServer

DAG_ID = "end_to_end"
TIMEOUT = 400.0  # seconds for each step, on a machine that is busy with other things

# Words that occur nowhere else, so that a search for them finds only leaks.
CLIENT_SECRET = "Xylophone-secret-of-the-client"
WRONG_SECRET = "Zeppelin-secret-that-is-wrong"
ACCESS_TOKEN = "Quicksilver-token-that-was-pasted"
TO_NUMBER = "+15005550187"
PERSONAL_WORDS = {
    "to_number": TO_NUMBER.removeprefix("+"),
    "call_context": "Wilhelmina",
    "request_metadata": "Ottokar",
    "summary_text": "Marzipan",
}
"""The field of the record, and the word in it."""
CALL_CONTEXT = f"You are calling {PERSONAL_WORDS['call_context']} about her appointment."

LIVE_CALLS = {
    "completed": "queued",
    "no_answer": "dialing",
    "busy": "dialing",
    "failed": "dialing",
    "long": "in_progress",
    "refused": "in_progress",
}
"""The calls by how they end (the last two don't), and the status in which the tasks find them."""

MAPPED_ENDINGS = ("completed", "no_answer", "busy", "failed")
SEE_EACH_STATUS = ("deferred", "poked")
DEFERRED_UNTIL_THE_END = (
    *("deferred", "cut", "got", "by_record", "placed"),
    *("fails", "fails_softly", "got_fails", "skips", "got_skips"),
)
NOT_DEFERRED = (
    *("poked", "rescheduled", "got_poked", "fails_poked", "fails_rescheduled", "skips_poked"),
    "skips_rescheduled",
)
NO_LONGER_NEEDED = ("scheduler", "triggerer", "dag-processor")
"""Stopped at the end of the run: only the API server is needed from then on, and others need the CPU."""


@dataclass
class FinishedRun:
    """A finished DAG run; of its Airflow only the API server still runs."""

    airflow: AirflowInstance
    sandbox: Sandbox
    watcher: Watcher
    metrics: MetricsServer
    run_id: str = ""
    calls: dict[str, str] = field(default_factory=dict)
    """The call's id, by how it ends."""
    mapped: list[str] = field(default_factory=list)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The task instances, by task id; a mapped one as ``task_id[index]``."""

    # --- Its outcome ---

    def state(self, task: str) -> str:
        """Return how a task ended."""
        return str(self.tasks[task]["state"])

    def needed_tries(self, task: str) -> int:
        """Return how many tries a task has needed."""
        return self.airflow.api.needed_tries(self.tasks[task])

    def xcom(self, task_id: str, map_index: int = -1) -> Any:
        """Return what a task pushed."""
        return self.airflow.api.xcom(DAG_ID, self.run_id, task_id, map_index=map_index)

    def links(self, task_id: str) -> dict[str, str | None]:
        """Return the buttons of a task, and where they lead."""
        return self.airflow.api.links(DAG_ID, self.run_id, task_id)

    def log(self, task_id: str, map_index: int = -1) -> str:
        """Return the log of a task's first try, as the web interface shows it."""
        return self.airflow.api.log(DAG_ID, self.run_id, task_id, map_index=map_index)

    def record(self, ending: str) -> dict[str, Any]:
        """Return the sandbox's record of a call."""
        return self.sandbox.call(self.calls[ending])

    def written(self) -> dict[str, str]:
        """Return all that Airflow wrote, by place: a table, the rows of one task in a table, or a file."""
        return {**self.watcher.seen(), **written_files(self.airflow.home)}

    # --- The run ---

    def play(self, mapped: int) -> None:
        """Add the calls, run the DAG, move the calls to their ends, and wait for the end of the run."""
        self._add_connections()
        self._add_variables()
        self.airflow.wait_for_dag(DAG_ID)
        self.calls = {ending: self._add_call(status) for ending, status in LIVE_CALLS.items()}
        self.calls["early"] = self._add_call("completed", summary_text=PERSONAL_WORDS["summary_text"])
        self.mapped = [self._add_call("in_progress") for _ in range(mapped)]
        words = {"message": f"No call to {TO_NUMBER} with Bearer {ACCESS_TOKEN}, that is {ACCESS_TOKEN}."}
        self.sandbox.faults.next(
            "GET", self.calls["refused"], times=9, status=400, raw_body=json.dumps(words).encode()
        )
        with self.watcher.watching():
            self.run_id = self.airflow.api.trigger(DAG_ID, {**self.calls, "mapped": self.mapped})
            self._move_calls()
            self.airflow.wait_for_run(DAG_ID, self.run_id, TIMEOUT)
        self.watcher.read_all_tables()
        instances = self.airflow.api.task_instances(DAG_ID, self.run_id)
        self.tasks = {task_name(instance): instance for instance in instances}
        for component in NO_LONGER_NEEDED:
            self.airflow.process(component).terminate()

    def _add_connections(self) -> None:
        add, host = self.airflow.add_telzino_connection, self.sandbox.url
        add(host, login=CLIENT_ID, password=CLIENT_SECRET)
        add(host, "telzino_pasted", password=ACCESS_TOKEN)
        add(host, "telzino_wrong", login=CLIENT_ID, password=WRONG_SECRET)

    def _add_variables(self) -> None:
        """Add the personal data of the call that the DAG places. Airflow encrypts it."""
        person = {
            "to_number": TO_NUMBER,
            "call_context": CALL_CONTEXT,
            "request_metadata": PERSONAL_WORDS["request_metadata"],
        }
        for key, value in person.items():
            self.airflow.api.request("POST", "/variables", json={"key": key, "value": value})

    def _add_call(self, status: str, **fields: Any) -> str:
        call = self.sandbox.add_call(
            status,
            to_number=TO_NUMBER,
            call_context=CALL_CONTEXT,
            request_metadata={"name": PERSONAL_WORDS["request_metadata"]},
            **fields,
        )
        return str(call["id"])

    def _move_calls(self) -> None:
        """Move each call on once the tasks have seen its status; none ends before all tasks wait for it."""
        self.calls["placed"] = self._placed_call()
        self.sandbox.move(self.calls["placed"], "in_progress")
        for status in ("queued", "dialing", "in_progress"):
            if status != "queued":
                self.sandbox.move(self.calls["completed"], status)
            for task in SEE_EACH_STATUS:
                self._wait_until_seen(task, status)
        for task in NOT_DEFERRED:
            self._wait_until_seen(task, r"\w+")
        self.airflow.wait_until(self._all_are_deferred, "every task waits in the triggerer", TIMEOUT)
        self.watcher.read_all_tables()
        for ending in MAPPED_ENDINGS:
            self._finish(self.calls[ending], ending)
        self._finish(self.calls["placed"], "completed")
        for index, call_id in enumerate(self.mapped):
            self._finish(call_id, MAPPED_ENDINGS[index % len(MAPPED_ENDINGS)])

    def _placed_call(self) -> str:
        """Wait until the DAG has placed its call, and return its id."""
        others = {*self.calls.values(), *self.mapped}

        def placed() -> list[str]:
            return [call["id"] for call in self.sandbox.calls if call["id"] not in others]

        self.airflow.wait_until(lambda: bool(placed()), "a call is placed", TIMEOUT)
        (call_id,) = placed()
        return call_id

    def _wait_until_seen(self, task: str, status: str) -> None:
        """Wait until a task's log says that its call has a status."""

        def seen() -> bool:
            with contextlib.suppress(requests.HTTPError):  # It has no log before it starts.
                return re.search(rf"(is|→) {status}\b", self.log(task)) is not None
            return False

        self.airflow.wait_until(seen, f"{task} sees its call {status}", TIMEOUT)

    def _all_are_deferred(self) -> bool:
        states = self.airflow.api.task_states(DAG_ID, self.run_id)
        mapped = [f"mapped[{index}]" for index in range(len(self.mapped))]
        waiting = {task: states.get(task) for task in (*DEFERRED_UNTIL_THE_END, *mapped)}
        if early := [task for task, state in waiting.items() if state in ("success", "failed", "skipped")]:
            raise RuntimeError(f"{early[0]} ended before its call: {self.log(early[0])}")
        return set(waiting.values()) == {"deferred"}

    def _finish(self, call_id: str, status: str) -> None:
        word = PERSONAL_WORDS["summary_text"]  # in its headline and at its end: no part of it may be found
        summary = f"{word} ordered\n\nThe callee asked for a dozen of {word}"
        self.sandbox.finish(call_id, status, **({"summary_text": summary} if status == "completed" else {}))
