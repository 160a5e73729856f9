"""Fetch an image from its registry as an OCI layout, where a scan may use the network.

Every blob is checked against its digest. Anonymous access only, by a token where the registry asks
for one. Source: the OCI distribution specification 1.1, and Docker's token authentication.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotage.domain.errors import Unavailable
from pilotage.domain.text import visible
from pilotage.scan.image import LARGEST, Image

if TYPE_CHECKING:
    import aiohttp

SECONDS = 600.0
MANIFEST = 4 << 20
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>{_PART}(?:/{_PART})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>\S+))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an image is: the registry's base URL, the repository, and a tag or a digest."""

    base: str
    name: str
    version: str


def reference(text: str) -> Reference:
    """`alpine`, `ghcr.io/a/b:1` and `localhost:5000/x@sha256:...` as Docker reads them.

    Raises Unavailable for text that names no image.
    """
    host, slash, rest = text.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = "registry-1.docker.io", text if slash else f"library/{text}"
    match = _REFERENCE.fullmatch(rest)
    digest = match["digest"] if match else None
    if match is None or (digest and not _DIGEST.fullmatch(digest)):
        raise Unavailable(f"{visible(text)} names no image", "write registry/name:tag")
    local = host.partition(":")[0] in ("localhost", "127.0.0.1")
    scheme = "http" if local else "https"
    return Reference(f"{scheme}://{host}/v2", match["name"], digest or match["tag"] or "latest")


async def pull(text: str, into: Path) -> Image:
    """The image for this machine, as an OCI layout in `into`. Raises Unavailable with the why."""
    import aiohttp  # nothing else of a scan needs it

    asked = reference(text)
    limit = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=limit, trust_env=True) as session:
            return await _Registry(session, asked, into).fetch()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _refused(text, visible(str(error)) or type(error).__name__) from None
    except (KeyError, TypeError, ValueError) as error:
        raise _refused(text, f"the registry's answer cannot be read ({error!r})") from None


def _refused(text: str, why: str) -> Unavailable:
    return Unavailable(
        f"the image {visible(text)} could not be fetched: {why[:300]}",
        "check its name, or save it first: docker save IMAGE -o image.tar",
    )


class _Registry:
    def __init__(self, session: aiohttp.ClientSession, asked: Reference, into: Path) -> None:
        self._session, self._asked, self._into = session, asked, into
        self._headers: dict[str, str] = {}
        self._left = LARGEST

    async def fetch(self) -> Image:
        data, kind = await self._manifest(self._asked.version)
        if kind in _INDEXES:
            data, kind = await self._manifest(_mine(json.loads(data)["manifests"]))
        manifest = json.loads(data)
        for part in (manifest["config"], *manifest["layers"]):
            await self._blob(str(part["digest"]))
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self._path(digest).write_bytes(data)
        described = {"mediaType": kind, "digest": digest, "size": len(data)}
        index = {"schemaVersion": 2, "manifests": [described]}
        (self._into / "index.json").write_text(json.dumps(index))
        (self._into / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return Image(self._into, digest.removeprefix("sha256:"), "an image of a registry")

    async def _manifest(self, version: str) -> tuple[bytes, str]:
        accept = {"Accept": ", ".join((*_INDEXES, *_MANIFESTS))}
        async with await self._get(f"manifests/{version}", accept) as answer:
            data = await answer.content.read(MANIFEST + 1)
            while not answer.content.at_eof() and len(data) <= MANIFEST:
                data += await answer.content.read(MANIFEST + 1 - len(data))
            kind = answer.content_type
        if len(data) > MANIFEST:
            raise ValueError("a manifest of more than 4 MiB")
        if _DIGEST.fullmatch(version) and version != f"sha256:{hashlib.sha256(data).hexdigest()}":
            raise ValueError("a manifest that is not what its digest says")
        return data, kind

    async def _blob(self, digest: str) -> None:
        path, seen = self._path(digest), hashlib.sha256()
        async with await self._get(f"blobs/{digest}", {}) as answer:
            with path.open("wb") as file:
                async for chunk in answer.content.iter_chunked(1 << 20):
                    self._left -= len(chunk)
                    if self._left < 0:
                        raise ValueError(f"more than {LARGEST >> 30} GiB")
                    seen.update(chunk)
                    file.write(chunk)
        if digest != f"sha256:{seen.hexdigest()}":
            raise ValueError(f"{digest} is not what its digest says")

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a digest that is none")
        path = self._into / "blobs" / "sha256" / digest.removeprefix("sha256:")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    async def _get(self, what: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """One answer with status 200; a token is fetched once where the registry asks for it."""
        url = f"{self._asked.base}/{self._asked.name}/{what}"
        answer = await self._session.get(url, headers={**self._headers, **headers})
        if answer.status == 401 and not self._headers:
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.release()
            self._headers = {"Authorization": f"Bearer {await self._token(challenge)}"}
            answer = await self._session.get(url, headers={**self._headers, **headers})
        answer.raise_for_status()
        return answer

    async def _token(self, challenge: str) -> str:
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        given = {key: asked[key] for key in ("service", "scope") if key in asked}
        async with self._session.get(asked["realm"], params=given) as answer:
            answer.raise_for_status()
            content: dict[str, Any] = await answer.json()
            return str(content.get("token") or content["access_token"])


def _mine(manifests: list[dict[str, Any]]) -> str:
    """The digest of the Linux image for this machine, else of the first that is an image."""
    machine = _MACHINES.get(platform.machine(), platform.machine())
    images = [m for m in manifests if m.get("platform", {}).get("os", "linux") == "linux"]
    fitting = [m for m in images if m.get("platform", {}).get("architecture") == machine]
    if not images:
        raise ValueError("no image for Linux in it")
    return str((fitting or images)[0]["digest"])
