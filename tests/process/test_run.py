"""Programs are started without a shell, bounded, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pilotage.process import run as module
from pilotage.process.run import Limits, Program, run
from waiting import LONG, until


def python(code: str, *words: str, **rest: object) -> Program:
    return Program((sys.executable, "-c", code, *words), **rest)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    """Also false for one that is dead and not yet collected by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def pids(folder: Path) -> list[int]:
    """The numbers that the program's processes left in files."""
    return [int(text) for file in folder.iterdir() if (text := file.read_text())]


async def looked_at() -> None:
    """Until the tree of each program was looked at: timers of one loop ring in their order."""
    await asyncio.sleep(3 * module.WATCH_SECONDS)


DAEMON = """
import os, sys, time
kind, folder, end = sys.argv[1:]
def stay():
    open(os.path.join(folder, str(os.getpid())), "w").write(str(os.getpid()))
    time.sleep(60)
if os.fork() == 0:
    if kind == "session":
        os.setsid()
    if kind == "twice":
        os.setsid()
        if os.fork():
            os._exit(0)
    if kind == "bare":
        os.setsid()
        code = "import os,sys,time; open(sys.argv[1] + '/x', 'w').write(str(os.getpid()))"
        code += "; time.sleep(60)"
        os.execve(sys.executable, [sys.executable, "-c", code, folder], {})
    stay()
while not any(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)):
    time.sleep(0.01)
while not os.path.exists(end):
    time.sleep(0.01)
print("parent is done")
"""


async def test_what_it_prints_and_its_exit_code_come_back() -> None:
    done = await run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    assert (done.exit, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert (done.killed, done.cut, done.missing) == ("", (), "")


async def test_an_argument_is_never_read_by_a_shell(tmp_path: Path) -> None:
    hostile = f"$(touch {tmp_path}/made); `id` ; > {tmp_path}/made"
    done = await run(python("import sys; print(sys.argv[1])", hostile))
    assert done.stdout.decode().strip() == hostile
    assert list(tmp_path.iterdir()) == []


async def test_nothing_of_our_environment_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    done = await run(
        python("import os; print(sorted(os.environ)); print(os.environ['HOME'])",
               environment={"GIVEN": "1"})
    )  # fmt: skip
    names, home = done.stdout.decode().splitlines()
    assert "GITHUB_TOKEN" not in names
    assert "PYTHONPATH" not in names
    assert "'GIVEN'" in names
    assert home != os.environ["HOME"]
    assert not Path(home).exists()


async def test_input_larger_than_a_pipe_meets_output_larger_than_a_pipe() -> None:
    data = b"x" * 5_000_000
    echo = "import sys; [sys.stdout.write(c) for c in iter(lambda: sys.stdin.read(1000), '')]"
    done = await run(python(echo, stdin=data))
    assert done.stdout == data


async def test_a_program_that_does_not_read_its_input_ends_well() -> None:
    done = await run(python("pass", stdin=b"x" * 5_000_000))
    assert done.exit == 0


async def test_without_input_it_reads_the_end_at_once() -> None:
    done = await run(python("import sys; print(repr(sys.stdin.read()))"))
    assert done.stdout == b"''\n"


@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program", "/etc/passwd"])
async def test_a_program_that_cannot_be_started_is_missing_and_has_no_exit_code(name: str) -> None:
    done = await run(Program((name,)))
    assert done.exit is None
    assert name in done.missing


async def test_a_folder_that_is_not_there_is_named() -> None:
    done = await run(Program(("true",), folder=Path("/no/such/folder")))
    assert done.exit is None
    assert "/no/such/folder" in done.missing


async def test_the_time_limit_kills_and_says_so() -> None:
    done = await run(python("import time; time.sleep(60)", limits=Limits(seconds=0.5)))
    assert done.exit == -9
    assert done.killed == "took longer than 0.5 s"
    assert done.seconds < LONG


async def test_the_time_limit_holds_for_a_program_that_ignores_signals() -> None:
    code = (
        "import signal,time; [signal.signal(s, signal.SIG_IGN) for s in (1,2,15)]; time.sleep(60)"
    )
    done = await run(python(code, limits=Limits(seconds=0.5)))
    assert done.exit == -9


async def test_the_memory_limit_counts_the_whole_tree() -> None:
    hold = "x = bytearray(60_000_000); import time; time.sleep(60)"
    code = f"import subprocess,sys; c=[sys.executable,'-c',{hold!r}]; "
    code += "[p.wait() for p in [subprocess.Popen(c) for _ in range(3)]]"
    done = await run(python(code, limits=Limits(memory=150 << 20)))
    assert done.killed == "used more than 0.1 GiB of memory"
    assert done.memory > 150 << 20


async def test_the_peak_memory_is_told(tmp_path: Path) -> None:
    big, end = tmp_path / "big", tmp_path / "end"
    code = (
        "import os,sys,time; x = bytearray(100_000_000); open(sys.argv[1], 'w').close()\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.01)"
    )
    task = asyncio.create_task(run(python(code, str(big), str(end))))
    await until(big.exists)
    await looked_at()
    end.touch()
    assert 100_000_000 < (await task).memory < 300_000_000


async def test_too_many_processes_are_killed() -> None:
    code = (
        "import os,time\nfor _ in range(60):\n  if os.fork() == 0: time.sleep(60)\ntime.sleep(60)"
    )
    done = await run(python(code, limits=Limits(processes=40)))
    assert done.killed == "started more than 40 processes"


async def test_output_over_the_limit_is_cut_said_and_read_to_its_end() -> None:
    code = "import sys; [sys.stdout.write('x' * 10_000) for _ in range(1000)]; sys.exit(7)"
    done = await run(python(code, limits=Limits(output=1_000_000)))
    assert (len(done.stdout), done.cut, done.exit) == (1_000_000, ("stdout",), 7)


async def test_output_that_is_heard_as_it_comes_has_no_limit_and_is_not_kept() -> None:
    heard = bytearray()
    code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 10_000)"
    done = await run(python(code, limits=Limits(output=1_000)), on_bytes=heard.extend)
    assert bytes(heard) == bytes(range(256)) * 10_000
    assert (done.stdout, done.cut, done.exit) == (b"", (), 0)


