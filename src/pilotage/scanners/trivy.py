"""Trivy: infrastructure, Dockerfiles, secrets and container images. https://trivy.dev"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec
from msgspec import field

from pilotage.domain.finding import Finding, Location, Package, ScanType
from pilotage.domain.scan import Coverage, Unread
from pilotage.scan.parse import WORDS, cwes, decode, severity
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner, Unusable

FAILED = re.compile(r'\tERROR\t.*?\sfile_path="((?:[^"\\]|\\.)*)"')
PARSED = re.compile(r'\[terraform parser\] Added file\t.*?file_path="((?:[^"\\]|\\.)*)"')
SEARCHED = re.compile(r'\[secret\] Using streaming scanner\tfile_path="((?:[^"\\]|\\.)*)"')

IMAGE = "container_image"
ECOSYSTEMS = {
    "pip": "PyPI", "pipenv": "PyPI", "poetry": "PyPI", "uv": "PyPI", "python-pkg": "PyPI",
    "npm": "npm", "yarn": "npm", "pnpm": "npm", "node-pkg": "npm", "gomod": "Go", "gobinary": "Go",
    "cargo": "crates.io", "rustbinary": "crates.io", "jar": "Maven", "pom": "Maven",
    "gradle": "Maven", "bundler": "RubyGems", "gemspec": "RubyGems", "composer": "Packagist",
    "nuget": "NuGet", "dotnet-core": "NuGet",
}  # fmt: skip
"""Trivy's kinds of lock file, as OSV spells their ecosystem; a distribution keeps its own name."""

SECRET_RULES = """disable-allow-rules: [tests, examples, vendor, usr-dirs, locale-dir, markdown, \
node.js, golang, python, rubygems, wordpress, anaconda-log]
"""
"""A real key is one wherever it lies: no folder's or file's name lets it pass."""


class _Layer(msgspec.Struct):
    diff: str = field(name="DiffID", default="")
    digest: str = field(name="Digest", default="")


class _Vulnerability(msgspec.Struct):
    id: str = field(name="VulnerabilityID", default="")
    package: str = field(name="PkgName", default="")
    path: str = field(name="PkgPath", default="")
    version: str = field(name="InstalledVersion", default="")
    fixed: str = field(name="FixedVersion", default="")
    severity: str = field(name="Severity", default="")
    title: str = field(name="Title", default="")
    text: str = field(name="Description", default="")
    url: str = field(name="PrimaryURL", default="")
    cwe: list[str] | None = field(name="CweIDs", default=None)
    layer: _Layer | None = field(name="Layer", default=None)


class _Cause(msgspec.Struct):
    line: int = field(name="StartLine", default=0)
    end_line: int = field(name="EndLine", default=0)
    resource: str = field(name="Resource", default="")


class _Misconfiguration(msgspec.Struct):
    id: str = field(name="ID")
    number: str = field(name="AVDID", default="")
    title: str = field(name="Title", default="")
    message: str = field(name="Message", default="")
    severity: str = field(name="Severity", default="")
    url: str = field(name="PrimaryURL", default="")
    status: str = field(name="Status", default="FAIL")
    cause: _Cause | None = field(name="CauseMetadata", default=None)
    layer: _Layer | None = field(name="Layer", default=None)


class _Secret(msgspec.Struct):
    """`Match` and `Code` are left out: they show the lines around, which may hold other secrets."""

    rule: str = field(name="RuleID")
    severity: str = field(name="Severity", default="")
    title: str = field(name="Title", default="")
    line: int = field(name="StartLine", default=0)
    end_line: int = field(name="EndLine", default=0)
    layer: _Layer | None = field(name="Layer", default=None)


class _License(msgspec.Struct):
    name: str = field(name="Name")
    severity: str = field(name="Severity", default="")
    category: str = field(name="Category", default="")
    package: str = field(name="PkgName", default="")
    path: str = field(name="FilePath", default="")


