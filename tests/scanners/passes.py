"""Passes of gitleaks, trivy and checkov: run for real, recorded, and read back.

`python -m scanners.passes` (in tests/) runs each pass on its sample and records anew, in
NAME/PASS/: report.json, log.txt and expected.json, to be checked by eye before it is committed.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pilotage import shelf
from pilotage.config import cache_folder
from pilotage.domain.call import silent
from pilotage.domain.scan import Scan, ScannerRun
from pilotage.scan.control import Controls, docker_archive
from pilotage.scan.environment import Environments
from pilotage.scan.history import bare_history
from pilotage.scan.orchestrate import ScanRequest, Scans
from pilotage.scan.run_pass import Ground, run_pass
from pilotage.scan.scanner import Parsed, Pass, Raw, Scanner
from pilotage.scan.stage import stage
from scanners import golden
from scanners.looking import plant

SHELF = shelf.parts("pilotage.scanners", Scanner)
HERE = Path(__file__).parent
ROOT = "/staged/project"  # trivy's paths begin with the name of the stage's folder
KEY = "AKIA" + "Q3EGRJZX6WVTNP2K"  # shaped like an AWS key, and nobody's
KEY_LINE = f"aws_key = {KEY}\n"

BUCKET = 'resource "aws_s3_bucket" "b" {\n  bucket = "planted"\n  acl    = "public-read"\n}\n'
POD = """apiVersion: v1
kind: Pod
metadata: {name: planted}
spec:
  hostNetwork: true
  containers:
    - {name: c, image: "nginx:1.27", securityContext: {privileged: true}}
"""
STACK = """AWSTemplateFormatVersion: '2010-09-09'
Resources:
  B:
    Type: AWS::S3::Bucket
    Properties: {AccessControl: PublicRead}
