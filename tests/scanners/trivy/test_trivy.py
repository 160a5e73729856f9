"""Trivy: images for real, and reports of other shapes than our own runs give."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pilotage.domain.call import Outcome
from pilotage.domain.finding import ScanType, Severity
from pilotage.scan.scanner import Raw
from pilotage.scanners.trivy import parse
from scanners import passes
from scanners.looking import plant
from scanners.passes import KEY, KEY_LINE


def tar(files: Mapping[str, bytes]) -> bytes:
    """The same bytes every time: no clock, no owner."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def image(layers: Sequence[Mapping[str, bytes]], env: Sequence[str] = ()) -> bytes:
    """A docker-archive of these layers."""
    blobs = [tar(layer) for layer in layers]
    ids = [hashlib.sha256(blob).hexdigest() for blob in blobs]
    about = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": [*env]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in ids]},
            "history": [{"created_by": "COPY . /app"} for _ in ids],
        }
    ).encode()
    files = {f"{each}/layer.tar": blob for each, blob in zip(ids, blobs, strict=True)}
    entry = {"Config": "about.json", "RepoTags": ["demo:1"], "Layers": [*files]}
    return tar({"about.json": about, **files, "manifest.json": json.dumps([entry]).encode()})


async def test_a_secret_that_a_later_layer_deletes_is_found(tmp_path: Path) -> None:
    layers = [
        {"etc/alpine-release": b"3.19\n"},
        {"app/.env": KEY_LINE.encode()},
        {"app/.wh..env": b""},
    ]
    path = tmp_path / "image.tar"
    path.write_bytes(image(layers, [f"TOKEN={KEY}"]))
    scan = await passes.scan(None, "trivy", image=path)
    [run] = [run for run in scan.runs if run.pass_name == "image"]
    assert run.outcome is Outcome.SUCCEEDED, run.why
    assert run.read == 3
    told = {(f.rule, f.location.path): f.location.inside for f in run.findings}
    layer = "sha256:" + hashlib.sha256(tar(layers[1])).hexdigest()
    assert told["aws-access-key-id", "app/.env"] == layer
    assert ("aws-access-key-id", "image.tar") in told  # the image's own configuration
    assert KEY not in str(run)


async def test_an_image_without_a_secret_is_clean(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(image([{"app/main.py": b"print('hello')\n"}]))
    run = await passes.look("trivy", "image", plant(tmp_path / "s", {"a": ""}), image=path)
    assert (run.outcome, run.findings, run.read) == (Outcome.SUCCEEDED, (), 1)


async def test_what_is_no_image_is_not_clean(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    for content in (b"", b"no tar", image([{"a": b"b"}])[:2000]):
        path.write_bytes(content)
        run = await passes.look("trivy", "image", plant(tmp_path / "s", {"a": ""}), image=path)
        assert run.outcome is Outcome.FAILED


VULNERABILITY = {
    "VulnerabilityID": "CVE-2019-10906",
    "PkgName": "Jinja2",
    "InstalledVersion": "2.4.1",
    "FixedVersion": "2.10.1, 2.11",
    "Severity": "HIGH",
    "CweIDs": ["CWE-693"],
}


def findings(document: Any) -> Any:
    return parse(Raw(0, json.dumps(document).encode(), b"")).findings


def test_a_vulnerability_names_its_package_and_what_mends_it() -> None:
    result = {"Target": "requirements.txt", "Type": "pip", "Vulnerabilities": [VULNERABILITY]}
    head = {"SchemaVersion": 2, "ArtifactName": "x", "ArtifactType": "filesystem"}
    [finding] = findings({**head, "Results": [result]})
    assert (finding.type, finding.severity) == (ScanType.DEPENDENCY, Severity.HIGH)
    assert (finding.ids, finding.cwe) == (("CVE-2019-10906",), (693,))
    assert finding.package.ecosystem == "PyPI"
    assert finding.package.fixed == ("2.10.1", "2.11")


def test_the_shapes_of_older_versions_are_read() -> None:
    result = {"Target": "alpine (3.11)", "Type": "alpine", "Vulnerabilities": [VULNERABILITY]}
    assert [f.type for f in findings([result])] == [ScanType.CONTAINER]
    assert findings([{"Target": "alpine (3.11)", "Vulnerabilities": None}]) == ()
    resource = {"Kind": "Deployment", "Results": [result]}
    for key in ("Resources", "Vulnerabilities", "Misconfigurations"):
        assert len(findings({"ClusterName": "c", key: [resource]})) == 1


def test_an_unknown_severity_stays_unknown_and_what_passed_is_no_finding() -> None:
    rows = [{"ID": "DS-0001", "Severity": word} for word in ("UNKNOWN", "", "NEW")]
    rows.append({"ID": "DS-0002", "Severity": "HIGH", "Status": "PASS"})
    document = {
        "SchemaVersion": 2,
        "Results": [{"Target": "Dockerfile", "Type": "dockerfile", "Misconfigurations": rows}],
    }
    assert [f.severity for f in findings(document)] == [Severity.UNKNOWN] * 3


def test_licences_are_findings_of_their_package() -> None:
    row = {"Severity": "HIGH", "Category": "restricted", "PkgName": "busybox", "Name": "GPL-2.0"}
    [finding] = findings(
        {"SchemaVersion": 2, "Results": [{"Target": "OS Packages", "Licenses": [row]}]}
    )
    assert (finding.rule, finding.package.name) == ("license-GPL-2.0", "busybox")


def test_a_row_without_an_id_is_unread_and_the_others_are_kept() -> None:
    rows = [{"PkgName": "simplito/elliptic-php"}, VULNERABILITY]
    document = [{"Target": "composer.lock", "Type": "composer", "Vulnerabilities": rows}]
    parsed = parse(Raw(0, json.dumps(document).encode(), b""))
    assert [finding.rule for finding in parsed.findings] == ["CVE-2019-10906"]
    assert [item.path for item in parsed.unread] == ["composer.lock"]
