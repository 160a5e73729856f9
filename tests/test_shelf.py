"""A shelf that misses a part stops the start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pilotage import shelf
from pilotage.domain.errors import PilotageError
from pilotage.scan.report import Format

PART = (
    "from pilotage.scan.report import Format\nPART = Format({name!r}, '', '', lambda scan: b'')\n"
)


def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> str:
    package = tmp_path.name.replace("-", "_") + "_shelf"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    for name, text in files.items():
        (tmp_path / package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for loaded in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[loaded]
    return package


def test_parts_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = made(tmp_path, monkeypatch, b=PART.format(name="b"), a=PART.format(name="a"))
    assert list(shelf.parts(package, Format)) == ["a", "b"]


def test_an_empty_shelf_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PilotageError, match="is empty"):
        shelf.parts(made(tmp_path, monkeypatch), Format)


def test_a_file_without_a_part_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PilotageError, match="holds no Format"):
        shelf.parts(made(tmp_path, monkeypatch, a="x = 1\n"), Format)


def test_a_part_that_fails_to_import_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PilotageError, match="cannot be loaded: boom"):
        shelf.parts(made(tmp_path, monkeypatch, a="raise ValueError('boom')\n"), Format)


def test_a_repeated_name_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = made(tmp_path, monkeypatch, a=PART.format(name="x"), b=PART.format(name="x"))
    with pytest.raises(PilotageError, match="both hold Format 'x'"):
        shelf.parts(package, Format)
