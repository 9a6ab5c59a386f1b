"""``Telzino``: what the fixture ``telzino`` gives to a test."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, DEFAULT_AGENT_ID, Sandbox
from airflow_provider_telzino.testing.clock import MovableClock

if TYPE_CHECKING:
    from airflow_provider_telzino.sandbox.records import Record


class Telzino:
    """A sandbox whose calls a test scripts, and a clock. It runs within ``with Telzino() as telzino:``.

    Each call has to be scripted: any other is refused and fails the test, and so does one that was scripted
    and is not placed.
    """

    def __init__(self) -> None:
        self.clock = MovableClock()
        """The time, for Airflow, the DAG and the sandbox alike: see :class:`MovableClock`."""
        self.sandbox = Sandbox(clock=self.clock, scripted_only=True)
        """The sandbox, for faults, records, and all requests that were received."""
        self._optional: set[str] = set()
        self._to_refuse: set[str] = set()
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Telzino:
        # Imported here: importing Airflow reads its settings, and a program may have to set some first.
        from airflow_provider_telzino.version_compat import share_api_of_dag_tests

        share_api_of_dag_tests()
        self._running.enter_context(self.clock)  # first: the sandbox's own loop is to keep real time
        self._running.enter_context(self.sandbox)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._running.close()

    @property
    def connection(self) -> str:
        """The Airflow connection to the sandbox, as JSON for an environment variable ``AIRFLOW_CONN_...``."""
        extra = {"agent_id": DEFAULT_AGENT_ID}
        return json.dumps(
            {"conn_type": "telzino", "host": self.sandbox.url, "password": ACCESS_TOKEN, "extra": extra}
        )

    def script(
        self,
        to_number: str,
        outcomes: Sequence[str],
        *,
        summary_text: str | None = None,
        transcript: Sequence[tuple[str, str]] | None = None,
        optional: bool = False,
    ) -> None:
        """Announce the calls to a number: one for each outcome, in this order.

        Args:
            to_number: The number, in E.164.
            outcomes: How each call ends: ``"completed"``, ``"no_answer"``, ``"busy"``, ``"failed"``, or the
                name of a magic number of the sandbox with one outcome, such as ``"long_call"``.
            summary_text: The summary of those that complete; by default one is invented.
            transcript: What is said in those that complete, such as ``[("agent", "Will you come?"),
                ("user", "Yes.")]``; by default a conversation is invented.
            optional: Whether these calls need not be placed.

        Raises:
            ValueError: There is no outcome, or an unknown one; an unknown speaker; or a summary or transcript
                although no call completes.
        """
        self.sandbox.script(to_number, outcomes, summary_text=summary_text, transcript=transcript)
        (self._optional.add if optional else self._optional.discard)(to_number)

    def refuse(self, to_number: str) -> None:
        """Announce that a call to a number is tried, and that the API refuses it as wrong (400)."""
        self._to_refuse.add(to_number)

    @property
    def calls(self) -> list[Record]:
        """The records of all calls that were placed, as they are now, oldest first."""
        return self.sandbox.calls

    def assert_dialled_once(self, to_number: str) -> Record:
        """Fail unless exactly one call was placed to a number; return its record."""
        calls = [call for call in self.calls if call["to_number"] == to_number]
        others = sorted({call["to_number"] for call in self.calls} - {to_number})
        assert len(calls) == 1, (  # noqa: S101  # what a test expects of it
            f"{to_number} was dialled {len(calls)} times"
            + (f", {[call['status'] for call in calls]}" if calls else "")
            + (f"; other numbers that were dialled: {', '.join(others)}." if others else ".")
        )
        return calls[0]

    def problems(self) -> list[str]:
        """Return what differs between the calls that were scripted and those that were placed."""
        refused = self.sandbox.refused_numbers
        problems = [
            f"The sandbox refused a call to {number}, which the test has not scripted. Script each call that "
            f'the DAG should place: telzino.script("{number}", {self._outcomes_of(number)}).'
            for number in dict.fromkeys(refused)
            if number not in self._to_refuse
        ]
        problems += [
            f"Of the calls scripted to {number}, {len(left)} were not placed: {left}. If that may happen: "
            "telzino.script(..., optional=True)."
            for number, left in self.sandbox.unused_outcomes.items()
            if number not in self._optional
        ]
        problems += [
            f"No call to {number} was tried, although telzino.refuse() announced one."
            for number in sorted(self._to_refuse - set(refused))
        ]
        return problems

    def _outcomes_of(self, to_number: str) -> list[Any]:
        """Return outcomes to script, as an example: of the calls that were placed, and of the refused one."""
        return [*(call["status"] for call in self.calls if call["to_number"] == to_number), "completed"]
