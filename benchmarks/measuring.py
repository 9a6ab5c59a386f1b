"""Run one contender in this process, and measure the process.

Each run has a fresh process, forked from one that has imported everything (:func:`measured`).
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import time
import tracemalloc
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import airflow.jobs.triggerer_job_runner  # noqa: F401  # What a triggerer has imported, nobody pays for.
import psutil
from airflow.sdk.log import configure_logging, reset_logging

from benchmarks.contenders import WITH_IDLE, Waits
from benchmarks.worlds import TOKEN

TICK = 0.005
"""Seconds between two steps of the ticker that watches the event loop."""


@dataclass
class Run:
    """What a run does.

    Args:
        contender: Its name.
        url: The server.
        calls: The calls to wait for.
        interval: Seconds between two looks.
        warm_up: Seconds from the start of the waits until the measured window.
        window: Seconds that are measured.
        until_ended: Measure until all calls have ended, for at most ``window`` seconds.
        ticker: Watch the event loop. It costs a little CPU.
        trace_memory: Count the memory of Python objects exactly. It costs much CPU.
        apart: The waits for each agent go over a connection of their own, so that they share nothing.
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
    """What a run has shown. Times are seconds, memory is bytes for all waits together."""

    began: float = 0
    """When the waits began, in seconds since the epoch; then when the measured window started,"""
    start: float = 0
    end: float = 0
    """and when it ended."""
    cpu: float = 0
    """In the window, of all threads of the process."""
    rss: int = 0
    """By how much the process has grown; counts what looks need besides, such as whole pages."""
    traced: int = 0
    """The memory of Python objects, if that was traced."""
    blocked: float = 0
    """The longest time between two steps of the ticker, less its own interval,"""
    blocked_cpu: float = 0
    """the most CPU time that the loop's thread used between two, without garbage collection: nothing that
    the machine's other work can add to;"""
    collecting: float = 0
    """and the CPU time of the longest garbage collection."""
    lags: list[float] = field(default_factory=list)
    missed: int = 0
    """How many waits had not heard of their call's end when the run ended."""


def measured(run: Run) -> Measured:
    """Do a run in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, run).result()


def _measure(run: Run) -> Measured:
    log_as_triggerer()
    groups = [
        Waits(run.url, calls, run.interval, f"bench_{number}") for number, calls in enumerate(_groups(run))
    ]
    host, port = run.url.removeprefix("http://").split(":")
    telzino = {"conn_type": "telzino", "host": run.url, "password": TOKEN}
    http = {"conn_type": "http", "host": host, "port": int(port)}
    for waits in groups:
        os.environ[f"AIRFLOW_CONN_{waits.conn_id.upper()}"] = json.dumps(telzino)
        os.environ[f"AIRFLOW_CONN_{waits.http_conn_id.upper()}"] = json.dumps(http)
    return asyncio.run(_wait(run, groups))


def _groups(run: Run) -> Iterable[list[tuple[str, str, float]]]:
    if not run.apart:
        return [run.calls]
    agents: dict[str, list[tuple[str, str, float]]] = {}
    for call in run.calls:
        agents.setdefault(call[0], []).append(call)
    return agents.values()


def log_as_triggerer() -> None:
    """Have log lines made as JSON, as the triggerer does; nobody reads them."""
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
    began = result.began = time.time()
    tasks = []
    for waits in groups:
        for work in WITH_IDLE[run.contender](waits):
            tasks.append(asyncio.ensure_future(work))
            await asyncio.sleep(0)  # The triggerer, too, lets the loop go on after each.
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
    for waits in groups:
        await waits.close()
    return result


class Ticker:
    """Steps every 5 ms, and notes how late the event loop let it.

    Python's garbage collection is counted apart: it goes through all that Airflow has imported, whoever's
    objects set it off.
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
        """Step from now on."""
        gc.callbacks.append(self._on_collection)
        self._wait()

    def stop(self) -> None:
        """Step no more."""
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
