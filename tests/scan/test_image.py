"""Images: recognised by what they hold, unpacked within bounds, refused otherwise."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from pilotage.domain.errors import BadInput, TooLarge
from pilotage.scan import image
from pilotage.scan.control import docker_archive
from pilotage.scan.image import open_image

LAYOUT = {
    "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
    "index.json": json.dumps({"schemaVersion": 2, "manifests": []}).encode(),
    "blobs/sha256/ab": b"x",
}


def tar(path: Path, files: Mapping[str, bytes], mode: str = "w", prefix: str = "") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


async def test_a_docker_archive_is_given_as_it_is(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(docker_archive({"a": "b"}))
    opened = await open_image(path, into)
    assert (opened.path, opened.kind) == (path, "a docker-archive")
    path.write_bytes(docker_archive({"a": "c"}))
    assert (await open_image(path, into)).digest != opened.digest


async def test_a_layout_folder_is_given_as_it_is(tmp_path: Path, into: Path) -> None:
    folder = tmp_path / "layout"
    for name, content in LAYOUT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    assert (await open_image(folder, into)).path == folder
    (folder / "blobs" / "sha256" / "cd").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="no OCI layout"):
        await open_image(folder, into)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("prefix", ["", "./"])
async def test_an_oci_archive_is_unpacked(
    tmp_path: Path, into: Path, mode: str, prefix: str
) -> None:
    opened = await open_image(tar(tmp_path / "oci.tar", LAYOUT, mode, prefix), into)
    assert opened.path.is_relative_to(into)
    assert (opened.path / "blobs" / "sha256" / "ab").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["../out", "/out", "blobs/../../out"])
async def test_a_name_that_leads_outside_is_refused(tmp_path: Path, into: Path, name: str) -> None:
    path = tar(tmp_path / "oci.tar", {**LAYOUT, name: b"x"})
    with pytest.raises(BadInput, match="which no OCI layout has"):
        await open_image(path, into)
    assert not (tmp_path / "out").exists()
    assert not Path("/out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
async def test_links_and_devices_are_refused(tmp_path: Path, into: Path, kind: bytes) -> None:
    path = tar(tmp_path / "oci.tar", LAYOUT)
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("blobs/sha256/link")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(BadInput, match="which no OCI layout has"):
        await open_image(path, into)


async def test_an_archive_that_grows_too_large_is_refused(
    tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "LARGEST", 1 << 20)
    path = tar(tmp_path / "oci.tar.gz", {**LAYOUT, "blobs/sha256/big": bytes(2 << 20)}, "w:gz")
    assert path.stat().st_size < 1 << 16
    with pytest.raises(TooLarge):
        await open_image(path, into)


@pytest.mark.parametrize("content", [b"", b"not a tar", b"\x1f\x8b\x08broken"])
async def test_what_is_no_archive_is_refused(tmp_path: Path, into: Path, content: bytes) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        await open_image(path, into)


async def test_an_archive_without_an_image_is_refused(tmp_path: Path, into: Path) -> None:
    with pytest.raises(BadInput, match="holds no image"):
        await open_image(tar(tmp_path / "x.tar", {"a": b"b"}), into)
    with pytest.raises(BadInput, match="there is no image"):
        await open_image(tmp_path / "absent.tar", into)


def bomb(path: Path, kind: bytes, size: int, times: int = 1) -> Path:
    """An archive of headers that say they are large, and are."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, size
    with gzip.open(path, "wb", 1) as file:
        for _ in range(times):
            file.write(header.tobuf(tarfile.GNU_FORMAT))
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
async def test_a_header_is_not_read_into_memory_whatever_its_size(
    tmp_path: Path, into: Path, kind: bytes
) -> None:
    with pytest.raises(TooLarge, match="header"):
        await open_image(bomb(tmp_path / "i.tar.gz", kind, 64 << 20), into)


async def test_headers_without_an_end_are_refused(tmp_path: Path, into: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        await open_image(bomb(tmp_path / "i.tar.gz", tarfile.GNUTYPE_LONGNAME, 0, 20_000), into)


async def test_a_file_that_says_it_is_huge_is_not_unpacked_to_see(
    tmp_path: Path, into: Path
) -> None:
    header = tarfile.TarInfo("x")
    header.size = 1 << 40
    with (tmp_path / "i.tar").open("wb") as file:
        file.write(header.tobuf())
        file.truncate(1 << 40)
    with pytest.raises(TooLarge):
        await open_image(tmp_path / "i.tar", into)


async def test_an_index_that_is_too_deep_is_no_layout(tmp_path: Path, into: Path) -> None:
    (tmp_path / "index.json").write_bytes(b"[" * 1_000_000)
    with pytest.raises(BadInput, match="no OCI layout"):
        await open_image(tmp_path, into)