async def test_lines_are_heard_while_it_runs_and_the_last_one_without_its_end(
    tmp_path: Path,
) -> None:
    heard: list[bytes] = []

    def hear(line: bytes) -> None:
        heard.append(line)
        (tmp_path / "heard").touch()

    code = (
        "import os,sys,time; print('one', flush=True)\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
        "print('two', end='')"
    )
    done = await run(python(code, str(tmp_path / "heard"), limits=Limits(seconds=LONG)), hear)
    assert heard == [b"one", b"two"]
    assert done.stdout == b"one\ntwo"


async def test_a_listener_that_breaks_does_not_leave_the_program_behind(tmp_path: Path) -> None:
    def broken(line: bytes) -> None:
        (tmp_path / "pid").write_bytes(line)
        raise ValueError("broken listener")

    code = "import os,time; print(os.getpid(), flush=True); time.sleep(1)"
    with pytest.raises(ValueError, match="broken listener"):
        await run(python(code), broken)
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("kind", ["plain", "session", "twice"])
async def test_a_daemon_is_killed_when_its_program_ends(kind: str, tmp_path: Path) -> None:
    done = await run(python(DAEMON, kind, str(tmp_path), "/"))
    assert done.stdout == b"parent is done\n"
    assert (done.killed, done.cut) == ("", ())
    assert [alive(pid) for pid in pids(tmp_path)] == [False]


async def test_a_daemon_that_dropped_its_environment_was_seen_while_its_parent_lived(
    tmp_path: Path,
) -> None:
    folder, end = tmp_path / "pids", tmp_path / "end"
    folder.mkdir()
    task = asyncio.create_task(run(python(DAEMON, "bare", str(folder), str(end))))
    await until(lambda: bool(pids(folder)))
    await looked_at()
    end.touch()
    await task
    assert [alive(pid) for pid in pids(folder)] == [False]


async def test_somebody_who_gets_away_with_the_pipe_does_not_hold_us(tmp_path: Path) -> None:
    """Out of the session, out of the environment and an orphan, all within one look of ours."""
    code = (
        "import os,sys\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "script = 'echo $$ > \"$1\"; exec sleep 60'\n"
        "os.execve('/bin/sh', ['sh', '-c', script, 'sh', sys.argv[1]], {})"
    )
    file = tmp_path / "pid"
    done = await run(python(code, str(file)))
    assert done.seconds < LONG
    if done.cut:
        await until(lambda: bool(pids(tmp_path)))
        os.kill(pids(tmp_path)[0], signal.SIGKILL)
    else:  # the mark was still there when we looked, so it was caught, maybe before it had begun
        assert not any(map(alive, pids(tmp_path)))


async def test_cancelling_kills_the_tree_before_it_returns(tmp_path: Path) -> None:
    task = asyncio.create_task(run(python(DAEMON, "twice", str(tmp_path), "/no/end")))
    await until(lambda: bool(pids(tmp_path)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [alive(pid) for pid in pids(tmp_path)] == [False]


async def test_cancelling_while_it_starts_kills_the_tree_too(tmp_path: Path) -> None:
    """The program runs, and has left a daemon, before we have taken hold of its pipes."""
    task = asyncio.create_task(run(python(DAEMON, "twice", str(tmp_path), "/no/end")))
    while not running(str(tmp_path)):  # noqa: ASYNC110
        await asyncio.sleep(0)
    while not pids(tmp_path):
        time.sleep(0.01)  # noqa: ASYNC251
    task.cancel()
    async with asyncio.timeout(LONG):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not running(str(tmp_path))


def running(word: str) -> bool:
    """Is there a process with this word on its command line?"""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in file.read_bytes():
                return True
    return False


async def test_a_cancelled_program_is_waited_for_no_longer_than_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 3600)
    task = asyncio.create_task(run(python(DAEMON, "plain", str(tmp_path), "/no/end")))
    await until(lambda: bool(pids(tmp_path)))
    task.cancel()
    async with asyncio.timeout(LONG):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_programs_side_by_side_do_not_kill_each_other() -> None:
    slow = asyncio.create_task(run(python("import time; time.sleep(1); print('whole')")))
    for _ in range(5):
        await run(python("import subprocess; subprocess.run(['true'])"))
    assert (await slow).stdout == b"whole\n"
