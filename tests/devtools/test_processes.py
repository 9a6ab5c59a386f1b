"""Child processes end together with all that they started, however the tool ends that started them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtools.processes import ROOT, Child, ProcessDiedError, ProcessFamily, is_alive, marked

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
from pathlib import Path
from devtools.processes import ProcessFamily

family = ProcessFamily()
log = Path(sys.argv[1])
sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
family.start("sleeper", sleeper, env={}, log=log, cwd=log.parent)
print(family.mark, flush=True)
time.sleep(60)
"""


@pytest.fixture
def family() -> Iterator[ProcessFamily]:
    """A family that is stopped at the end of the test."""
    with ProcessFamily() as one:
        yield one


def start(family: ProcessFamily, folder: Path, code: str, name: str = "child") -> Child:
    command = [sys.executable, "-c", code]
    return family.start(name, command, env={}, log=folder / f"{name}.log", cwd=folder)


def start_with_grandchild(family: ProcessFamily, folder: Path) -> Child:
    child = start(family, folder, STUBBORN_WITH_GRANDCHILD)
    wait_for(lambda: "ready" in child.log.read_text())
    return child


def wait_for(condition: Callable[[], object], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_stop_ends_grandchildren_and_those_that_ignore_sigterm(family: ProcessFamily, tmp_path: Path) -> None:
    """Neither a session of its own nor an ignored SIGTERM saves a member."""
    child = start_with_grandchild(family, tmp_path)
    members = family.members()
    assert len(members) == 2

    family.stop(grace=0.5)

    assert family.members() == []
    assert not any(map(is_alive, members))
    assert not child.running


def test_stop_ends_orphans(family: ProcessFamily, tmp_path: Path) -> None:
    """A grandchild whose parent has crashed is found, too."""
    start_with_grandchild(family, tmp_path).kill()
    orphans = family.members()

    family.stop()

    assert len(orphans) == 1
    assert not is_alive(orphans[0])


def test_kill_tree_crashes_descendants_too(family: ProcessFamily, tmp_path: Path) -> None:
    """What crashes together with a whole machine leaves no orphan."""
    child = start_with_grandchild(family, tmp_path)

    child.kill_tree()

    assert family.members() == []


def test_check_reports_a_process_that_ended_by_itself(family: ProcessFamily, tmp_path: Path) -> None:
    """An unexpected end is an error that names the process; a crash that we caused is not."""
    start(family, tmp_path, SLEEPER, "crashed-on-purpose").kill()
    family.check()
    start(family, tmp_path, "raise SystemExit(3)", "broken").wait(60)

    with pytest.raises(ProcessDiedError, match="broken ended by itself, with exit code 3"):
        family.check()


def test_the_guard_ends_the_family_of_a_killed_tool(tmp_path: Path) -> None:
    """Even ``kill -9`` of the tool itself leaves nothing behind."""
    command = [sys.executable, "-c", TOOL_THAT_STARTS_A_SLEEPER, str(tmp_path / "log")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        mark = tool.stdout.readline().strip()
        assert len(marked(mark)) == 1

        tool.kill()

    wait_for(lambda: not marked(mark))
