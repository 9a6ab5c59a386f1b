"""Whether the waits of a crash test ended correctly; if not, which, what was expected, and their logs."""

from __future__ import annotations

import contextlib
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.integration.dags.crashes.waits import TIMEOUT

if TYPE_CHECKING:
    from tests.support.integration.crashes.ledger import Outcome
    from tests.support.integration.crashes.site import CrashSite, Wait

TIMEOUT_MESSAGE = rf"when the timeout of {TIMEOUT} s was over; it was last seen (dialing|in_progress)"
OWN_ERROR = re.compile(r'"exc_type": ?"(Telzino\w+)"')
LOG_LINES = 12  # of each log of a wrong outcome


def verdict(site: CrashSite, *, tries: int | None = None, expected_error: str | None = None) -> str:
    """Wait until all waits have ended, and fail if one has the wrong outcome or none.

    Args:
        site: The Airflow that was crashed.
        tries: How many tries a task may have had at most, if that is known.
        expected_error: The class of an error of ours that a try may have ended with, since it says what
            the crash did.

    Returns:
        Such as ``"40 waits, 40 right outcomes"``.
    """
    with contextlib.suppress(TimeoutError):  # The report says which waits have not ended.
        site.until(lambda: not site.unfinished(), "the end of all waits")
    problems = {wait: find_problem(site, wait, tries, expected_error) for wait in site.waits}
    wrong = {wait: problem for wait, problem in problems.items() if problem}
    report = [f"{wait}: {problem}\n{logs(site, wait, LOG_LINES)}" for wait, problem in wrong.items()]
    count = f"{len(site.waits)} waits, {len(site.waits) - len(wrong)} right outcomes"
    if excused := sum(site.ledger.outcome(wait.run_id, wait.task_id).considered_dead for wait in site.waits):
        count += f", {excused} of tasks that Airflow considered dead"
    assert not wrong, "\n\n".join([count, *report, "What happened:", *site.events])
    if delays := [delay for wait in site.waits if (delay := timeout_delay(site, wait)) is not None]:
        count += f", timeouts at most {max(delays):.0f} s late"
    return count


def find_problem(site: CrashSite, wait: Wait, tries: int | None, expected_error: str | None) -> str | None:
    """Return what is wrong with the outcome of a wait, or None."""
    outcome = site.ledger.outcome(wait.run_id, wait.task_id)
    if wait.dag_id == "endless_waits":
        return _problem_of_timeout(site, wait, outcome)
    call_ids = [wait.call_id] if wait.call_id else site.calls_placed_by(wait)
    if len(call_ids) != 1:
        return f"should have placed one call, but placed {call_ids}"
    record = site.sandbox.call(call_ids[0])
    end = "failed" if record["status"] == "failed" else "success"
    if outcome.state != end or [state for state in outcome.states if state in ("success", "failed")] != [end]:
        return f"should end once, with {end}, but went {outcome.states}"
    if outcome.records != [record]:
        return f"should have pushed {record}, but XCom has {outcome.records}"
    if tries is not None and outcome.tries > tries and not outcome.considered_dead:
        return f"should have needed {tries} tries at most, but had {outcome.tries}"
    if errors := set(OWN_ERROR.findall(logs(site, wait))) - {"TelzinoCallEndedBadlyError", expected_error}:
        return f"should raise no error of its own, but raised {', '.join(errors)}"
    if not 1 <= outcome.pushes <= outcome.tries:
        return f"should push at most once a try, but pushed {outcome.pushes} times in {outcome.tries} tries"
    return None


def _problem_of_timeout(site: CrashSite, wait: Wait, outcome: Outcome) -> str | None:
    if outcome.state != "failed" or outcome.records or outcome.started is None or outcome.ended is None:
        return f"should fail without a record, but went {outcome.states} with {outcome.records}"
    if len(outcome.deadlines) != 1:
        return f"should keep the deadline that it got at its start, but had {outcome.deadlines}"
    seconds = (outcome.ended - outcome.started).total_seconds()
    if seconds < TIMEOUT:
        return f"should end {TIMEOUT} s after its start, but ended after {seconds:.1f} s"
    if not re.search(TIMEOUT_MESSAGE, logs(site, wait)):
        return f"should say in its log: {TIMEOUT_MESSAGE}"
    return None


def timeout_delay(site: CrashSite, wait: Wait) -> float | None:
    """Return how many seconds late a timeout was reported, if the task had one.

    Another component may have to take over first, so that is measured and not checked.
    """
    outcome = site.ledger.outcome(wait.run_id, wait.task_id)
    if wait.dag_id != "endless_waits" or outcome.started is None or outcome.ended is None:
        return None
    deadline = outcome.started + timedelta(seconds=TIMEOUT)
    due = next((end for begin, end in site.downtimes if begin <= deadline <= end), deadline)
    return (outcome.ended - due).total_seconds()


def logs(site: CrashSite, wait: Wait, lines: int = 0) -> str:
    """Return the last lines (0: all) of a task's logs: one for each try, and for each of its triggerers."""
    run = site.airflow.home / "logs" / f"dag_id={wait.dag_id}" / f"run_id={wait.run_id}"
    found = sorted((run / f"task_id={wait.task_id}").rglob("*.log"), key=lambda log: log.stat().st_mtime)
    texts = {log: log.read_text(errors="replace").splitlines()[-lines:] for log in found}
    return "\n".join(f"--- {log.name}\n" + "\n".join(text) for log, text in texts.items())
