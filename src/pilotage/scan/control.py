"""Positive controls: before a pass counts, it must find a weakness that we planted for it.

The same command, stage and parser are used as in a scan, so a dead rule set, a wrong flag or a
changed report format shows here, and not as a clean result. A proof is kept for the exact program,
pass and version of ours that gave it.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import os
import tarfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

from pilotage import __version__
from pilotage.domain.call import Outcome
from pilotage.domain.scan import ScannerRun
from pilotage.domain.text import visible
from pilotage.scan.environment import Installed
from pilotage.scan.git import failure, git
from pilotage.scan.history import bare_history
from pilotage.scan.image import open_image
from pilotage.scan.run_pass import Ground, run_pass
from pilotage.scan.scanner import Control, Pass, Scanner
from pilotage.scan.stage import stage

_AUTHOR = ("-c", "user.name=pilotage", "-c", "user.email=pilotage@localhost")


class Controls:
    """`cache` is the cache folder; only proofs that a pass works are kept in it."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "controls"

    async def prove(
        self, scanner: Scanner, each: Pass, installed: Installed, *, sandboxed: bool, fresh: bool
    ) -> str:
        """Empty where the pass finds its planted weakness, else what went wrong.

        `fresh`: run it even where a proof is kept.
        """
        key = f"{scanner.name}-{each.name}-{definition(each)}-{installed.identity}-{sandboxed}"
        proof = self._folder / hashlib.sha256(key.encode()).hexdigest()
        if not fresh and proof.exists():
            return ""
        wrong = await _try(scanner, each, installed, sandboxed)
        if wrong:
            proof.unlink(missing_ok=True)
            return f"did not find its planted weakness ({each.control.rule}): {wrong}"
        self._folder.mkdir(parents=True, exist_ok=True)
        part = proof.with_suffix(f".{os.getpid()}")
        part.write_text(key + "\n", "utf-8")
        part.rename(proof)
        return ""


def definition(each: Pass) -> str:
    """A digest of everything that makes a pass what it is, its parser's file included."""
    digest = hashlib.sha256(__version__.encode())
    for part in fields(each):
        value = getattr(each, part.name)
        if callable(value):
            source = inspect.getsourcefile(value)
            digest.update(Path(source).read_bytes() if source else repr(value).encode())
        else:
            digest.update(f"{part.name}={value!r}\0".encode())
    return digest.hexdigest()[:32]


async def _try(scanner: Scanner, each: Pass, installed: Installed, sandboxed: bool) -> str:
    with TemporaryDirectory(prefix="pilotage-control-") as folder:
        source = Path(folder) / "source"
        source.mkdir()
        async with AsyncExitStack() as stack:
            if not each.control.image:
                _plant(each.control, source)
            if each.control.history:
                await _commit(source)
            staged = await stack.enter_async_context(stage(source))
            history = image = None
            if each.control.history:
                history = (await bare_history(source, Path(folder))).path
            if each.control.image:
                archive = Path(folder) / "image.tar"
                archive.write_bytes(docker_archive(each.control.files))
                image = (await open_image(archive, Path(folder))).path
            ground = Ground(staged.path, staged.files, history, image=image, sandboxed=sandboxed)
            return _wrong(each, await run_pass(scanner, each, installed, ground))


def _wrong(each: Pass, run: ScannerRun) -> str:
    if run.outcome is not Outcome.SUCCEEDED:
        return run.why
    if run.unread:
        return f"{visible(run.unread[0].path)} was left unread: {run.unread[0].why}"
    found = {finding.rule for finding in run.findings}
    if each.control.rule not in found:
        return f"it found {', '.join(sorted(map(visible, found))) or 'nothing'}"
    return ""


def _plant(control: Control, folder: Path) -> None:
    for name, content in control.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")


async def _commit(folder: Path) -> None:
    """Commit what is planted, then take it away, so that it lies in history only."""
    steps = (
        ("init", "--quiet", str(folder)),
        ("add", "--all", "--force"),
        (*_AUTHOR, "commit", "--quiet", "--message=planted"),
        ("rm", "-r", "--quiet", "."),
        (*_AUTHOR, "commit", "--quiet", "--allow-empty", "--message=removed"),
    )
    for words in steps:
        done = await git(*words, folder=folder, top=None if words[0] == "init" else folder)
        if failure(done):
            raise RuntimeError(f"git {words[0]}: {failure(done)}")


def docker_archive(files: Mapping[str, str]) -> bytes:
    """An image of one layer with these files, as `docker save` writes it."""
    layer = _tar({name: content.encode() for name, content in files.items()})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created_by": "COPY . /"}],
    }
    about = json.dumps(config).encode()
    name = hashlib.sha256(about).hexdigest() + ".json"
    manifest = [{"Config": name, "RepoTags": ["planted:latest"], "Layers": ["layer.tar"]}]
    return _tar({name: about, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()})


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