class _Result(msgspec.Struct):
    target: str = field(name="Target")
    kind: str = field(name="Type", default="")
    vulnerabilities: list[_Vulnerability] | None = field(name="Vulnerabilities", default=None)
    misconfigurations: list[_Misconfiguration] | None = field(
        name="Misconfigurations", default=None
    )
    secrets: list[_Secret] | None = field(name="Secrets", default=None)
    licenses: list[_License] | None = field(name="Licenses", default=None)


class _Resource(msgspec.Struct):
    results: list[_Result] | None = field(name="Results", default=None)


class _Metadata(msgspec.Struct):
    layers: list[str] | None = field(name="DiffIDs", default=None)


class _Document(msgspec.Struct):
    """Schema 2 has a number, a cluster has a name; `resources` and the two after it are its."""

    schema: int | None = field(name="SchemaVersion", default=None)
    cluster: str | None = field(name="ClusterName", default=None)
    kind: str = field(name="ArtifactType", default="")
    name: str = field(name="ArtifactName", default="")
    metadata: _Metadata | None = field(name="Metadata", default=None)
    results: list[_Result] | None = field(name="Results", default=None)
    resources: list[_Resource] | None = field(name="Resources", default=None)
    vulnerabilities: list[_Resource] | None = field(name="Vulnerabilities", default=None)
    misconfigurations: list[_Resource] | None = field(name="Misconfigurations", default=None)


_Documents: Any = _Document | list[_Result]


class _Report(msgspec.Struct):
    kind: str
    name: str
    results: Sequence[_Result]
    layers: int = 0


def parse(raw: Raw) -> Parsed:
    """A report of any of trivy's shapes since 2019; `read` are the files it names."""
    report = _report(raw.stdout)
    place = _Place(raw)
    log = raw.stderr.decode("utf-8", "replace")
    unread = dict.fromkeys(place.of(name) for name in _names(FAILED, log))
    return Parsed(
        tuple(_findings(report, place)),
        read=frozenset({place.of(result.target) for result in report.results} - unread.keys()),
        unread=(
            *(Unread(path, "trivy could not parse it") for path in unread),
            *_nameless(report, place),
        ),
    )


def parse_terraform(raw: Raw) -> Parsed:
    """As `parse`; results do not name a file without findings, but the debug log does."""
    parsed, place = parse(raw), _Place(raw)
    log = raw.stderr.decode("utf-8", "replace")
    return Parsed(
        parsed.findings, frozenset(place.of(name) for name in _names(PARSED, log)), parsed.unread
    )


def parse_config(raw: Raw) -> Parsed:
    """As `parse`, which is no evidence of all that was read: a YAML or JSON file that trivy does
    not take for infrastructure and one that is broken look the same in its report."""
    return parse(raw)


def parse_secrets(raw: Raw) -> Parsed:
    """As `parse`, with the number of files that the debug log says were searched. Trivy leaves out
    by itself what is smaller than 10 bytes, binary, a lock file or an image."""
    parsed = parse(raw)
    log = raw.stderr.decode("utf-8", "replace")
    return Parsed(parsed.findings, len(set(_names(SEARCHED, log))), parsed.unread)


def parse_image(raw: Raw) -> Parsed:
    """What an image holds, in all its layers, those covered by later ones too; `read` counts
    layers, and an image without one is none."""
    report = _report(raw.stdout)
    if not report.layers:
        raise Unusable("trivy looked at no layer of an image")
    name = PurePosixPath(report.name).name
    for result in report.results:  # the image's own configuration has the archive's path
        result.target = result.target.replace(report.name, name, 1) if name else result.target
    return Parsed(tuple(_findings(report, _Place(Raw(0, b"", b"")))), report.layers)


def _names(pattern: re.Pattern[str], log: str) -> Iterator[str]:
    return (re.sub(r"\\(.)", r"\1", name) for name in pattern.findall(log))


