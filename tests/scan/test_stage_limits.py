"""What a hostile tree can throw at the stage is bounded, never opened, and told."""

from __future__ import annotations

import os
import shutil
import socket
import zipfile
from pathlib import Path

import pytest

from pilotage.scan import copying
from pilotage.scan.stage import StageLimits, stage

from .conftest import write


async def test_a_hundred_megabyte_line_is_unread_with_the_reason(tmp_path: Path) -> None:
    with (tmp_path / "long.js").open("wb") as file:
        for _ in range(100):
            file.write(b"x" * (1 << 20))
    (tmp_path / "a.py").write_text("1\n")
    async with stage(tmp_path) as staged:
        assert staged.files == ("a.py",)
        (unread,) = staged.unread
        assert unread.path == "long.js"
        assert "100 MiB" in unread.why


async def test_a_zip_bomb_is_copied_as_it_is_and_noted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("nosec", b"\0" * (200 << 20))
    packed = (tmp_path / "bomb.zip").read_bytes()
    async with stage(tmp_path) as staged:
        assert (staged.path / "bomb.zip").read_bytes() == packed
        assert staged.bytes == len(packed) < 1 << 20
        assert any("not unpacked" in note and "bomb.zip" in note for note in staged.notes)


async def test_nothing_but_files_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "a.py").write_text("1\n")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.py"))
        async with stage(tmp_path) as staged:
            assert staged.files == ("a.py",)
            assert {u.path: u.why for u in staged.unread} == {
                "pipe.py": "is a pipe, not a file",
                "socket.py": "is a socket, not a file",
            }


async def test_counts_bytes_and_depth_are_bounded_and_told(tmp_path: Path) -> None:
    write(tmp_path, {f"f{i}.py": "12345\n" for i in range(10)})
    write(tmp_path, {"a/b/c/d/deep.py": "1\n"})
    async with stage(tmp_path, StageLimits(files=4, depth=3)) as staged:
        assert len(staged.files) == 4
        assert [(u.path, u.why.split(" ")[0]) for u in staged.unread] == [
            ("a/b/c/d", "lies"),
            (".", "6"),
        ]
    async with stage(tmp_path, StageLimits(total=20)) as staged:
        assert staged.bytes <= 20
        assert any("over the limits" in u.why for u in staged.unread)


async def test_folders_deeper_than_a_path_may_be_long_are_bounded(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(60):
        os.mkdir("d" * 200, dir_fd=fd)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("deep.py", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    async with stage(tmp_path) as staged:
        assert staged.files == ()
        assert [u.why for u in staged.unread] == ["has a path longer than 1024 bytes"]
    shutil.rmtree(tmp_path / ("d" * 200))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without permission")
async def test_a_file_that_may_not_be_read_is_unread(tmp_path: Path) -> None:
    write(tmp_path, {"source/open.py": "1\n", "source/closed.py": "2\n", "source/d/e.py": "3\n"})
    (tmp_path / "source/closed.py").chmod(0o600)
    (tmp_path / "source/d").chmod(0o700)
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/tmp") and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    os.seteuid(65534)
    try:
        async with stage(tmp_path / "source") as staged:
            assert staged.files == ("open.py",)
            assert {u.path: u.why for u in staged.unread} == {
                "closed.py": "cannot be read: Permission denied",
                "d": "cannot be opened: Permission denied",
            }
        assert not staged.path.exists()
    finally:
        os.seteuid(0)


async def test_a_file_that_does_not_hold_still_is_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else writes at the worst moment: between our read and our second look."""
    busy, read_all = tmp_path / "busy.log", copying._read_all
    write(tmp_path, {"busy.log": "x\n", "calm.py": "1\n"})

    def read_and_be_overtaken(file: int, most: int) -> bytes:
        data = read_all(file, most)
        if data.startswith(b"x"):
            with busy.open("a") as other:
                other.write("x\n")
        return data

    monkeypatch.setattr(copying, "_read_all", read_and_be_overtaken)
    async with stage(tmp_path) as staged:
        assert staged.files == ("calm.py",)
        assert [(u.path, u.why) for u in staged.unread] == [
            ("busy.log", "changed while it was read")
        ]
    assert busy.read_text() == "x\n" * 4  # three tries


async def test_a_flood_of_unreadable_entries_is_counted_not_listed(tmp_path: Path) -> None:
    for number in range(1500):
        os.mkfifo(tmp_path / f"pipe{number}")
    async with stage(tmp_path) as staged:
        assert len(staged.unread) == 1001
        assert staged.unread[-1].why == "500 more files could not be read"
