"""The image that is built without Docker is the one that the Dockerfile describes."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import build
import manifests

from image_archive import Image


def test_it_starts_as_the_dockerfile_says(image: Image) -> None:
    config = image.config
    assert image.name == build.NAME
    dockerfile = (manifests.ROOT / "deploy/image/Dockerfile").read_text()
    last = dockerfile.split("\nFROM ")[-1]
    assert f"ENTRYPOINT {json.dumps(config['Entrypoint'])}" in last
    assert f"\nUSER {config['User']}\n" in last
    assert config["User"] == "65532:65532"
    assert f"\nWORKDIR {config['WorkingDir']}\n" in last
    for word in config["Env"]:
        assert word.startswith("PATH=") or f" {word}" in last


def test_both_ways_to_it_take_the_same_parts() -> None:
    dockerfile = (manifests.ROOT / "deploy/image/Dockerfile").read_text()
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {
        f"debian:{build.SUITE}-slim"
    }
    for shared in (f"/{build.PLACE}", "deploy/image/packages", "deploy/image/pilotage"):
        assert shared in dockerfile
    for flag in ("--require-hashes", "--frozen --no-dev", "unchecked-hash"):
        assert flag in dockerfile
    assert f"localhost/pilotage:{_version()}" == build.NAME


def _version() -> str:
    chart = (manifests.ROOT / "deploy/chart/Chart.yaml").read_text()
    found = re.search(r"^appVersion: (\S+)$", chart, re.MULTILINE)
    assert found is not None
    project = (manifests.ROOT / "pyproject.toml").read_text()
    assert f'version = "{found[1]}"' in project
    return found[1]


def test_nothing_in_it_gains_rights_or_installs_more(image: Image) -> None:
    layer = image.members
    assert f"{build.PLACE}/pilotage/cli/main.py" in layer
    for name, one in layer.items():
        assert not (one.isreg() and one.mode & (stat.S_ISUID | stat.S_ISGID)), name
        assert one.uid == 0, name
    for tool in ("pip", "pip3", "gcc", "make", "curl", "wget"):
        assert f"usr/bin/{tool}" not in layer
    assert not [name for name in layer if name.startswith(f"{build.PLACE}/pip/")]


def test_its_bytecode_holds_though_nobody_can_write_there(image: Image) -> None:
    """The flags of a .pyc (PEP 552): 1 is by hash, never checked."""
    name = f"{build.PLACE}/pilotage/cli/__pycache__/main.cpython-311.pyc"
    assert image.read(name)[4:8] == (1).to_bytes(4, "little")
    layer = image.members
    ours = [
        one for one in layer if one.startswith(f"{build.PLACE}/pilotage/") and one.endswith(".py")
    ]
    compiled = {one for one in layer if one.endswith(".cpython-311.pyc")}
    for source in ours:
        path = Path(source)
        assert str(path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc") in compiled
