"""Crashes at random moments: every wait ends with the right record, none twice, none lost.

``TELZINO_CRASH_ROUNDS=5`` repeats everything five times, ``TELZINO_CRASH_SEED=...`` draws other moments.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.conftest import ReportCount
from tests.support.integration.crashes.site import CrashSite, crash_site
from tests.support.integration.crashes.verdict import verdict
from tests.support.programs import needs
from tests.support.rounds import ROUNDS

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("crashes"), needs("postgres", "initdb")]

SEED = int(os.environ.get("TELZINO_CRASH_SEED", "1"))
IN_FLIGHT = 6  # waits, at least, when something is killed
OUTAGE = 30.0  # seconds


@pytest.fixture(scope="module")
def started_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashSite]:
    """One Airflow for all crashes."""
    with crash_site(tmp_path_factory.mktemp("crashes"), SEED) as site:
        yield site


@pytest.fixture
def site(started_site: CrashSite) -> CrashSite:
    """The running Airflow, without waits."""
    started_site.begin()
    return started_site


@pytest.fixture
def report_count(report_count: ReportCount) -> ReportCount:
    """Report what was counted, and with which seed."""
    return lambda line: report_count(f"{line} (seed {SEED})")


def test_the_triggerer_is_killed_and_started_again(site: CrashSite, report_count: ReportCount) -> None:
    """Its successor resumes the waits of a dead triggerer, and their timeouts."""
    kills, hit = 8 * ROUNDS, 0
    triggerer = site.ledger.newest_job("TriggererJob")
    site.start_endless_waits()

    for _ in range(kills):
        site.until_waiting(IN_FLIGHT, triggerer)
        site.pause(0, 8)
        site.until_nothing_is_overdue()
        hit += len(site.ledger.held_by(triggerer))
        with site.downtime():
            site.kill("triggerer")
            triggerer = site.start_job("triggerer")

    assert hit >= kills * IN_FLIGHT // 2
    report_count(f"Triggerer killed {kills} times under {hit} waits: {verdict(site, tries=1)}")


def test_the_waits_of_a_killed_triggerer_move_to_the_other(
    site: CrashSite, report_count: ReportCount
) -> None:
    """With two triggerers, the other one resumes the waits of the one that is killed."""
    kills, moved = 5 * ROUNDS, 0
    jobs = {"triggerer": site.ledger.newest_job("TriggererJob"), "triggerer-2": site.start_job("triggerer-2")}
    site.start_endless_waits()

    for _ in range(kills):
        job = site.until_waiting(IN_FLIGHT, *jobs.values())
        victim, survivor = sorted(jobs, key=lambda name: jobs[name] != job)
        site.pause(0, 4)
        site.until_nothing_is_overdue()
        with site.downtime():
            site.kill(victim)
            moved += site.until_moved(jobs[victim], jobs[survivor])
        jobs[victim] = site.start_job(victim)

    assert moved > 0
    report_count(
        f"One of two triggerers killed {kills} times, {moved} moves of waits: {verdict(site, tries=1)}"
    )
    site.kill("triggerer-2")


@pytest.mark.parametrize("resumed", [False, True], ids=["first run", "second run"])
def test_the_worker_is_killed(site: CrashSite, report_count: ReportCount, resumed: bool) -> None:
    """A task whose worker dies, before or after the deferral, ends correctly in a later try."""
    kills = 20 * ROUNDS

    hit = site.kill_workers(kills, resumed=resumed, in_flight=2 * IN_FLIGHT)

    which = "second" if resumed else "first"
    report_count(f"Worker killed {kills} times in the {which} run of {hit} tasks: {verdict(site)}")


def test_the_scheduler_is_killed(site: CrashSite, report_count: ReportCount) -> None:
    """Its successor does whatever the scheduler was about to do."""
    kills, hit = 5 * ROUNDS, 0
    site.start_endless_waits()

    for _ in range(kills):
        site.keep_in_flight(2 * IN_FLIGHT)
        site.pause(0, 6)
        site.until_nothing_is_overdue()
        hit += len(site.unfinished())
        with site.downtime():
            site.kill("scheduler")
            site.pause(0, 4)
            site.start_job("scheduler")

    assert hit >= kills
    report_count(f"Scheduler killed {kills} times under {hit} waits: {verdict(site)}")


def test_the_api_is_unavailable(site: CrashSite, report_count: ReportCount) -> None:
    """An outage of 30 s only delays the outcome: refused connections, and answers of 503."""
    gateways = {name: site.add_gateway(name) for name in ("refusing", "unavailable")}
    hit = 0

    for _ in range(ROUNDS):
        for name in gateways:
            site.start_endless_waits(name)
            site.start_waits(name)
        site.until_deferred(2 * IN_FLIGHT)
        site.pause(0, 4)
        site.note("The API becomes unavailable")
        gateways["refusing"].refuse()
        gateways["unavailable"].be_unavailable()
        back_at = time.monotonic() + OUTAGE
        site.pause(0, OUTAGE)
        for name in gateways:
            site.start_waits(name)  # Their tasks may not be able to poll even once.
        site.pause_until(back_at)
        hit += len(site.unfinished())
        for gateway in gateways.values():
            gateway.forward()
        site.note("The API is available again")
        outcome = verdict(site, tries=1)

    log = site.airflow.log_of("triggerer").read_text(errors="replace")
    for trouble in ("The connection failed", "a server error (503)"):
        assert trouble in log  # Both outages were noticed.
    report_count(
        f"API down for {OUTAGE:.0f} s, {ROUNDS} x refusing and {ROUNDS} x with 503, under {hit} waits: "
        f"{outcome}"
    )


def test_the_database_is_restarted(site: CrashSite, report_count: ReportCount) -> None:
    """The waits survive a crash of PostgreSQL, and of all components that end because of it."""
    kills, hit = 3 * ROUNDS, 0
    site.start_endless_waits()

    for _ in range(kills):
        site.keep_in_flight(2 * IN_FLIGHT)
        site.pause(0, 6)
        site.until_nothing_is_overdue()
        hit += len(site.unfinished())
        with site.downtime():
            site.restart_database()

    assert hit >= kills
    # A task that starts at that moment is told by Airflow that its connection could not be read.
    result = verdict(site, expected_error="TelzinoConnectionNotFoundError")
    report_count(
        f"PostgreSQL killed {kills} times under {hit} waits, which ended "
        f"{site.ended_by_themselves.total()} other processes: {result}"
    )
