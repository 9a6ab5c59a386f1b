"""The benchmark's instruments: contenders that detect every end, a ticker, and the CPU of whole families."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.comparison import at_once
from benchmarks.contenders import CONTENDERS
from benchmarks.cpu_time import cpu_seconds
from benchmarks.measuring import Measured, Run, Ticker, measured
from benchmarks.worlds import server, world
from devtools.airflow_instance.environment import inherited_environment
from devtools.processes import ROOT, ProcessFamily

pytestmark = pytest.mark.slow


def test_every_contender_detects_every_end() -> None:
    """Each contender waits for five calls of two agents, and detects each end after it."""

    def detect(url: str, contender: str) -> Measured:
        with world(url, agents=2, waits=5, ends=(1, 2)) as there:
            run = Run(contender, url, there.calls, 0.2, warm_up=0.1, window=60, until_ended=True)
            return measured(run)

    with server() as url:
        shown = at_once(lambda name=name: detect(url, name) for name in CONTENDERS)  # type: ignore[misc]

    assert [each.missed for each in shown] == [0] * len(CONTENDERS)
    assert [len(each.lags) for each in shown] == [5] * len(CONTENDERS)
    assert all(lag >= 0 for each in shown for lag in each.lags)


async def test_ticker_notices_what_blocks_the_loop() -> None:
    """A step that works for 100 ms is measured, in CPU time and in wall time."""
    ticker = Ticker()
    ticker.start()
    await asyncio.sleep(0.02)

    _work(0.1)
    await asyncio.sleep(0.02)
    ticker.stop()

    assert ticker.blocked_cpu >= 0.1
    assert ticker.blocked >= 0.09


async def test_ticker_counts_garbage_collection_separately() -> None:
    """A garbage collection is not part of the step that it interrupts."""
    objects: list[list[object]] = [[] for _ in range(500_000)]
    ticker = Ticker()
    ticker.start()
    await asyncio.sleep(0.02)

    gc.collect()
    await asyncio.sleep(0.02)
    ticker.stop()

    assert len(objects) == 500_000
    assert ticker.collecting > 2 * ticker.blocked_cpu


@pytest.fixture
def family() -> Iterator[ProcessFamily]:
    """A family of processes, ended with the test."""
    with ProcessFamily() as one:
        yield one


def test_cpu_of_processes_that_have_ended_counts(family: ProcessFamily, tmp_path: Path) -> None:
    """A child that worked for over half a second and ended is in the sum of its family."""
    child = "import time\nwhile time.process_time() < 0.6: pass"
    parent = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {child!r}])\n"
    parent += "print('ended', flush=True)\ntime.sleep(60)"
    log = tmp_path / "log"
    family.start("parent", [sys.executable, "-c", parent], env=inherited_environment(), log=log, cwd=ROOT)
    family.wait_until(lambda: "ended" in log.read_text(), "the end of the child", timeout=60)

    seconds = cpu_seconds(family)

    assert len(family.members()) == 1
    assert seconds["parent's descendants"] >= 0.5
    assert 0 < seconds["parent"] < 0.5


def _work(seconds: float) -> None:
    """Use the CPU for a while."""
    start = time.thread_time()
    while time.thread_time() - start < seconds:
        pass
