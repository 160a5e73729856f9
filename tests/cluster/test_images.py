"""Images without Docker: the same tree is the same image, and root owns what is in it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from cluster.images import pack

from image_archive import opened


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A program, a link to it, a second name of it, and a folder."""
    folder = tmp_path / "tree"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/tool").write_text("#!/bin/sh\n")
    (folder / "bin/tool").chmod(0o755)
    (folder / "bin/link").symlink_to("tool")
    os.link(folder / "bin/tool", folder / "bin/zz-same")
    return folder


def packed(archive: Path, tree: Path) -> tuple[dict[str, object], list[tarfile.TarInfo]]:
    """The image's configuration, and the members of its layer."""
    pack(archive, "localhost/tool:1", tree, command=["/bin/tool"], environment={"B": "2"})
    with opened(archive) as image:
        assert image.name == "localhost/tool:1"
        return image.config, image.layer.getmembers()


def test_the_same_tree_is_the_same_image_whenever_it_is_packed(tree: Path, tmp_path: Path) -> None:
    pack(tmp_path / "1.tar", "localhost/tool:1", tree, command=["/bin/tool"])
    os.utime(tree / "bin/tool", (1, 1))
    pack(tmp_path / "2.tar", "localhost/tool:1", tree, command=["/bin/tool"])
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    (tree / "bin/tool").write_text("#!/bin/sh\nexit 1\n")
    pack(tmp_path / "3.tar", "localhost/tool:1", tree, command=["/bin/tool"])
    assert (tmp_path / "1.tar").read_bytes() != (tmp_path / "3.tar").read_bytes()


def test_a_layer_keeps_modes_and_links_and_is_roots(tree: Path, tmp_path: Path) -> None:
    _, layer = packed(tmp_path / "image.tar", tree)
    members = {one.name: one for one in layer}
    assert list(members) == ["bin", "bin/link", "bin/tool", "bin/zz-same"]
    assert members["bin/tool"].mode == 0o755
    assert members["bin/link"].linkname == "tool"
    assert members["bin/zz-same"].islnk()
    assert {(one.uid, one.gid, one.mtime) for one in layer} == {(0, 0, 0)}


def test_an_image_runs_its_command_as_nobody_unless_told_otherwise(
    tree: Path, tmp_path: Path
) -> None:
    config, _ = packed(tmp_path / "image.tar", tree)
    assert config["Entrypoint"] == ["/bin/tool"]
    assert config["User"] == "65532:65532"
    assert config["Env"] == ["B=2", "PATH=/usr/local/bin:/usr/bin:/bin"]