class _Place:
    """Trivy is pointed at the stage's parent (it leaves out `dev`, `sys` and `proc` at the top of
    what it is given), so its paths begin with the stage folder's own name."""

    def __init__(self, raw: Raw) -> None:
        self._raw, self._stage = raw, PurePosixPath(raw.root).name

    def of(self, target: str) -> str:
        path = self._raw.relative(target).lstrip("/")
        return path.removeprefix(f"{self._stage}/") if self._stage else path


def _report(data: bytes) -> _Report:
    """One of: schema 2, a list of results (before 0.20), a cluster's resources."""
    document: _Document | list[_Result] = decode(data, _Documents, "a trivy report")
    if isinstance(document, list):
        if not document:
            raise Unusable("this is not a trivy report: it names nothing that was scanned")
        return _Report(IMAGE, "", document)
    if document.schema is not None:
        layers = (document.metadata and document.metadata.layers) or ()
        return _Report(document.kind, document.name, document.results or (), len(layers))
    if document.cluster is None:
        raise Unusable("this is not a trivy report: it has no SchemaVersion and no ClusterName")
    lists = (document.resources, document.vulnerabilities, document.misconfigurations)
    found = [result for some in lists for one in some or () for result in one.results or ()]
    return _Report("", document.cluster, found)


def _findings(report: _Report, place: _Place) -> Iterator[Finding]:
    packaged = ScanType.CONTAINER if report.kind == IMAGE else ScanType.DEPENDENCY
    for result in report.results:
        path = place.of(result.target)
        for vulnerability in result.vulnerabilities or ():
            if vulnerability.id:  # trivy has written rows without one: see `_nameless`
                yield _vulnerable(vulnerability, path, result.kind, packaged)
        for wrong in result.misconfigurations or ():
            if wrong.status != "PASS":
                yield _misconfigured(wrong, path, result.kind)
        for secret in result.secrets or ():
            yield _leaked(secret, path)
        for license in result.licenses or ():
            yield _licensed(license, path, packaged)


def _nameless(report: _Report, place: _Place) -> Iterator[Unread]:
    for result in report.results:
        if any(not one.id for one in result.vulnerabilities or ()):
            yield Unread(place.of(result.target), "trivy tells of a vulnerability without its id")


def _vulnerable(one: _Vulnerability, path: str, kind: str, type: ScanType) -> Finding:
    ours, source = severity(one.severity, WORDS, "trivy")
    name = f"{one.package} {one.version}".strip()
    return Finding(
        "trivy", one.id, type, ours,
        f"{name}: {one.title or one.text[:300] or one.id}",
        Location(one.path or path, inside=_layer(one.layer)),
        native_severity=one.severity, severity_from=source, title=one.title, url=one.url,
        cwe=cwes(one.cwe or ()), ids=(one.id,),
        package=Package(
            ECOSYSTEMS.get(kind, kind), one.package, one.version,
            tuple(filter(None, (version.strip() for version in one.fixed.split(",")))),
        ),
    )  # fmt: skip


def _misconfigured(one: _Misconfiguration, path: str, kind: str) -> Finding:
    ours, source = severity(one.severity, WORDS, "trivy")
    cause = one.cause or _Cause()
    docker = kind == "dockerfile" or "-DS-" in f"-{one.id}" or one.id.startswith("DS")
    where = f" ({cause.resource})" if cause.resource and "/" not in cause.resource else ""
    return Finding(
        "trivy", one.number or one.id, ScanType.CONTAINER if docker else ScanType.INFRASTRUCTURE,
        ours, f"{one.message or one.title}{where}",
        Location(path, cause.line or None, end_line=cause.end_line or None,
                 inside=_layer(one.layer)),
        native_severity=one.severity, severity_from=source, title=one.title, url=one.url,
    )  # fmt: skip


def _leaked(one: _Secret, path: str) -> Finding:
    ours, source = severity(one.severity, WORDS, "trivy")
    return Finding(
        "trivy", one.rule, ScanType.SECRET, ours, f"{one.title or one.rule} is written here",
        Location(path, one.line or None, end_line=one.end_line or None, inside=_layer(one.layer)),
        native_severity=one.severity, severity_from=source, title=one.title, cwe=(798,),
    )  # fmt: skip


