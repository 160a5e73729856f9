"""What the parsers of gitleaks, trivy and checkov owe, pass by pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pilotage.scan.scanner import Raw, Unusable
from scanners import golden, passes
from scanners.passes import SAMPLES

each = pytest.mark.parametrize(("name", "which"), list(SAMPLES))


def with_report(raw: Raw, report: bytes) -> Raw:
    if raw.reports:
        return replace(raw, reports=dict.fromkeys(raw.reports, report))
    return replace(raw, stdout=report)


def report_of(raw: Raw) -> bytes:
    return next(iter(raw.reports.values()), raw.stdout)


@each
def test_a_recorded_report_is_read_as_expected(name: str, which: str) -> None:
    seen = passes.parse(name, which, passes.recorded(name, which))
    assert seen["findings"]
    assert seen == passes.expected(name, which)


@each
def test_no_finding_quotes_a_secret(name: str, which: str) -> None:
    assert passes.KEY not in str(passes.expected(name, which))
    raw = passes.recorded(name, which)
    for field in (b'"Match": "', b'"Secret": "', b'"Content": "'):
        told = report_of(raw).replace(field, field + b"TOP-SECRET ")
        seen = passes.parse(name, which, with_report(raw, told))
        assert "TOP-SECRET" not in str(seen)


@each
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.7, 0.99])
def test_half_a_report_is_no_report(name: str, which: str, cut: float) -> None:
    raw = passes.recorded(name, which)
    whole = report_of(raw).strip()
    with pytest.raises(Unusable):
        passes.parse(name, which, with_report(raw, whole[: int(len(whole) * cut)]))


@each
@pytest.mark.parametrize(
    "text",
    [
        " \n",
        "0",
        '"done"',
        "{}",
        '{"error": "rate limited"}',
        '{"message": "no", "code": 1}',
        "[{}]",
        "[null]",
        "[1]",
        '[{"error": "x"}]',
        '{"SchemaVersion": 2, "Results": 3}',
        '{"SchemaVersion": 2, "Metadata": 3}',
        '{"ClusterName": "x", "Resources": [1]}',
        '{"results": {"failed_checks": [{"check_id": "x"}]}}',
        "<html>502 Bad Gateway</html>",
        "[" * 100_000,
    ],
)
def test_what_is_no_report_is_refused(name: str, which: str, text: str) -> None:
    raw = passes.recorded(name, which)
    with pytest.raises(Unusable):
        passes.parse(name, which, with_report(raw, text.encode()))


@each
@pytest.mark.parametrize(("other", "its"), list(SAMPLES))
def test_another_tools_report_is_refused(name: str, which: str, other: str, its: str) -> None:
    if name == other:
        return
    raw = with_report(passes.recorded(name, which), report_of(passes.recorded(other, its)))
    with pytest.raises(Unusable):
        passes.parse(name, which, raw)


@each
def test_an_empty_list_is_no_evidence_of_a_look(name: str, which: str) -> None:
    raw = replace(with_report(passes.recorded(name, which), b"[]"), stderr=b"")
    try:
        seen = passes.the_pass(name, which).parse(raw)
    except Unusable:
        return
    assert not seen.read


@each
def test_broken_characters_in_a_report_are_mended_not_fatal(name: str, which: str) -> None:
    raw = passes.recorded(name, which)
    broken = report_of(raw).replace(b"{", b'{"\\udcff\xff": 1, ', 1)
    assert passes.parse(name, which, with_report(raw, broken)) == passes.expected(name, which)


def test_evidence_names_what_was_read_and_what_was_not() -> None:
    tree = passes.expected("gitleaks", "tree")
    named = {*tree["read"], *(path for path, _ in tree["unread"])}
    assert named == set(passes.SECRETS)
    terraform = passes.expected("trivy", "terraform")
    named = {*terraform["read"], *(path for path, _ in terraform["unread"])}
    assert named == {name for name in passes.INFRASTRUCTURE if name.endswith(".tf")}
    docker = passes.expected("trivy", "dockerfile")
    assert {*docker["read"], *(path for path, _ in docker["unread"])} == set(passes.DOCKERFILES)


def test_golden_files_are_those_of_the_samples() -> None:
    for name, which in SAMPLES:
        kinds = {path.name for path in (passes.HERE / name / which).iterdir()}
        assert kinds == {"report.json", "log.txt", "expected.json"}
    assert golden.ROOT != passes.ROOT
