"""Python projects: pytest and unittest."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pilotage.domain.errors import BadInput
from pilotage.process.run import Finished
from pilotage.suite import junit
from pilotage.suite.recipe import Place, Recipe
from pilotage.suite.results import Results

RUNNER = Path(__file__).with_name("unittest_junit.py")
REQUIREMENTS = (
    *("requirements.txt", "requirements-dev.txt", "requirements-test.txt"),
    *("dev-requirements.txt", "test-requirements.txt"),
)
_BASES = (Path("/usr"), Path("/opt"), Path(sys.base_prefix))
_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini", *REQUIREMENTS)


def is_python(source: Path) -> bool:
    """A file at its top says so, or a test lies there or in a folder of tests."""
    if any((source / name).is_file() for name in _MARKS):
        return True
    return any(next(source.glob(glob), None) for glob in ("test_*.py", "test*/**/test_*.py"))


def recipe(
    place: Place,
    framework: str,
    interpreter: Path,
    reads: tuple[Path, ...],
    uv: str,
    client: Mapping[str, str],
) -> Recipe:
    """`uv`: the program that installs the project's requirements first, "" for no installation;
    `client`: its environment."""
    results = place.out / "results.xml"
    options = ("-p", "no:cacheprovider", f"--junitxml={results}")
    words = {
        "pytest": ("-m", "pytest", *options),
        "unittest": (str(RUNNER), str(results)),
    }[framework]
    site = place.out / "site"
    paths = [site, place.tree / "src"] if uv else [place.tree / "src"]
    return Recipe(
        (str(interpreter), *words),
        _read,
        _install(place, interpreter, uv, site) if uv else (),
        {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": f"{interpreter.parent}:{site}/bin:/usr/local/bin:/usr/bin:/bin",
        },
        client,
        (*reads, RUNNER, *((Path(uv),) if uv else ())),
    )


def _read(place: Place, _: Finished) -> Results:
    return junit.load(place.out / "results.xml")


def _install(place: Place, interpreter: Path, uv: str, site: Path) -> tuple[str, ...]:
    """Beside the interpreter's own packages, which stay as they are."""
    files = [name for name in REQUIREMENTS if (place.tree / name).is_file()]
    project = any((place.tree / name).is_file() for name in ("pyproject.toml", "setup.py"))
    if not files and not project:
        raise BadInput("there is nothing to install: no requirements.txt, no pyproject.toml", "")
    wanted = [word for name in files for word in ("-r", name)] + (["."] if project else [])
    options = ("--no-cache", "--no-config", "--target", str(site), "--python", str(interpreter))
    return (uv, "pip", "install", *options, *wanted)


def known_base(path: Path) -> Path | None:
    """The folder that holds a whole Python installation, where `path` lies in one of the places
    where systems keep them; those may be shown to tests, whoever asks."""
    for base in _BASES:
        if path.is_relative_to(base.resolve()):
            return path.parent.parent if base == Path("/opt") else base
    return None


def interpreter(program: Path) -> tuple[Path, tuple[Path, ...]]:
    """The caller's own interpreter and the folders that it needs to see. The caller may read
    `program`'s folder: that was checked.

    Its links may lead only to a known base: a repository that commits a `.venv` could otherwise
    show the tests a folder of ours.
    """
    if not program.is_file() or not os.access(program, os.X_OK):
        raise BadInput(f"{program} is no interpreter", "name a python program")
    base = known_base(program.resolve())
    if base is None:
        raise BadInput(
            f"{program} leads to {program.resolve()}, which tests may not see",
            "its installation must lie in " + ", ".join(map(str, _BASES)),
        )
    prefix = program.parent.parent
    return program, (prefix, base) if (prefix / "pyvenv.cfg").is_file() else (base,)
