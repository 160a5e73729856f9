"""Advisories: found by name, matched by their ecosystem's order of versions, never guessed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilotage.domain.errors import Unavailable
from pilotage.scan.advisories import Advisory, NotComparable, fixes, folder, groups, hits, load

SNAPSHOT = Path(__file__).parents[3] / "shared/data/osv"


def record(id: str = "X-1", name: str = "demo", ecosystem: str = "PyPI", **more: Any) -> Any:
    part = {"package": {"ecosystem": ecosystem, "name": name}}
    part |= {k: more.pop(k) for k in ("ranges", "versions") if k in more}
    return {"id": id, "modified": "2026-01-02T00:00:00Z", "affected": [part], **more}


def events(*steps: Mapping[str, str], type: str = "ECOSYSTEM") -> Any:
    return [{"type": type, "events": list(steps)}]


def hit(version: str, ecosystem: str = "PyPI", **more: Any) -> bool:
    advisory = msgspec.convert(record(ecosystem=ecosystem, **more), Advisory)
    return bool(hits(advisory, ecosystem, "demo", version))


def write(source: Path, *records: Any, ecosystem: str = "PyPI", zipped: bool = True) -> Path:
    (source / ecosystem).mkdir(parents=True, exist_ok=True)
    if not zipped:
        for one in records:
            (source / ecosystem / f"{one['id']}.json").write_text(json.dumps(one))
        return source
    with zipfile.ZipFile(source / ecosystem / "all.zip", "w") as archive:
        for one in records:
            archive.writestr(f"{one['id']}.json", json.dumps(one))
    return source


@pytest.mark.parametrize(
    ("version", "expected"),
    [("0.1", True), ("1.9", True), ("2.0rc1", True), ("2.0", False), ("2.0.post1", False),
     ("3.0", True), ("3.5", True), ("3.5.1", False), ("1!0", False)],
)  # fmt: skip
def test_python_ranges_follow_pep_440(version: str, expected: bool) -> None:
    steps = events({"introduced": "3.0"}, {"last_affected": "3.5"},
                   {"fixed": "2.0"}, {"introduced": "0"})  # fmt: skip
    assert hit(version, ranges=steps) is expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [("4.17.15", True), ("4.17.9", True), ("4.17.21-rc.1", True), ("4.17.21", False),
     ("4.17.100", False), ("v4.17.20", True), ("4.17.20+build", True)],
)  # fmt: skip
@pytest.mark.parametrize("type", ["SEMVER", "ECOSYSTEM"])
def test_npm_ranges_follow_semver(version: str, expected: bool, type: str) -> None:
    steps = events({"introduced": "0"}, {"fixed": "4.17.21"}, type=type)
    assert hit(version, "npm", ranges=steps) is expected


def test_a_listed_version_is_hit_however_it_is_spelled() -> None:
    assert hit("2.2.0", versions=["2.2"])
    assert not hit("2.2.1", versions=["2.2"])


def test_commits_are_no_versions() -> None:
    assert not hit("1.0", ranges=events({"introduced": "0"}, type="GIT"))


def test_a_version_that_cannot_be_compared_is_said_not_guessed() -> None:
    with pytest.raises(NotComparable):
        hit("not-a-version", ranges=events({"introduced": "0"}))
    assert hit("not-a-version", versions=["not-a-version"])


def test_the_fix_named_is_a_later_version_nearest_first() -> None:
    steps = events({"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2"}, {"fixed": "2.10"},
                   {"introduced": "3"}, {"fixed": "3.0.1"})  # fmt: skip
    [part] = msgspec.convert(record(ranges=steps), Advisory).affected
    assert fixes(part, "PyPI", "2.1") == ("2.10", "3.0.1")


def test_aliases_join_advisories_through_others() -> None:
    def one(id: str, *aliases: str) -> Advisory:
        return msgspec.convert(record(id, aliases=list(aliases)), Advisory)

    told = groups([one("A", "CVE-1"), one("B", "CVE-2"), one("C", "CVE-1", "CVE-2"), one("D")])
    assert [[member.id for member in group] for group in told] == [["A", "B", "C"], ["D"]]


@pytest.mark.parametrize("zipped", [True, False])
def test_an_export_is_found_by_the_names_of_its_ecosystem(tmp_path: Path, zipped: bool) -> None:
    gone = record("X-2", withdrawn="2026-01-01T00:00:00Z")
    source = write(tmp_path / "a", record(name="Demo_Package"), gone, zipped=zipped)
    export = load("PyPI", source, tmp_path / "cache")
    assert [advisory.id for advisory in export.about("demo-package")] == ["X-1"]
    assert list(export.about("demo")) == []
    assert (export.index.count, export.date) == (2, "2026-01-02T00:00:00Z")


def test_loose_advisories_count_beside_an_export(tmp_path: Path) -> None:
    source = write(tmp_path / "a", record())
    before = load("PyPI", source, tmp_path / "cache").digest
    write(source, record("OURS-1"), zipped=False)
    export = load("PyPI", source, tmp_path / "cache")
    assert sorted(advisory.id for advisory in export.about("demo")) == ["OURS-1", "X-1"]
    assert export.digest != before


def test_an_index_is_kept_for_the_same_content_only(tmp_path: Path) -> None:
    source, cache = write(tmp_path / "a", record()), tmp_path / "cache"
    first = load("PyPI", source, cache)
    assert load("PyPI", source, cache).digest == first.digest
    write(source, record(name="other"))
    second = load("PyPI", source, cache)
    assert second.digest != first.digest
    assert list(second.about("demo")) == []
    for kept in cache.iterdir():
        kept.write_text("{}")
    assert [a.id for a in load("PyPI", source, cache).about("other")] == ["X-1"]


@pytest.mark.parametrize(
    "make",
    [
        lambda source: None,
        lambda source: (source / "PyPI").mkdir(parents=True),
        lambda source: write(source),
        lambda source: (write(source, record()) / "PyPI/all.zip").write_bytes(b"PK"),
        lambda source: write(source, record(), ecosystem="npm"),
    ],
    ids=["nothing", "empty folder", "empty zip", "broken zip", "another ecosystem"],
)
def test_no_advisories_are_unavailable_never_clean(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "a")
    with pytest.raises(Unavailable) as refused:
        load("PyPI", tmp_path / "a", tmp_path / "cache")
    assert "mirror" in refused.value.hint


def test_advisories_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "a", record())
    with zipfile.ZipFile(source / "PyPI/all.zip", "a") as archive:
        archive.writestr("X-9.json", '{"id": ')
    assert load("PyPI", source, tmp_path / "cache").index.broken == 1


def test_the_folder_is_the_users_or_beside_our_state() -> None:
    assert folder({"PILOTAGE_ADVISORIES": "/a"}) == Path("/a")
    assert folder({"PILOTAGE_HOME": "/h"}) == Path("/h/advisories")


@pytest.mark.skipif(not SNAPSHOT.exists(), reason="needs ../shared/data/osv")
def test_jinja2_and_django_by_the_snapshot_of_2024(tmp_path: Path) -> None:
    """33: 5 and 28. Each is both in the advisory's list of versions and in its ranges."""
    export = load("PyPI", SNAPSHOT, tmp_path)
    told = {
        name: [a for a in export.about(name) if hits(a, "PyPI", name, version)]
        for name, version in (("jinja2", "2.4.1"), ("django", "2.2.0"))
    }
    assert {name: len(groups(some)) for name, some in told.items()} == {"jinja2": 5, "django": 28}
    for some in told.values():
        for advisory in some:
            lists = advisory.affected[0].versions
            assert {"2.4.1", "2.2"} & set(lists)