def _licensed(one: _License, path: str, type: ScanType) -> Finding:
    ours, source = severity(one.severity, WORDS, "trivy")
    return Finding(
        "trivy", f"license-{one.name}", type, ours,
        f"{one.package or one.path or path} is under {one.name} ({one.category or 'unknown'})",
        Location(one.path.lstrip("/") or path),
        native_severity=one.severity, severity_from=source,
        package=Package("", one.package, "") if one.package else None,
    )  # fmt: skip


def _layer(layer: _Layer | None) -> str | None:
    return (layer.diff or layer.digest or None) if layer else None


OFFLINE = (
    *("--skip-version-check", "--disable-telemetry", "--config=", "--ignorefile=", "--format=json"),
    *("--exit-code=10", "--timeout=60m", "--cache-dir={cache}"),
)


def _config(kinds: Iterable[str], *flags: str) -> tuple[str, ...]:
    chosen = f"--misconfig-scanners={','.join(kinds)}"
    return ("{program}", "config", chosen, "--skip-check-update", *OFFLINE, *flags, "{stage}/..")


BUCKET = 'resource "aws_s3_bucket" "b" {\n  bucket = "planted"\n  acl    = "public-read"\n}\n'
POD = """apiVersion: v1
kind: Pod
metadata: {name: planted}
spec:
  containers:
    - {name: c, image: nginx, securityContext: {privileged: true}}
"""
KEY: Mapping[str, str] = {"settings.ini": "aws_key = AKIA" + "Q3EGRJZX6WVTNP2K\n"}
RAN = (0, 10)  # 10: it ran, and found something (its own code for that is 0)

TRIVY = Scanner(
    "trivy",
    "infrastructure, Dockerfiles, secrets and container images",
    "https://trivy.dev",
    (
        Pass(
            "terraform", ScanType.INFRASTRUCTURE, ("*.tf", "*.tf.json"), parse_terraform,
            Control({"main.tf": BUCKET}, "AWS-0092"), Coverage.LISTED,
            _config(("terraform",), "--debug"), RAN, cost=2.5,
        ),
        Pass(
            "config", ScanType.INFRASTRUCTURE, ("*.yaml", "*.yml", "*.json", "*.template"),
            parse_config, Control({"pod.yaml": POD}, "KSV-0017"), Coverage.NONE,
            _config(("kubernetes", "helm", "cloudformation", "azure-arm", "ansible")), RAN,
            cost=2.5,
        ),
        Pass(
            "dockerfile", ScanType.CONTAINER,
            ("Dockerfile", "Dockerfile.*", "*.Dockerfile", "*.dockerfile", "Containerfile",
             "Containerfile.*", "*.Containerfile"),
            parse, Control({"Dockerfile": "FROM alpine:3.19\nUSER root\n"}, "DS-0002"),
            Coverage.LISTED, _config(("dockerfile",)), RAN, cost=2.5,
        ),
        Pass(
            "secret", ScanType.SECRET, ("*",), parse_secrets,
            Control(KEY, "aws-access-key-id"), Coverage.COUNTED,
            ("{program}", "filesystem", "--scanners=secret", "--debug",
             "--secret-config={config}/secrets.yaml", *OFFLINE, "{stage}/.."), RAN,
            config={"secrets.yaml": SECRET_RULES}, private=True,
        ),
        Pass(
            "image", ScanType.CONTAINER, (), parse_image,
            Control(KEY, "aws-access-key-id", image=True), Coverage.COUNTED,
            ("{program}", "image", "--input={image}", "--scanners=secret,misconfig",
             "--image-config-scanners=misconfig,secret", "--skip-check-update", "--offline-scan",
             "--cache-backend=memory", "--secret-config={config}/secrets.yaml", *OFFLINE), RAN,
            target="image", config={"secrets.yaml": SECRET_RULES}, private=True, cost=5.0,
        ),
    ),
    Install("pip", "trivy.txt", "bin/trivy"),
)  # fmt: skip
