"""From what people write ("deploy", "Deployment", "deployments.apps", "apps/v1/Deployment") to a
Kind, by what this very server serves. What it serves is asked once, and again for a word it does
not know: its CRD may be new."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pilotage.domain.errors import BadInput
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import NotFound
from pilotage.kubernetes.kind import Kind

KEPT_SECONDS = 600.0
AGAIN_SECONDS = 5.0
"""An unknown word asks the server again at most this often."""
_ACCEPT = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    for version in ("v2", "v2beta1")
)


@dataclass(frozen=True, slots=True)
class Served:
    """A Kind, what else it is called, and what may be done with it ("get", "list", "watch"...)."""

    kind: Kind
    singular: str = ""
    short: tuple[str, ...] = ()
    verbs: frozenset[str] = frozenset()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()

    def names(self) -> frozenset[str]:
        """The words for it, in lower case, but for the short ones."""
        return frozenset((self.kind.plural, self.kind.kind.lower(), self.singular)) - {""}


class Discovery:
    """What one cluster serves."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = client, clock
        self._served: tuple[Served, ...] = ()
        self._asked = float("-inf")

    async def served(self) -> tuple[Served, ...]:
        """Everything, in the server's order: core first, and of each group the best version
        first."""
        if self._clock() - self._asked > KEPT_SECONDS:
            await self._ask()
        return self._served

    async def find(self, word: str) -> Served:
        """What `word` means. NotFound names what is like it. Full names beat short ones; of several
        groups the first counts, as for kubectl: write the group to take another."""
        word = word.strip()
        if not word:
            raise BadInput("no kind", 'write for example "deployment" or "apps/v1/Deployment"')
        found = _match(await self.served(), word)
        if found is None and self._clock() - self._asked > AGAIN_SECONDS:
            await self._ask()
            found = _match(self._served, word)
        if found is None:
            raise _unknown(self._served, word, self._client.cluster.name)
        return found

    async def kind(self, word: str) -> Kind:
        """The Kind of `find`."""
        return (await self.find(word)).kind

    async def _ask(self) -> None:
        headers = {"Accept": _ACCEPT}
        found: list[Served] = []
        for path in ("/api", "/apis"):
            told = await self._client.raw("GET", path, headers=headers)
            if told.get("kind") != "APIGroupDiscoveryList":
                why = f"{self._client.cluster.name} serves no aggregated discovery"
                raise BadInput(why, "Kubernetes 1.27 and newer do")
            for group in told.get("items") or ():
                found += _group(group)
        self._served, self._asked = tuple(found), self._clock()


def _group(told: dict[str, Any]) -> list[Served]:
    name = told.get("metadata", {}).get("name") or ""
    return [
        _resource(name, version["version"], each)
        for version in told.get("versions") or ()
        for each in version.get("resources") or ()
    ]


def _resource(group: str, version: str, told: dict[str, Any]) -> Served:
    kind, namespaced = told["responseKind"]["kind"], told["scope"] == "Namespaced"
    return Served(
        Kind(group, version, kind, told["resource"], namespaced),
        told.get("singularResource") or "",
        tuple(told.get("shortNames") or ()),
        frozenset(told.get("verbs") or ()),
        tuple(told.get("categories") or ()),
        frozenset(each["subresource"] for each in told.get("subresources") or ()),
    )


def _match(served: tuple[Served, ...], word: str) -> Served | None:
    parts = word.split("/")
    if len(parts) > 1:  # v1/Pod, apps/v1/Deployment
        version, name = "/".join(parts[:-1]), parts[-1].lower()
        near = [one for one in served if one.kind.api_version == version]
        return next((one for one in near if name in one.names()), None)
    word = word.lower()
    named = [one for one in served if word in one.names()]
    short = [one for one in served if word in one.short]
    name, _, rest = word.partition(".")
    grouped = [one for one in served if name in (*one.names(), *one.short)]
    full = [one for one in grouped if rest and rest in _groups(one.kind)]
    return next(iter((*named, *short, *full)), None)


def _groups(kind: Kind) -> tuple[str, str]:
    return kind.group, f"{kind.version}.{kind.group}"


def _unknown(served: tuple[Served, ...], word: str, cluster: str) -> NotFound:
    known = sorted({one.kind.plural for one in served})
    near = difflib.get_close_matches(word.lower().split("/")[-1].split(".")[0], known, 3)
    hint = f"like it: {', '.join(near)}" if near else "`kubectl api-resources` shows all"
    return NotFound(f"{cluster} serves no {word!r}", hint, status=404, reason="NotFound")
