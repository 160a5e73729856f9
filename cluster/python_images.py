"""Images with this machine's Python and some of its packages, packed without Docker.

Of the interpreter's installation and of the named distributions (with all that they require) the
files that are needed to run. Kept by what went in, outside the repository.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from cluster.images import pack

CACHE = Path.home() / ".cache" / "pilotage" / "python-images"
LIBRARY = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
_LEFT_OUT = ("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "tkinter")
_NO_PART = ("turtledemo", "ensurepip", "pydoc_data", "distutils", "config-*", "__pycache__")
_EXTENSIONS = ("_tkinter*", "_test*", "_dbm*", "_gdbm*", "_curses*", "readline*", "nis*")


def python_images(
    program: Path, packages: Iterable[str], versions: Mapping[str, Mapping[str, str]]
) -> list[Path]:
    """The archives of images that run the program, one file, with these packages. `versions` are
    their names and what differs, the environment; the layer is one, so the second costs nothing."""
    found = list(required(packages))
    words = sorted(f"{one.name} {one.version}" for one in found)
    texts = [sys.version, program.read_text(), Path(__file__).read_text(), repr(dict(versions))]
    digest = hashlib.sha256("\0".join([*words, *texts]).encode()).hexdigest()[:16]
    kept = CACHE / digest
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not kept.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                part, tree = Path(folder) / "images", Path(folder) / "tree"
                _fill(tree, program, found)
                for number, (name, environment) in enumerate(versions.items()):
                    _pack(part / f"{number}.tar", name, tree, environment)
                part.rename(kept)
    return sorted(kept.iterdir())


def _pack(archive: Path, name: str, tree: Path, environment: Mapping[str, str]) -> None:
    variables = {"LD_LIBRARY_PATH": "/lib", "PYTHONHOME": "/", **environment}
    command = ["/bin/python", "-s", "/program.py"]
    pack(archive, name, tree, command=command, environment=variables)


def required(packages: Iterable[str]) -> Iterator[Distribution]:
    """These distributions and all that they require here, each once."""
    given: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(one) for one in packages]
    while waiting:
        one = waiting.pop()
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        try:
            found = distribution(name)
        except PackageNotFoundError:  # what another system would need
            continue
        if name not in given:
            given.add(name)
            yield found
        for extra in {"", *one.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            needs = [Requirement(line) for line in found.requires or ()]
            waiting += [n for n in needs if not n.marker or n.marker.evaluate({"extra": extra})]


def _fill(tree: Path, program: Path, packages: Iterable[Distribution]) -> None:
    library = tree / LIBRARY
    ignored = shutil.ignore_patterns(*_LEFT_OUT, *_NO_PART, *_EXTENSIONS)
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=ignored)
    for one in packages:
        for file in one.files or ():
            source = Path(str(one.locate_file(file)))
            if source.suffix == ".pyc" or ".." in file.parts or not source.is_file():
                continue
            target = library / "site-packages" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    (tree / "bin").mkdir()
    shutil.copy(os.path.realpath(sys.executable), tree / "bin/python")
    shutil.copy(program, tree / "program.py")
    _add_libraries(tree)
    # A layer has no times: compiled files that ask for them would be made anew at each start.
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(library, quiet=2, invalidation_mode=unchecked, stripdir=tree)
    (tree / "tmp").mkdir(mode=0o777)
    for path in (tree, *tree.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))


def _add_libraries(tree: Path) -> None:
    """What the interpreter and the extensions load: where the loader is asked for by its path,
    there, everything else into /lib."""
    for program in (tree / "bin/python", *tree.rglob("*.so")):
        said = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        for line in said.splitlines():
            match = re.fullmatch(r"\s*(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)", line)
            if match is None:
                continue
            source = Path(match[2])
            target = tree / (f"lib/{match[1]}" if match[1] else str(source).lstrip("/"))
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source.resolve(), target)
