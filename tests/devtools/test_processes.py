"""Child processes end, with all that they started, whatever happens to us."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from devtools.process_mark import MARK, lives, marked
from devtools.processes import ROOT, Child, ProcessDiedError, ProcessFamily

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

SLEEPER = "import time; time.sleep(60)"

STUBBORN_WITH_GRANDCHILD = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print("ready", flush=True)
time.sleep(60)
"""

TOOL_THAT_STARTS_A_SLEEPER = """
import sys, time
from collections.abc import Callable
from pathlib import Path
from devtools.processes import ProcessFamily

family = ProcessFamily()
log = Path(sys.argv[1])
sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
family.start("sleeper", sleeper, env={}, log=log, cwd=log.parent)
print(family.mark, flush=True)
time.sleep(60)
"""


def start(family: ProcessFamily, folder: Path, code: str, name: str = "child") -> Child:
    command = [sys.executable, "-c", code]
    return family.start(name, command, env={}, log=folder / f"{name}.log", cwd=folder)


def wait_for(condition: Callable[[], object], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_stop_ends_grandchildren_and_those_that_ignore_sigterm(tmp_path: Path) -> None:
    """Neither a session of its own nor an ignored SIGTERM saves a member."""
    family = ProcessFamily()
    child = start(family, tmp_path, STUBBORN_WITH_GRANDCHILD)
    wait_for(lambda: "ready" in child.log.read_text())
    members = family.members()
    assert len(members) == 2

    family.stop(grace=0.5)

    assert family.members() == []
    assert not any(lives(process) for process in members)
    assert not child.running


def test_stop_ends_orphans(tmp_path: Path) -> None:
    """A grandchild whose parent crashed is found, too."""
    family = ProcessFamily()
    child = start(family, tmp_path, STUBBORN_WITH_GRANDCHILD)
    wait_for(lambda: "ready" in child.log.read_text())

    child.kill()
    orphans = family.members()
    family.stop()

    assert len(orphans) == 1
    assert not lives(orphans[0])


def test_kill_tree_crashes_descendants_too(tmp_path: Path) -> None:
    """What crashes with a whole machine leaves no orphan."""
    family = ProcessFamily()
    child = start(family, tmp_path, STUBBORN_WITH_GRANDCHILD)
    wait_for(lambda: "ready" in child.log.read_text())

    child.kill_tree()

    assert family.members() == []
    family.stop()


def test_check_tells_of_a_process_that_ended_by_itself(tmp_path: Path) -> None:
    """An unexpected end is an error that names the process; a crash that we caused is not."""
    family = ProcessFamily()
    start(family, tmp_path, SLEEPER, "crashed-on-purpose").kill()
    family.check()
    start(family, tmp_path, "raise SystemExit(3)", "broken").wait(10)

    with pytest.raises(ProcessDiedError, match="broken ended by itself, with exit code 3"):
        family.check()

    family.stop()


def test_a_frozen_process_can_be_stopped(tmp_path: Path) -> None:
    """SIGSTOP makes it hang; stopping the family still ends it."""
    family = ProcessFamily()
    child = start(family, tmp_path, SLEEPER)
    child.freeze()
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)

    family.stop()

    assert not child.running


def test_a_running_name_is_not_started_twice(tmp_path: Path) -> None:
    """A second start under the same name is refused while the first still runs."""
    family = ProcessFamily()
    start(family, tmp_path, SLEEPER)

    with pytest.raises(ValueError, match="child runs already"):
        start(family, tmp_path, SLEEPER)

    family.stop()


def test_the_guard_ends_the_family_of_a_killed_tool(tmp_path: Path) -> None:
    """Even ``kill -9`` of the tool itself leaves nothing behind."""
    tool = subprocess.Popen(
        [sys.executable, "-c", TOOL_THAT_STARTS_A_SLEEPER, str(tmp_path / "log")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tool.stdout is not None
    mark = tool.stdout.readline().strip()
    assert len(marked(mark)) == 1

    tool.kill()
    tool.communicate()

    wait_for(lambda: not marked(mark))


def test_the_mark_is_what_members_inherit(tmp_path: Path) -> None:
    """Two families don't see each other's processes."""
    one, other = ProcessFamily(), ProcessFamily()
    child = start(one, tmp_path, SLEEPER)
    wait_for(lambda: one.members())

    other.stop()

    assert [process.pid for process in one.members()] == [child.pid]
    assert psutil.Process(child.pid).environ()[MARK] == one.mark
    one.stop()