"""
INFRASTRUCTURE: Mapping[str, str | bytes] = {
    "main.tf": BUCKET,
    "variables.tf": 'variable "name" {\n  default = "x"\n}\n',
    "broken.tf": 'resource "aws_s3_bucket" {{{\n',
    "dev/main.tf": BUCKET,
    "k8s/pod.yaml": POD,
    "stack.yaml": STACK,
    "plain.yaml": "plain: yes\n",
}
DOCKERFILES: Mapping[str, str | bytes] = {
    "Dockerfile": "FROM ubuntu:latest\nRUN sudo ls\nUSER root\n",
    "dev/Dockerfile": "FROM alpine:3.19\nUSER root\n",
    "good.Dockerfile": "FROM alpine:3.19\nUSER app\nHEALTHCHECK CMD true\n",
    "Dockerfile.broken": "FROM\nNOTHING x\n",
}
SECRETS: Mapping[str, str | bytes] = {
    "settings.ini": "[a]\n" + KEY_LINE,
    "dev/settings.ini": KEY_LINE,
    "package-lock.json": json.dumps({"x": KEY}),
    "logo.svg": f"<svg><!-- {KEY} --></svg>",
    "tests/fixtures/README.md": KEY_LINE,
    "empty.txt": "",
    "app.py": "print('nothing here')\n",
    "report.txt": b"%PDF-1.4\n" + KEY_LINE.encode(),
    "packed.zip": KEY_LINE,
}
SAMPLES: Mapping[tuple[str, str], Mapping[str, str | bytes]] = {
    ("gitleaks", "tree"): SECRETS,
    ("gitleaks", "history"): SECRETS,
    ("trivy", "terraform"): INFRASTRUCTURE,
    ("trivy", "config"): INFRASTRUCTURE,
    ("trivy", "dockerfile"): DOCKERFILES,
    ("trivy", "secret"): SECRETS,
    ("trivy", "image"): {"app/settings.ini": KEY_LINE},
    ("checkov", "infrastructure"): {
        name: INFRASTRUCTURE[name]
        for name in ("main.tf", "variables.tf", "broken.tf", "plain.yaml", "stack.yaml")
    },
}


def the_pass(name: str, which: str) -> Pass:
    return next(each for each in SHELF[name].passes if each.name == which)


async def look(
    name: str,
    which: str,
    source: Path,
    *,
    image: Path | None = None,
    kept: list[Raw] | None = None,
) -> ScannerRun:
    """One pass over a stage of `source` (or its history, or an image), without the sandbox, so
    that what the flags and the stage do not stop shows."""
    scanner, each = SHELF[name], the_pass(name, which)

    def parse(raw: Raw) -> Parsed:
        if kept is not None:
            kept.append(raw)
        return each.parse(raw)

    installed = await Environments(cache_folder(os.environ)).ensure(scanner, silent)
    with tempfile.TemporaryDirectory() as folder:
        history = None
        if each.target == "history":
            history = (await bare_history(source, Path(folder))).path
        async with stage(source) as copy:
            ground = Ground(copy.path, copy.files, history, image=image, sandboxed=False)
            run = await run_pass(scanner, replace(each, parse=parse), installed, ground)
            return copy.restore(run)


async def scan(source: Path | None, *names: str, image: Path | None = None) -> Scan:
    """The whole engine with the scanners of these names, positive controls included."""
    cache = cache_folder(os.environ)
    scans = Scans(SHELF, Environments(cache), Controls(cache), sandbox=False)
    return await scans.scan(ScanRequest(source, image=image, scanners=names))


def recorded(name: str, which: str) -> Raw:
    folder = HERE / name / which
    report, log = (folder / "report.json").read_bytes(), (folder / "log.txt").read_bytes()
    told = json.loads((folder / "expected.json").read_bytes())
    file = the_pass(name, which).report
    reports = {file: report} if file else {}
    return Raw(told["exit"], b"" if file else report, log, reports, ROOT)


def expected(name: str, which: str) -> Any:
    return json.loads((HERE / name / which / "expected.json").read_bytes())


def parse(name: str, which: str, raw: Raw) -> Any:
    return golden.plain(raw, the_pass(name, which).parse(raw))


async def _record(name: str, which: str) -> None:
    kept: list[Raw] = []
    files = SAMPLES[name, which]
    with tempfile.TemporaryDirectory() as folder:
        source, image = Path(folder) / "source", None
        source.mkdir()
        if which == "image":
            image = Path(folder) / "image.tar"
            image.write_bytes(docker_archive({k: str(v) for k, v in files.items()}))
        else:
            plant(source, files)
        if which == "history":
            await committed(source)
        run = await look(name, which, source, image=image, kept=kept)
    if not kept:
        raise SystemExit(f"{name} {which}: {run.outcome} {run.why}")
    [raw] = kept
    about = HERE / name / which
    about.mkdir(exist_ok=True)
    report = next(iter(raw.reports.values()), raw.stdout)
    for file, data in (("report.json", report), ("log.txt", raw.stderr)):
        hidden = data.replace(KEY.encode(), b"AKIA" + b"*" * 16)
        (about / file).write_bytes(hidden.replace(raw.root.encode(), ROOT.encode()))
    (about / "expected.json").write_text(json.dumps({"exit": raw.exit}))
    seen = parse(name, which, recorded(name, which))
    text = json.dumps(seen, indent=1, ensure_ascii=False)
    (about / "expected.json").write_text(text + "\n")


async def committed(folder: Path) -> None:
    """Commit what is there, then remove the secrets again."""
    from pilotage.scan.git import git

    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    await git("init", "--quiet", "-b", "main", str(folder))
    await git("add", "--all", folder=folder, top=folder)
    await git(*who, "commit", "--quiet", "-m", "one", folder=folder, top=folder)
    await git("rm", "-q", "settings.ini", folder=folder, top=folder)
    await git(*who, "commit", "--quiet", "-m", "two", folder=folder, top=folder)


if __name__ == "__main__":
    for each in SAMPLES:
        asyncio.run(_record(*each))
