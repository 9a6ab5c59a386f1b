"""Run one contender in this process, and measure the process.

Each run has a fresh process, forked from one that has imported everything (:func:`measured`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import multiprocessing
import os
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import aiohttp
import airflow.jobs.triggerer_job_runner  # noqa: F401  # A triggerer has imported it anyway: no contender pays for it.
import psutil
from airflow.sdk.log import configure_logging, reset_logging

from benchmarks.contenders import HEADERS, WITH_IDLE, Waits
from benchmarks.worlds import TOKEN

TICK = 0.005
"""Seconds between two steps of the ticker that monitors the event loop."""


@dataclass
class Run:
    """The settings of a run.

    Args:
        contender: Its name.
        url: The server.
        calls: The calls to wait for.
        interval: Seconds between two polls.
        warm_up: Seconds from the start of the waits until the measured window.
        window: Seconds that are measured.
        until_ended: Measure until all calls have ended, for at most ``window`` seconds.
        ticker: Monitor the event loop, which costs a little CPU.
        trace_memory: Count the memory of Python objects exactly, which costs much CPU.
        apart: The waits for each agent use an Airflow connection of their own, so that they share nothing.
    """

    contender: str
    url: str
    calls: list[tuple[str, str, float]]
    interval: float
    warm_up: float
    window: float
    until_ended: bool = False
    ticker: bool = False
    trace_memory: bool = False
    apart: bool = False


@dataclass
class Measured:
    """The result of a run. Times are seconds, memory is bytes for all waits together."""

    start: float = 0
    """When the measured window began, in seconds since the epoch."""
    end: float = 0
    """When it ended."""
    cpu: float = 0
    """CPU time of all threads of the process in the window."""
    rss: int = 0
    """By how much the process has grown, including what polls need meanwhile, such as whole pages."""
    traced: int = 0
    """The memory of Python objects, if it was traced."""
    blocked: float = 0
    """The longest time between two steps of the ticker, minus its own interval."""
    blocked_cpu: float = 0
    """The most CPU time of the loop's thread between two steps, without garbage collection. Other work of the
    machine doesn't add to it."""
    collecting: float = 0
    """The CPU time of the longest garbage collection."""
    lags: list[float] = field(default_factory=list)
    """How long after its end each call was detected."""
    missed: int = 0
    """How many ended calls were not detected when the run ended."""

    def lag(self, share: float) -> float:
        """Return the lag that this share of the lags does not exceed."""
        return sorted(self.lags)[min(len(self.lags) - 1, int(len(self.lags) * share))]


def measured(run: Run) -> Measured:
    """Execute a run in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, run).result()


def _measure(run: Run) -> Measured:
    log_as_triggerer()
    return asyncio.run(_wait_in_groups(run))


async def _wait_in_groups(run: Run) -> Measured:
    host, port = run.url.removeprefix("http://").split(":")
    telzino = {"conn_type": "telzino", "host": run.url, "password": TOKEN}
    http = {"conn_type": "http", "host": host, "port": int(port)}
    groups: dict[str, list[tuple[str, str, float]]] = {}
    for call in run.calls:
        groups.setdefault(call[0] if run.apart else "", []).append(call)
    async with contextlib.AsyncExitStack() as stack:
        waits = []
        for number, calls in enumerate(groups.values()):
            os.environ[f"AIRFLOW_CONN_BENCH_{number}"] = json.dumps(telzino)
            os.environ[f"AIRFLOW_CONN_BENCH_{number}_HTTP"] = json.dumps(http)
            session = await stack.enter_async_context(aiohttp.ClientSession(headers=HEADERS))
            waits.append(Waits(run.url, calls, run.interval, f"bench_{number}", session))
        return await _wait(run, waits)


def log_as_triggerer() -> None:
    """Format log lines as JSON, as the triggerer does, and discard them."""
    reset_logging()
    nowhere = open(os.devnull, "wb", buffering=0)  # noqa: SIM115  # until the process ends
    configure_logging(json_output=True, output=nowhere, sending_to_supervisor=True)


async def _wait(run: Run, groups: list[Waits]) -> Measured:
    process, result, ticker = psutil.Process(), Measured(), Ticker()
    gc.collect()
    if run.trace_memory:
        tracemalloc.start()
    rss = process.memory_info().rss
    if run.ticker:
        ticker.start()
    began = time.time()
    tasks = []
    for waits in groups:
        for work in WITH_IDLE[run.contender](waits):
            tasks.append(asyncio.ensure_future(work))
            await asyncio.sleep(0)  # The triggerer, too, yields to the loop after each.
    await asyncio.sleep(began + run.warm_up - time.time())
    result.start, cpu = time.time(), time.process_time()
    if run.until_ended:
        await asyncio.wait(tasks, timeout=run.window)
    else:
        await asyncio.sleep(run.window)
    result.cpu, result.end = time.process_time() - cpu, time.time()
    if run.ticker:
        ticker.stop()
        result.blocked, result.blocked_cpu = ticker.blocked, ticker.blocked_cpu
        result.collecting = ticker.collecting
    gc.collect()
    if run.trace_memory:
        result.traced = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    result.rss = process.memory_info().rss - rss
    for waits in groups:
        for _, call_id, ends_at in waits.calls:
            if call_id in waits.ended:
                result.lags.append(waits.ended[call_id] - max(ends_at, began))
            elif ends_at < result.end:
                result.missed += 1
    for each in tasks:
        if each.done() and (error := each.exception()):
            raise RuntimeError(f"{run.contender} failed: {error!r}") from error
        each.cancel()
    await asyncio.wait(tasks, timeout=30)
    return result


class Ticker:
    """Is called every 5 ms, and records how late the event loop called it.

    Python's garbage collection is counted separately: it traverses all that Airflow has imported, whatever
    triggered it.
    """

    def __init__(self) -> None:
        self.blocked = 0.0
        self.blocked_cpu = 0.0
        self.collecting = 0.0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._last = self._last_cpu = 0.0
        self._collection_started = self._collected = 0.0

    def start(self) -> None:
        """Start it."""
        gc.callbacks.append(self._on_collection)
        self._wait()

    def stop(self) -> None:
        """Stop it."""
        gc.callbacks.remove(self._on_collection)
        if self._timer:
            self._timer.cancel()

    def _wait(self) -> None:
        self._last, self._last_cpu, self._collected = self._loop.time(), time.thread_time(), 0.0
        self._timer = self._loop.call_later(TICK, self._step)

    def _step(self) -> None:
        now, cpu = self._loop.time(), time.thread_time()
        self.blocked = max(self.blocked, now - self._last - TICK)
        self.blocked_cpu = max(self.blocked_cpu, cpu - self._last_cpu - self._collected)
        self._wait()

    def _on_collection(self, phase: str, info: object) -> None:
        if phase == "start":
            self._collection_started = time.thread_time()
        else:
            length = time.thread_time() - self._collection_started
            self._collected += length
            self.collecting = max(self.collecting, length)
