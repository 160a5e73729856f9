"""Images from a registry: a real client against a registry of our own on the loopback."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from pilotage import config, shelf
from pilotage.domain.errors import Unavailable
from pilotage.domain.finding import ScanType
from pilotage.scan.control import Controls, docker_archive
from pilotage.scan.environment import Environments
from pilotage.scan.orchestrate import ScanRequest, Scans
from pilotage.scan.registry import pull, reference
from pilotage.scan.scanner import Scanner

KEY = "aws_key = AKIA" + "Q3EGRJZX6WVTNP2K\n"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry:
    """Speaks the distribution protocol with a token; `blobs` by digest, `tags` by name."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.kinds: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.port = 0

    def keep(self, data: bytes, kind: str = "") -> dict[str, object]:
        self.blobs[digest(data)], self.kinds[digest(data)] = data, kind
        return {"digest": digest(data), "size": len(data), "mediaType": kind}

    def push(self, tag: str, files: dict[str, str]) -> None:
        """The image of a docker-archive, behind a list for two machines."""
        with tarfile.open(fileobj=io.BytesIO(docker_archive(files))) as archive:
            parts = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
        about = json.loads(parts["manifest.json"])[0]
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER,
            "config": self.keep(
                parts[about["Config"]], "application/vnd.docker.container.image.v1+json"
            ),
            "layers": [
                self.keep(parts["layer.tar"], "application/vnd.docker.image.rootfs.diff.tar")
            ],
        }
        here = self.keep(json.dumps(manifest).encode(), DOCKER)
        images = [
            {**here, "platform": {"os": "linux", "architecture": name}}
            for name in ("amd64", "arm64")
        ]
        listed = json.dumps({"schemaVersion": 2, "manifests": images}).encode()
        self.tags[tag] = str(self.keep(listed, LIST)["digest"])

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"token": f"t-{request.query['scope']}"})
        if request.headers.get("Authorization") != "Bearer t-repository:a/b:pull":
            realm = f"http://127.0.0.1:{self.port}/token"
            asks = f'Bearer realm="{realm}",service="s",scope="repository:a/b:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": asks})
        name = request.path.rsplit("/", 1)[-1]
        found = self.tags.get(name, name)
        if found not in self.blobs:
            return web.Response(status=404)
        kind = self.kinds[found] or "application/octet-stream"
        return web.Response(body=self.blobs[found], content_type=kind)


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry()
    app = web.Application()
    app.router.add_get("/{path:.*}", registry.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.port = runner.addresses[0][1]
    registry.push("1", {"app/settings.ini": KEY})
    yield registry
    await runner.cleanup()


async def test_an_image_is_fetched_and_scanned_where_the_network_is_allowed(
    registry: Registry,
) -> None:
    settings = config.read()
    trivy = shelf.parts("pilotage.scanners", Scanner)["trivy"]
    environments = Environments(settings.cache, settings.programs)
    scans = Scans({"trivy": trivy}, environments, Controls(settings.cache), network=True)
    scan = await scans.scan(
        ScanRequest(
            reference=f"127.0.0.1:{registry.port}/a/b:1",
            types=(ScanType.CONTAINER,),
            scanners=("trivy",),
        )
    )
    assert scan.runs[0].complete, scan.runs[0].why
    assert any(finding.rule == "aws-access-key-id" for finding in scan.findings)


async def test_what_is_not_what_its_digest_says_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    changed = next(d for d, kind in registry.kinds.items() if "rootfs" in kind)
    registry.blobs[changed] += b"\0"
    with pytest.raises(Unavailable, match="not what its digest says"):
        await pull(f"127.0.0.1:{registry.port}/a/b:1", tmp_path)
    assert not (tmp_path / "index.json").exists(), "half an image looks like an image"


async def test_an_image_that_is_not_there_is_unavailable(
    registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="404"):
        await pull(f"127.0.0.1:{registry.port}/a/b:2", tmp_path)
    with pytest.raises(Unavailable, match="could not be fetched"):
        await pull("127.0.0.1:9/a/b:2", tmp_path)


async def test_an_answer_that_is_no_manifest_is_unavailable(
    registry: Registry, tmp_path: Path
) -> None:
    for text in (b"", b"<html>", b"[]", b'{"manifests": 7}'):
        registry.tags["bad"] = str(registry.keep(text, LIST)["digest"])
        with pytest.raises(Unavailable, match="cannot be read"):
            await pull(f"127.0.0.1:{registry.port}/a/b:bad", tmp_path)


@pytest.mark.parametrize(
    ("text", "base", "name", "version"),
    [
        ("alpine", "https://registry-1.docker.io/v2", "library/alpine", "latest"),
        ("a/b:1.2", "https://registry-1.docker.io/v2", "a/b", "1.2"),
        ("ghcr.io/a/b", "https://ghcr.io/v2", "a/b", "latest"),
        ("localhost/x:y", "http://localhost/v2", "x", "y"),
        ("r.io:5000/x@sha256:" + "0" * 64, "https://r.io:5000/v2", "x", "sha256:" + "0" * 64),
    ],
)
def test_references_are_read_as_docker_reads_them(
    text: str, base: str, name: str, version: str
) -> None:
    read = reference(text)
    assert (read.base, read.name, read.version) == (base, name, version)


@pytest.mark.parametrize("text", ["", "UPPER", "a b", "a/../b", "x@sha256:1", "r.io/x?y", "x:"])
def test_what_names_no_image_is_refused(text: str) -> None:
    with pytest.raises(Unavailable, match="names no image"):
        reference(text)
