"""The CPU time of all processes of a family, with those that have ended meanwhile."""

from __future__ import annotations

import psutil

from devtools.processes import ProcessFamily


def cpu_seconds(family: ProcessFamily) -> float:
    """Return the CPU seconds that all members and their children have used until now.

    A process that has ended is in its parent's account as soon as that takes note of it. So the sum is right
    if no process ends while it is made: else it is made again.
    """
    while True:
        before = family.members()
        try:
            total = sum(sum(process.cpu_times()[:4]) for process in before)
        except psutil.NoSuchProcess:
            continue
        if family.members() == before:
            return total
