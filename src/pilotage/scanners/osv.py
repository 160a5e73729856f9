"""Our own matcher of lock files against a local folder of OSV advisories. https://osv.dev"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import msgspec

from pilotage.domain.errors import Unavailable
from pilotage.domain.finding import Confidence, Finding, Location, Package, ScanType, Severity
from pilotage.domain.scan import Coverage
from pilotage.domain.text import cut
from pilotage.scan.advisories import (
    Advisory,
    Affected,
    Export,
    NotComparable,
    fixes,
    folder,
    groups,
    hits,
    load,
)
from pilotage.scan.inventory import matching
from pilotage.scan.lockfiles import FAMILIES, NOT_READ, Locked, Pin, read_lock
from pilotage.scan.manifests import MANIFESTS, LockFolders, asks_for
from pilotage.scan.parse import WORDS, banded, cvss, cwes, decode, severity
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner

OLD_DAYS = 30
PLANTED = "pilotage-planted-weakness"
PLANTED_ADVISORY = msgspec.convert(
    {
        "id": "PILOTAGE-0",
        "modified": "2026-01-01T00:00:00Z",
        "summary": "planted for the positive control",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": PLANTED},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2"}]},
                ],
            }
        ],
    },
    Advisory,
)
"""The one advisory that is always known: the control shows that reading and matching work. It says
nothing of the data, which `Export` answers for."""


class _Source(msgspec.Struct):
    path: str = ""


class _Of(msgspec.Struct):
    name: str
    version: str = ""
    ecosystem: str = ""


class _Listed(msgspec.Struct):
    package: _Of
    vulnerabilities: list[Advisory] = []


class _Result(msgspec.Struct):
    source: _Source
    packages: list[_Listed]


class _Report(msgspec.Struct):
    results: list[_Result]


def parse(raw: Raw) -> Parsed:
    """A report of Google's osv-scanner, which tells advisories in the same form."""
    report = decode(raw.stdout, _Report, "an osv-scanner report")
    findings = []
    for result in report.results:
        path = raw.relative(result.source.path)
        for listed in result.packages:
            of = listed.package
            pin = Pin(of.ecosystem, of.name, of.version, path)
            findings += [_finding(pin, group) for group in groups(listed.vulnerabilities)]
    return Parsed(tuple(findings), frozenset(raw.relative(r.source.path) for r in report.results))


async def search(stage: Path, files: tuple[str, ...]) -> Parsed:
    """What the lock files pin, matched. Raises Unavailable where there is nothing to match with."""
    stop = Event()
    try:
        return await asyncio.to_thread(_search, stage, files, stop)
    finally:
        stop.set()  # nobody waits any more, and a thread cannot be killed


def _search(stage: Path, files: tuple[str, ...], stop: Event) -> Parsed:
    top = stage.resolve()

    def read(name: str) -> bytes | None:
        path = (top / name).resolve()
        return path.read_bytes() if path.is_relative_to(top) and path.is_file() else None

    locked = Locked()
    manifests = frozenset(matching(MANIFESTS, files))
    folders = LockFolders(files)
    for name in files:
        _go_on(stop)
        if name not in manifests:
            read_lock(name, read, locked)
        elif folders.near(name):
            locked.read.add(name)
        else:
            _unlocked(name, read(name) or b"", locked)
    pins = sorted(set(locked.pins), key=lambda p: (p.path, p.line or 0, p.name, p.version))
    exports = _exports(pins, locked)
    known: dict[tuple[str, str], list[Advisory]] = {}
    findings = []
    for pin in pins:
        _go_on(stop)
        package = (pin.ecosystem, pin.name)
        if package not in known:
            known[package] = list(_known(pin, exports))
        findings += _match(pin, known[package], locked)
    return Parsed(
        tuple(findings),
        frozenset(locked.read),
        tuple(dict.fromkeys(locked.unread)),
        "; ".join(f"{e.ecosystem} {e.date[:10]} sha256:{e.digest}" for e in exports.values()),
        "; ".join(filter(None, map(_age, exports.values()))),
    )


def _unlocked(manifest: str, data: bytes, locked: Locked) -> None:
    """A manifest that no lock file answers for: well only where it asks for nothing."""
    try:
        locked.take(manifest, data)
        wanted = asks_for(manifest, data)
    except ValueError as error:
        return locked.skip(manifest, str(error))
    if wanted:
        return locked.skip(manifest, f"no lock file says in which version it gets {wanted}")
    return locked.read.add(manifest)


