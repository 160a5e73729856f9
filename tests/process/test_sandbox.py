"""What runs in the sandbox sees what it was given, and nothing of it survives."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from pathlib import Path

import pytest

from pilotage.process.run import Finished, Limits, Program, run
from pilotage.process.sandbox import Sandbox, unusable

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")


def test_where_bubblewrap_is_installed_a_sandbox_can_be_made() -> None:
    assert unusable() == ""


async def sh(script: str, *words: str, sandbox: Sandbox, **rest: object) -> Finished:
    program = Program(("/bin/sh", "-c", script, "sh", *words), sandbox=sandbox, **rest)  # type: ignore[arg-type]
    return await run(program)


async def test_files_outside_are_not_there(tmp_path: Path) -> None:
    secret = tmp_path / "state" / "key"
    secret.parent.mkdir()
    secret.write_text("secret")
    done = await sh('cat "$1"; ls /root /home /var /srv', str(secret), sandbox=Sandbox())
    assert done.exit != 0
    assert done.stdout == b""


async def test_a_folder_to_read_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("given")
    tmp_path.chmod(0o755)
    script = 'cat "$1/file"; echo x > "$1/file"; echo x > "$1/new"'
    done = await sh(script, str(tmp_path), sandbox=Sandbox(read=(tmp_path,)))
    assert done.stdout == b"given"
    assert done.exit != 0
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


async def test_a_folder_to_write_is_written_and_nothing_beside_it(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    script = 'echo x > "$1/made"; echo x > "$1/../beside"; echo x > /etc/made; echo x > /made'
    await sh(script, str(inside), sandbox=Sandbox(write=(inside,)))
    assert [file.name for file in inside.iterdir()] == ["made"]
    assert [file.name for file in tmp_path.iterdir()] == ["inside"]
    assert not Path("/etc/made").exists()
    assert not Path("/made").exists()


CONNECT = (
    "import socket,sys; s=socket.create_connection((sys.argv[1], int(sys.argv[2])), 60); print(1)"
)


async def test_the_network_is_there_only_when_asked() -> None:
    base = Path(sys.base_prefix)
    argv = (str(base / "bin/python3"), "-c", CONNECT, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        closed = await run(Program((*argv, port), sandbox=Sandbox(read=(base,))))
        opened = await run(Program((*argv, port), sandbox=Sandbox(read=(base,), network=True)))
    assert closed.exit == 1
    assert b"Connection refused" in closed.stderr
    assert opened.stdout == b"1\n"


async def test_it_has_no_capability_and_is_not_root() -> None:
    script = "grep -E 'Cap(Eff|Prm|Bnd)' /proc/self/status; id -u; id -un; cat /etc/passwd"
    done = await sh(script, sandbox=Sandbox())
    words = done.stdout.split()
    assert words[1:6:2] == [b"0" * 16] * 3
    assert int(words[6]) != 0
    assert words[7] == b"sandbox"
    assert [word.split(b":")[0] for word in words[8:]] == [b"sandbox"]


async def test_it_sees_no_process_but_its_own() -> None:
    done = await sh("cat /proc/[0-9]*/comm", sandbox=Sandbox())
    assert set(done.stdout.split()) <= {b"bwrap", b"sh", b"cat"}


async def test_scratch_in_memory_is_bounded() -> None:
    script = "head -c 400000000 /dev/zero > /dev/shm/x; head -c 400000000 /dev/zero > /tmp/x"
    done = await sh(script, sandbox=Sandbox())
    assert done.stderr.count(b"No space left") == 2


async def test_a_daemon_that_hides_ends_with_the_sandbox(tmp_path: Path) -> None:
    """Out of the session, the environment and the line of parents; it writes while it lives."""
    script = (
        'cd "$1"; (setsid env -i /bin/sh -c "while :; do date > $1/beat; sleep 0.05; done" '
        "> /dev/null 2>&1 &); while ! test -e beat; do sleep 0.01; done"
    )
    done = await sh(script, str(tmp_path), sandbox=Sandbox(write=(tmp_path,)))
    assert done.exit == 0
    (tmp_path / "beat").unlink()
    await asyncio.sleep(0.3)
    assert not (tmp_path / "beat").exists()


async def test_a_fork_bomb_is_held_by_the_kernel_and_ends_with_the_sandbox() -> None:
    script = "f() { f | f & }; f; sleep 1; ls -d /proc/[0-9]* | wc -l"
    done = await sh(script, sandbox=Sandbox(), limits=Limits(seconds=120, processes=60))
    assert b"annot fork" in done.stderr
    assert "took longer" not in done.killed


@pytest.mark.parametrize(
    ("argv", "sandbox"),
    [
        (("no-such-program",), Sandbox()),
        (("true",), Sandbox(read=(Path("/no/such/folder"),))),
    ],
)
async def test_what_cannot_start_inside_is_missing_and_has_no_exit_code(
    argv: tuple[str, ...], sandbox: Sandbox
) -> None:
    done = await run(Program(argv, sandbox=sandbox))
    assert done.exit is None
    assert "no" in done.missing.lower()
