"""The CPU time of all processes of a family, including those that have ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import psutil

from devtools.processes import ProcessFamily, descendants


def cpu_seconds(family: ProcessFamily) -> Mapping[str, float]:
    """Return the CPU seconds that each child of a family has used.

    Those of the descendants of ``scheduler`` are under ``scheduler's descendants``.

    The time of a process that has ended is added to its parent's account when the parent reaps it. So the sum
    is right if no process ends during the summation: otherwise it is repeated.
    """
    while True:
        before = family.members()
        seconds: defaultdict[str, float] = defaultdict(float)
        try:
            for name, child in family.children.items():
                if child.running:
                    *own, ended_user, ended_system = psutil.Process(child.pid).cpu_times()[:4]
                    seconds[name] += sum(own)
                    seconds[f"{name}'s descendants"] += ended_user + ended_system
                    for process in descendants(child.pid):
                        seconds[f"{name}'s descendants"] += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
        if family.members() == before:
            return seconds
