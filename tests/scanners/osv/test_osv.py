"""osv: our own matcher over real advisories, and osv-scanner's reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pilotage.domain.call import Outcome
from pilotage.domain.finding import Severity
from pilotage.scan.scanner import Raw, Unusable
from pilotage.scanners.osv import parse
from scanners import passes
from scanners.looking import plant

LOCKS: dict[str, str | bytes] = {
    "requirements.txt": "jinja2==2.4.1\ndjango==2.2.0\n",
    "package-lock.json": json.dumps(
        {
            "lockfileVersion": 3,
            "packages": {
                "node_modules/lodash": {"version": "4.17.15"},
                "node_modules/minimist": {"version": "0.0.8"},
            },
        },
        indent=2,
    ),
}
MENDED: dict[str, str | bytes] = {
    "requirements.txt": "jinja2==3.1.6\ndjango==5.2.8\n",
    "package-lock.json": str(LOCKS["package-lock.json"])
    .replace("4.17.15", "4.17.21")
    .replace("0.0.8", "1.2.8"),
}


async def test_bad_versions_are_found_once_an_alias_group(tmp_path: Path, advisories: Path) -> None:
    run = await passes.look("osv", "lock-files", plant(tmp_path, LOCKS))
    assert run.complete
    told = {(f.rule, f.severity, f.location.path, f.location.line) for f in run.findings}
    assert told == {
        ("GHSA-462w-v97r-4m45", Severity.HIGH, "requirements.txt", 1),
        ("PYSEC-2021-66", Severity.UNKNOWN, "requirements.txt", 1),
        ("GHSA-2gwj-7jmv-h26r", Severity.CRITICAL, "requirements.txt", 2),
        ("GHSA-hmr4-m2h5-33qx", Severity.CRITICAL, "requirements.txt", 2),
        ("GHSA-35jh-r3h4-6jhm", Severity.HIGH, "package-lock.json", 4),
        ("GHSA-p6mc-m468-83gw", Severity.HIGH, "package-lock.json", 4),
        ("GHSA-xvch-5gv4-984h", Severity.CRITICAL, "package-lock.json", 7),
        ("GHSA-vh95-rmgr-6w4m", Severity.MEDIUM, "package-lock.json", 7),
    }
    jinja = next(f for f in run.findings if f.rule == "GHSA-462w-v97r-4m45")
    assert jinja.ids == ("CVE-2019-10906", "GHSA-462w-v97r-4m45", "PYSEC-2019-217")
    assert jinja.package is not None
    assert jinja.package.fixed == ("2.10.1",)
    assert "PyPI 2023-08-30 sha256:" in run.version
    assert "days ago" in run.why


async def test_mended_versions_are_clean(tmp_path: Path, advisories: Path) -> None:
    run = await passes.look("osv", "lock-files", plant(tmp_path, MENDED))
    assert run.complete
    assert not run.findings


async def test_an_unpinned_requirement_is_never_clean(tmp_path: Path, advisories: Path) -> None:
    run = await passes.look("osv", "lock-files", plant(tmp_path, {"requirements.txt": "flask\n"}))
    assert not run.complete
    assert "flask is not pinned" in run.unread[0].why


async def test_without_advisories_nothing_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTAGE_ADVISORIES", str(tmp_path / "none"))
    run = await passes.look("osv", "lock-files", plant(tmp_path / "r", LOCKS))
    assert run.outcome is Outcome.UNAVAILABLE
    assert "osv-vulnerabilities/PyPI/all.zip" in run.why or "npm/all.zip" in run.why


async def test_one_missing_ecosystem_leaves_its_lock_files_unread(
    tmp_path: Path, advisories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "half"
    half.mkdir()
    (half / "PyPI").symlink_to(advisories / "PyPI")
    monkeypatch.setenv("PILOTAGE_ADVISORIES", str(half))
    run = await passes.look("osv", "lock-files", plant(tmp_path / "r", LOCKS))
    assert {f.location.path for f in run.findings} == {"requirements.txt"}
    assert [item.path for item in run.unread] == ["package-lock.json"]


WORST = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def report(**vulnerability: Any) -> bytes:
    row = {"id": "GHSA-1", "modified": "2026-01-01T00:00:00Z", **vulnerability}
    package = {"name": "flot-axis", "version": "0.0.0", "ecosystem": "npm"}
    listed = {"package": package, "vulnerabilities": [row]}
    document = {"results": [{"source": {"path": "/stage/yarn.lock"}, "packages": [listed]}]}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("row", "severity"),
    [
        ({"severity": [{"type": "CVSS_V3", "score": WORST}],
          "database_specific": {"severity": "LOW"}}, Severity.CRITICAL),
        ({"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/nonsense"}],
          "database_specific": {"severity": "MODERATE"}}, Severity.MEDIUM),
        ({"database_specific": {"severity": "ODD"}}, Severity.UNKNOWN),
        ({}, Severity.UNKNOWN),
        ({"id": "MAL-2023-1035"}, Severity.CRITICAL),
    ],
)  # fmt: skip
def test_severity_comes_from_the_vector_then_the_database_and_is_never_guessed(
    row: dict[str, Any], severity: Severity
) -> None:
    [finding] = parse(Raw(1, report(**row), b"", root="/stage")).findings
    assert finding.severity is severity
    assert finding.severity_from
    assert finding.location.path == "yarn.lock"


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"results": 1}', '{"results": [{"packages": []}]}',
             '{"error": "x"}', '{"results": {"failed_checks": []}}']
)  # fmt: skip
def test_what_is_no_osv_report_is_refused(text: str) -> None:
    with pytest.raises(Unusable):
        parse(Raw(0, text.encode(), b""))


async def test_without_its_lock_file_a_manifest_is_not_read(
    tmp_path: Path, advisories: Path
) -> None:
    manifest = json.dumps({"dependencies": {"lodash": "4.17.4"}})
    files: dict[str, str | bytes] = {"package.json": manifest, "web/package.json": '{"name": "w"}'}
    run = await passes.look("osv", "lock-files", plant(tmp_path / "a", files))
    assert [(row.path, row.why) for row in run.unread] == [
        ("package.json", "no lock file says in which version it gets lodash")
    ]
    assert not run.complete
    run = await passes.look("osv", "lock-files", plant(tmp_path / "b", {**files, **LOCKS}))
    assert run.complete
    assert run.read == 4


def test_a_long_title_is_cut_where_one_sees_it() -> None:
    (found,) = parse(Raw(1, report(summary="word " * 100), b"", root="/stage")).findings
    assert len(found.title) <= 120
    assert found.title.endswith("word…")
    assert len(found.message) <= len("flot-axis 0.0.0: ") + 300
    assert found.message.endswith("…")