def _exports(pins: Iterable[Pin], locked: Locked) -> dict[str, Export]:
    """The exports that the pins need. One that is missing leaves its lock files unread; where all
    are missing nothing was looked at."""
    exports: dict[str, Export] = {}
    gone: list[Unavailable] = []
    needed = {pin.ecosystem for pin in pins if pin.name != PLANTED}
    for ecosystem in sorted(needed):
        try:
            exports[ecosystem] = load(ecosystem, folder())
        except Unavailable as error:
            gone.append(error)
            for path in sorted({pin.path for pin in pins if pin.ecosystem == ecosystem}):
                locked.skip(path, str(error))
        else:
            if broken := exports[ecosystem].index.broken:
                locked.skip(f"{ecosystem}/all.zip", f"{broken} advisories could not be read")
    if gone and not exports:
        raise gone[0]
    return exports


def _go_on(stop: Event) -> None:
    if stop.is_set():
        raise Unavailable("the search was stopped")


def _known(pin: Pin, exports: dict[str, Export]) -> Iterable[Advisory]:
    if pin.name == PLANTED:
        return (PLANTED_ADVISORY,)
    export = exports.get(pin.ecosystem)
    return export.about(pin.name) if export else ()


def _match(pin: Pin, known: Iterable[Advisory], locked: Locked) -> list[Finding]:
    hit: dict[str, list[Affected]] = {}
    found = []
    for advisory in known:
        try:
            parts = hits(advisory, pin.ecosystem, pin.name, pin.version)
        except NotComparable as error:
            why = f"{pin.name} {pin.version} cannot be compared with {advisory.id}: {error}"
            locked.skip(pin.path, why)
            continue
        if parts:
            hit[advisory.id] = parts
            found.append(advisory)
    return [_finding(pin, group, hit) for group in groups(found)]


def _finding(
    pin: Pin, group: list[Advisory], hit: dict[str, list[Affected]] | None = None
) -> Finding:
    first = min(group, key=lambda one: (not one.id.startswith("GHSA"), one.id))
    parts = [
        part for one in group for part in (one.affected if hit is None else hit.get(one.id, []))
    ]
    ours, native, source = _severity(group, parts)
    said = next((one.summary for one in (first, *group) if one.summary), "")
    said = said or next((one.details.strip().split("\n")[0] for one in group if one.details), "")
    told: list[Advisory | Affected] = [*group, *parts]
    tags = [one.database_specific or {} for one in told]
    mends = {v: None for part in parts for v in _fixes(part, pin)}
    return Finding(
        scanner="osv",
        rule=first.id,
        type=ScanType.DEPENDENCY,
        severity=ours,
        message=f"{pin.name} {pin.version}: {cut(said, 300) or first.id}",
        location=Location(pin.path, pin.line),
        confidence=Confidence.HIGH,
        native_severity=native,
        severity_from=source,
        title=cut(said, 120),
        url=f"https://osv.dev/vulnerability/{first.id}",
        cwe=cwes(str(tag.get(key, "")) for tag in tags for key in ("cwe_ids", "cwes")),
        ids=tuple(sorted({name for one in group for name in (one.id, *one.aliases)})),
        package=Package(pin.ecosystem, pin.name, pin.version, tuple(mends)),
    )


def _fixes(part: Affected, pin: Pin) -> tuple[str, ...]:
    try:
        return fixes(part, pin.ecosystem, pin.version)
    except (NotComparable, KeyError):
        return ()


def _severity(group: list[Advisory], parts: list[Affected]) -> tuple[Severity, str, str]:
    """The worst CVSS vector, else the database's own word, else unknown: never guessed."""
    told: list[Advisory | Affected] = [*group, *parts]
    vectors = {score.score for one in told for score in one.severity}
    scored = [(known[0], vector, known[1]) for vector in vectors if (known := cvss(vector))]
    if scored:
        score, vector, version = max(scored)
        return banded(score), vector, f"CVSS {version} base score {score}"
    for one in group:
        if word := str((one.database_specific or {}).get("severity") or ""):
            return severity(word, WORDS, one.id)[0], word, f"{one.id}: {word}"
    if any(one.id.startswith("MAL-") for one in group):
        return Severity.CRITICAL, "", "the package itself is malicious"
    return Severity.UNKNOWN, "", f"{group[0].id} gives no severity"


def _age(export: Export) -> str:
    try:
        newest = datetime.fromisoformat(export.date)
        days = (datetime.now(UTC) - newest.astimezone(UTC)).days
    except ValueError:
        return f"the advisories of {export.ecosystem} have no date"
    if days <= OLD_DAYS:
        return ""
    return f"the advisories of {export.ecosystem} end on {export.date[:10]}, {days} days ago"


OSV = Scanner(
    "osv",
    "known vulnerabilities of what lock files pin",
    "https://osv.dev",
    (
        Pass(
            "lock-files",
            ScanType.DEPENDENCY,
            reads=(*FAMILIES, *NOT_READ, *MANIFESTS),
            search=search,
            parse=parse,
            coverage=Coverage.LISTED,
            control=Control({"requirements.txt": f"{PLANTED}==1\n"}, "PILOTAGE-0"),
        ),
    ),
    Install("none"),
)
