"""A cluster lives as long as somebody uses it, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cluster.handle import Cluster, join

ROOT = Path(__file__).parents[2]
LONG = 60.0
USER = """
import sys, time
from pathlib import Path
from cluster.handle import join
cluster = join(Path(sys.argv[1]))
print(cluster.folder, flush=True)
time.sleep(1000)
"""


def until(true: Callable[[], bool]) -> None:
    """Look again and again; fails after LONG seconds."""
    late = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < late
        time.sleep(0.05)


def processes(folder: Path) -> list[str]:
    """Command lines that name this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_the_last_user_ends_it(own_control_plane: Cluster, tmp_path: Path) -> None:
    folder = own_control_plane.folder
    with join(tmp_path) as second:
        assert second.folder == folder
    own_control_plane.kubectl("get", "namespaces")  # still there: the first user has not gone
    own_control_plane.close()
    assert not folder.exists()
    until(lambda: processes(folder) == [])  # the keeper itself goes last


def test_a_user_that_crashes_has_gone(own_control_plane: Cluster, tmp_path: Path) -> None:
    del own_control_plane  # skipped where no cluster can be; this one is not the crashed one's
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    user = subprocess.Popen(
        [sys.executable, "-c", USER, meeting], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    with user, user.stdout:
        folder = Path(user.stdout.readline().strip())
        assert len(processes(folder)) > 3
        user.kill()
    until(lambda: not folder.exists() and processes(folder) == [])


def test_a_keeper_that_is_killed_takes_its_programs_along(own_control_plane: Cluster) -> None:
    folder = own_control_plane.folder
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"cluster.keeper" in line and bytes(folder) in line:
            os.kill(int(process.name), signal.SIGKILL)
    until(lambda: processes(folder) == [])
    shutil.rmtree(folder)  # the next cluster would, but not within the minute
