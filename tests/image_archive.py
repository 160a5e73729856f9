"""An image in an archive, as `docker save` writes it and deploy/image/build.py does."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Image:
    """One layer and its configuration; `members` is what the layer holds, by path."""

    name: str
    config: dict[str, Any]
    layer: tarfile.TarFile
    members: dict[str, tarfile.TarInfo]

    def read(self, path: str) -> bytes:
        """The bytes of one file of the layer."""
        return _read(self.layer, path)


@contextmanager
def opened(archive: Path) -> Iterator[Image]:
    """The image of an archive that holds one."""
    with tarfile.open(archive) as outer:
        (manifest,) = json.loads(_read(outer, "manifest.json"))
        (name,), (only,) = manifest["RepoTags"], manifest["Layers"]
        config = json.loads(_read(outer, manifest["Config"]))["config"]
        with tarfile.open(fileobj=outer.extractfile(only)) as layer:
            yield Image(name, config, layer, {one.name: one for one in layer.getmembers()})


def _read(archive: tarfile.TarFile, path: str) -> bytes:
    found = archive.extractfile(path)
    assert found is not None
    return found.read()
