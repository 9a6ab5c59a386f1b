"""The CPU time of all processes of a family, with those that have ended meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import psutil

from devtools.process_mark import descendants
from devtools.processes import ProcessFamily


def cpu_seconds(family: ProcessFamily) -> Mapping[str, float]:
    """Return the CPU seconds that each child of a family has used until now.

    What the descendants of ``scheduler`` have used is apart, under ``scheduler's own``.

    A process that has ended is in its parent's account as soon as that takes note of it. So the sum is right
    if no process ends while it is made: else it is made again.
    """
    while True:
        before = family.members()
        seconds: defaultdict[str, float] = defaultdict(float)
        try:
            for name, child in family.children.items():
                if child.running:
                    *own, ended_user, ended_system = psutil.Process(child.pid).cpu_times()[:4]
                    seconds[name] += sum(own)
                    seconds[f"{name}'s own"] += ended_user + ended_system
                    for process in descendants(child.pid):
                        seconds[f"{name}'s own"] += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
        if family.members() == before:
            return seconds
