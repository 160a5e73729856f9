"""Where programs come from: pinned modules, kept under what made them, whole or not at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cluster.build import Recipe, built
from cluster.error import ClusterError, PartMissing
from cluster.go import find_go

from cluster import build

MAIN = 'package main\n\nimport "small.invalid/dep"\n\nfunc main() { print(dep.Said) }\n'
GO_MOD = """module small.invalid/m

go 1.24.0

require small.invalid/dep v1.2.3

replace small.invalid/dep => ./dep
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe of a module of three lines, and a cache of its own."""
    module = tmp_path / "modules/small"
    (module / "dep").mkdir(parents=True)
    (module / "go.mod").write_text(GO_MOD)
    (module / "go.sum").write_text("")
    (module / "main.go").write_text(MAIN)
    (module / "dep/go.mod").write_text("module small.invalid/dep\n\ngo 1.24.0\n")
    (module / "dep/dep.go").write_text('package dep\n\nvar Said = "unstamped"\n')
    monkeypatch.setattr(build, "MODULES", tmp_path / "modules")
    try:
        find_go(module)
    except PartMissing as missing:
        pytest.skip(str(missing))
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path / "cache")
    return Recipe("small", "small.invalid/dep", {"hello": "."})


def test_what_was_built_is_kept_under_its_version(small: Recipe) -> None:
    place = built(small)
    assert place.name.startswith("v1.2.3-")
    assert subprocess.run([place / "hello"], capture_output=True).stderr == b"unstamped"
    made = (place / "hello").stat().st_mtime_ns
    assert built(small) == place
    assert (place / "hello").stat().st_mtime_ns == made


def test_whatever_changes_the_programs_changes_their_place(small: Recipe) -> None:
    before = small.digest()
    with (small.folder / "go.sum").open("a") as sums:
        sums.write("small.invalid/other v1.0.0 h1:0=\n")
    assert small.digest() != before


def test_a_build_that_fails_says_the_compilers_words_and_leaves_no_place(small: Recipe) -> None:
    (small.folder / "main.go").write_text(MAIN.replace("dep.Said", "dep.Nothing"))
    with pytest.raises(ClusterError, match=r"undefined: dep\.Nothing"):
        built(small)
    (small.folder / "main.go").write_text(MAIN)
    assert sorted(one.name for one in built(small).iterdir()) == ["go.mod", "go.sum", "hello"]


def test_a_module_that_wants_a_go_nobody_has_names_it(small: Recipe) -> None:
    (small.folder / "go.mod").write_text(GO_MOD.replace("1.24.0", "9.1.0"))
    with pytest.raises(PartMissing, match=r"no Go 9\.1\.0"):
        built(small)
