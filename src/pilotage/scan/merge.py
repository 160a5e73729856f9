"""Many scanners' findings as one list: what says the same is one finding that keeps every source,
each knows itself again in the next scan, and words in the source count as the policy says.

Findings on different lines are never one, and two equal lines stay two.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pilotage.domain.finding import Confidence, Finding, ScanType, Severity, Suppression
from pilotage.domain.scan import ScannerRun
from pilotage.scan.line_hash import line_hashes
from pilotage.scan.rules import Rules
from pilotage.scan.suppress import suppression_of
from pilotage.scan.weakness import family, weakness

Lines = Callable[[str], Sequence[str]]
"""The lines of a file by its reported path; empty where it cannot be read."""

_CONFIDENCE = tuple(Confidence)
_LONGEST_TO_HASH = 1 << 19
_LONGEST_CONTEXT = 4096
_MOST_TO_JOIN = 100
"""Groups on one line: where there are more, they stay apart, since each is compared with all."""


def merge(
    runs: Sequence[ScannerRun], rules: Rules, suppressions: Sequence[Suppression], lines: Lines
) -> tuple[Finding, ...]:
    """All findings of all runs (paths as reported), worst first, with fingerprint, GitHub's line
    hash, the other scanners that agree, and the suppression where the policy lets one count."""
    whole = list(dict.fromkeys(finding for run in runs for finding in run.findings))
    whole.sort(key=_preference)
    joined = [*_join_dependencies(whole), *_join_places(whole)]
    named = _fingerprinted(joined, lines)
    words: dict[str, list[Suppression]] = {}
    for each in suppressions:
        words.setdefault(each.path, []).append(each)
    marked = (
        replace(f, suppressed=suppression_of(f, words.get(f.location.path, ()), rules.in_source))
        for f in _line_hashed(named, lines)
    )
    return tuple(sorted(marked, key=_order))


def fingerprint(what: str, path: str, context: str, occurrence: int) -> str:
    """Version 1: a family of rules (or a vulnerability), a path, the line without its white space,
    and the how-manieth such line of the file it is. Survives lines inserted elsewhere, another
    indentation and other line ends."""
    parts = ("v1", what, path, context, str(occurrence))
    whole = "\0".join(part.encode("utf-8", "surrogatepass").hex() for part in parts)
    return "v1:" + hashlib.sha256(whole.encode()).hexdigest()[:32]


def _preference(finding: Finding) -> tuple[object, ...]:
    """The finding that speaks for its equals: a known severity before none, then the worst, then
    the surest, then what lies in the tree before what lies in history only."""
    return (
        finding.severity is Severity.UNKNOWN,
        finding.severity.rank,
        _CONFIDENCE.index(finding.confidence),
        finding.location.commit or "",
        finding.scanner,
        finding.rule,
        *_place(finding),
    )


def _order(finding: Finding) -> tuple[object, ...]:
    return (finding.severity.rank, *_place(finding), finding.scanner, finding.rule)


def _place(finding: Finding) -> tuple[str, int, int]:
    at = finding.location
    return at.path, at.line or 0, at.column or 0


def _join_dependencies(findings: Iterable[Finding]) -> list[Finding]:
    """One finding a package and vulnerability: ids that overlap, by whatever chain, are one."""
    packages: dict[tuple[str, ...], list[list[Finding]]] = {}
    for finding in findings:
        if not _of_package(finding):
            continue
        groups = packages.setdefault(_package(finding), [])
        ids = _ids(finding)
        touched = [g for g in groups if any(ids & _ids(other) for other in g)]
        groups[:] = [g for g in groups if g not in touched]
        groups.append([*(f for g in touched for f in g), finding])
    return [_joined(group) for groups in packages.values() for group in groups]


def _join_places(findings: Iterable[Finding]) -> list[Finding]:
    """One finding a line and weakness, at most one of each scanner in it."""
    places: dict[tuple[object, ...], list[list[Finding]]] = {}
    for finding in findings:
        if _of_package(finding):
            continue
        at = finding.location
        groups = places.setdefault((finding.type, at.path, at.line, at.inside), [])
        few = at.line is not None and len(groups) <= _MOST_TO_JOIN
        home = _home(finding, groups) if few else None
        if home is None:
            groups.append([finding])
        else:
            home.append(finding)
    return [_joined(group) for groups in places.values() for group in groups]


def _home(finding: Finding, groups: list[list[Finding]]) -> list[Finding] | None:
    """The group on the same line that says the same: the same rule before the same weakness."""
    source = _source(finding)
    free = [g for g in groups if source not in {_source(f) for f in g}]
    for says_the_same in (_same_rule, _same_weakness):
        for group in free:
            if says_the_same(group[0], finding):
                return group
    return None


def _same_rule(one: Finding, other: Finding) -> bool:
    return family(one) == family(other) and _commits_agree(one, other)


def _same_weakness(one: Finding, other: Finding) -> bool:
    if one.scanner == other.scanner or not _commits_agree(one, other):
        return False
    if one.type is ScanType.SECRET:
        return True
    return bool(weakness(one)) and weakness(one) == weakness(other)


def _commits_agree(one: Finding, other: Finding) -> bool:
    """A line of the tree and the same line in history are one; two commits are two."""
    commits = {one.location.commit, other.location.commit} - {None}
    return len(commits) < 2


def _source(finding: Finding) -> str:
    return f"{finding.scanner} (history)" if finding.location.commit else finding.scanner


def _joined(group: list[Finding]) -> Finding:
    """The best of the group speaks; the others are named, and add what they know."""
    first, *rest = sorted(group, key=_preference)
    if not rest:
        return first
    others = sorted({_source(f) for f in rest} - {_source(first)})
    package = first.package
    if package is not None:
        fixed = dict.fromkeys(v for f in (first, *rest) if f.package for v in f.package.fixed)
        package = replace(package, fixed=tuple(fixed))
    return replace(
        first,
        also=tuple(others),
        cwe=tuple(dict.fromkeys(c for f in (first, *rest) for c in f.cwe)),
        ids=tuple(dict.fromkeys(i for f in (first, *rest) for i in f.ids)),
        package=package,
    )


def _of_package(finding: Finding) -> bool:
    return finding.package is not None and bool(_ids(finding))


def _ids(finding: Finding) -> set[str]:
    return {each.upper() for each in (*finding.ids, finding.rule) if each}


def _package(finding: Finding) -> tuple[str, ...]:
    package = finding.package
    assert package is not None
    name = package.name.lower()
    if package.ecosystem.lower() == "pypi":
        name = re.sub(r"[-_.]+", "-", name)
    at = finding.location
    return finding.type, at.path, at.inside or "", package.ecosystem.lower(), name, package.version


def _fingerprinted(findings: Sequence[Finding], lines: Lines) -> list[Finding]:
    seen: Counter[tuple[str, str, str]] = Counter()
    contexts = _Contexts(lines)
    named = []
    for finding in sorted(findings, key=lambda f: (*_place(f), f.scanner, f.rule, f.message)):
        key = (_what(finding), finding.location.path, contexts.of(finding))
        named.append(replace(finding, fingerprint=fingerprint(*key, seen[key])))
        seen[key] += 1
    return named


def _what(finding: Finding) -> str:
    if _of_package(finding):
        ids = sorted(_ids(finding), key=lambda each: (not each.startswith("CVE-"), each))
        return "\0".join((*_package(finding)[3:5], ids[0]))
    return "secret" if finding.type is ScanType.SECRET else family(finding)


class _Contexts:
    """The lines that findings stand on, without white space. Findings come in the order of their
    places, so that the last file and the last line are all that has to be remembered."""

    def __init__(self, lines: Lines) -> None:
        self._read = lines
        self._path: str | None = None
        self._lines: Sequence[str] = ()
        self._line, self._text = 0, ""

    def of(self, finding: Finding) -> str:
        """Where the line cannot be read, its number and commit."""
        at = finding.location
        if _of_package(finding) or at.line is None:
            return ""
        if at.commit is None and at.inside is None:
            if at.path != self._path:
                self._path, self._lines, self._line = at.path, self._read(at.path), 0
            if 0 < at.line <= len(self._lines):
                return self._at(at.line)
        return f"{at.commit or ''}:{at.line}"

    def _at(self, line: int) -> str:
        if line != self._line:
            self._line, self._text = line, "".join(self._lines[line - 1].split())
            if len(self._text) > _LONGEST_CONTEXT:
                self._text = hashlib.sha256(self._text.encode("utf-8", "replace")).hexdigest()
        return self._text


def _line_hashed(findings: Iterable[Finding], lines: Lines) -> list[Finding]:
    hashes: dict[str, list[str]] = {}
    hashed = []
    for finding in findings:
        at = finding.location
        if at.line and at.commit is None and at.inside is None:
            if at.path not in hashes:
                text = "\n".join(lines(at.path))
                hashes[at.path] = line_hashes(text) if len(text) <= _LONGEST_TO_HASH else []
            if at.line <= len(hashes[at.path]):
                finding = replace(finding, line_hash=hashes[at.path][at.line - 1])
        hashed.append(finding)
    return hashed
