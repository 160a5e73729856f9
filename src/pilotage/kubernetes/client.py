"""The verbs of the Kubernetes API, on plain dicts. Each raises ApiError as its docstring says.

client = Client(kubeconfig.find())
pod = await client.get(POD, "web-0", "shop")
async for object in client.items(SECRET, "shop", labels="app=web"): ...
await client.apply(DEPLOYMENT, manifest, manager="pilotage")
await client.close()
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import msgspec

from pilotage.domain.errors import BadInput, TooLarge
from pilotage.kubernetes.cluster import Cluster
from pilotage.kubernetes.depth import decoder
from pilotage.kubernetes.errors import Unreachable
from pilotage.kubernetes.kind import POD, Kind, Object
from pilotage.kubernetes.transport import Transport
from pilotage.kubernetes.watch import Event, watched

PAGE = 500
FIELD_MANAGER = "pilotage"
MERGE, APPLY, JSON = (
    "application/merge-patch+json",
    "application/apply-patch+yaml",
    "application/json",
)
Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a list, or all of it. `resource_version` is the same for all pages of one list: a
    watch begins there. `more` is the token for the next page, "" after the last."""

    items: list[Object]
    resource_version: str
    more: str = ""


class Client:
    """One cluster, as one account. Close it, or use it as a context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.transport = Transport(cluster)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; watches end."""
        await self.transport.close()

    async def raw(self, method: str, path: str, **more: Any) -> Object:
        """The answer to any request, an object: /version, a subresource. `more` as Transport.ask
        takes it: query, data, headers, seconds, most."""
        return _object(await self.transport.ask(method, path, **more), f"{method} {path}")

    async def get(
        self, kind: Kind, name: str, namespace: str | None = None, subresource: str = ""
    ) -> Object:
        """One object. NotFound."""
        return await self.raw("GET", self._path(kind, namespace, name, subresource))

    async def page(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int = PAGE,
        more: str = "",
        most: int | None = None,
    ) -> Page:
        """Some of a list, from where `more` says. Gone: the token is too old (about 5 minutes).
        TooLarge: it has more than `most` bytes."""
        query = _selected(labels, fields) | {"limit": str(limit)}
        if more:
            query["continue"] = more
        told = await self.raw("GET", kind.path(namespace), query=query, most=most)
        meta = told["metadata"]
        found = told.get("items") or []
        for each in found:  # lists of built-in kinds leave these out
            each.setdefault("apiVersion", kind.api_version)
            each.setdefault("kind", kind.kind)
        return Page(found, meta["resourceVersion"], meta.get("continue") or "")

    async def pages(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int = PAGE,
        most: int | None = None,
    ) -> AsyncIterator[Page]:
        """All pages of one list, which all show the same moment. No namespace: of all. None has
        more than `most` bytes, but for a single object that has: where objects are large, fewer are
        asked for at a time."""
        more, size = "", limit
        while True:
            try:
                page = await self.page(
                    kind,
                    namespace,
                    labels=labels,
                    fields=fields,
                    limit=size,
                    more=more,
                    most=most if size > 1 else None,
                )
            except TooLarge:
                size = max(1, size // 4)
                continue
            yield page
            size = min(limit, size * 2)  # a few large ones make the rest no slower
            if not (more := page.more):
                return

    async def items(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[Object]:
        """The objects of a list, page by page."""
        async for page in self.pages(kind, namespace, labels=labels, fields=fields):
            for each in page.items:
                yield each

    async def list(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> Page:
        """All objects in one Page. For what may be many, take `items` or `pages`."""
        found, version = [], ""
        async for page in self.pages(kind, namespace, labels=labels, fields=fields):
            found += page.items
            version = page.resource_version
        return Page(found, version)

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        labels: str = "",
        fields: str = "",
        seconds: int = 300,
        opened: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """What happens after `resource_version`, BOOKMARKs too, until the server ends it after
        `seconds` (then just watch again from the last version seen). Gone: list again. Unreachable:
        it broke off, or was silent for longer than bookmarks are apart. Who leaves it before its
        end closes it (`contextlib.aclosing`). `opened` hears that the server has taken it."""
        query = _selected(labels, fields) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        if resource_version:
            query["resourceVersion"] = resource_version
        return watched(self.transport, kind.path(namespace), query, opened)

    async def create(
        self, kind: Kind, object: Object, *, dry_run: bool = False, manager: str = FIELD_MANAGER
    ) -> Object:
        """What was made of it. AlreadyExists, Invalid. Without a namespace: that of the context."""
        path = kind.path(self._namespace(kind, object["metadata"].get("namespace")))
        return await self._send(
            "POST", path, _whole(kind, object), JSON, _written(dry_run, manager)
        )

    async def update(
        self,
        kind: Kind,
        object: Object,
        *,
        subresource: str = "",
        dry_run: bool = False,
        manager: str = FIELD_MANAGER,
    ) -> Object:
        """Put it in the place of what is there. With a resourceVersion in it, Conflict says that
        somebody was faster; without one, their change is lost."""
        path = self._of(kind, object, subresource)
        query = _written(dry_run, manager)
        return await self._send("PUT", path, _whole(kind, object), JSON, query)

    async def patch(
        self,
        kind: Kind,
        name: str,
        change: Mapping[str, Any],
        namespace: str | None = None,
        *,
        subresource: str = "",
        dry_run: bool = False,
        manager: str = FIELD_MANAGER,
    ) -> Object:
        """A JSON merge patch: None deletes a field, a list replaces the whole list. With
        metadata.resourceVersion in it: Conflict. NotFound."""
        path = self._path(kind, namespace, name, subresource)
        return await self._send("PATCH", path, change, MERGE, _written(dry_run, manager))

    async def apply(
        self,
        kind: Kind,
        object: Object,
        *,
        manager: str = FIELD_MANAGER,
        force: bool = False,
        dry_run: bool = False,
        subresource: str = "",
    ) -> Object:
        """Server-side apply: `manager` owns exactly the fields in `object`. The same again changes
        nothing, not even the resourceVersion. Conflict names the fields and their managers."""
        path = self._of(kind, object, subresource)
        query = _written(dry_run, manager) | {"force": "true" if force else "false"}
        return await self._send("PATCH", path, _whole(kind, object), APPLY, query)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Its end, or the begin of it where finalizers or a grace period hold it: then the answer
        is the object. NotFound. Conflict: it is not that `uid` or `resource_version`."""
        given = {"uid": uid, "resourceVersion": resource_version}
        conditions = {key: value for key, value in given.items() if value is not None}
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        options |= {"propagationPolicy": propagation}
        if conditions:
            options["preconditions"] = conditions
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if dry_run:
            options["dryRun"] = ["All"]
        return await self._send("DELETE", self._path(kind, namespace, name), options, JSON, {})

    async def log(
        self,
        pod: str,
        namespace: str | None = None,
        *,
        container: str = "",
        follow: bool = False,
        previous: bool = False,
        tail: int | None = None,
        limit_bytes: int | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """What a container wrote, in pieces as they come; with `follow` until it ends.
        Who leaves it before closes it (`contextlib.aclosing`)."""
        query = {"container": container} if container else {}
        query |= {"follow": "true"} if follow else {}
        query |= {"previous": "true"} if previous else {}
        query |= {} if tail is None else {"tailLines": str(tail)}
        query |= {} if limit_bytes is None else {"limitBytes": str(limit_bytes)}
        path = self._path(POD, namespace, pod, "log")
        async with self.transport.open("GET", path, query=query) as answer:
            async for piece in answer.content.iter_any():
                yield piece

    def _namespace(self, kind: Kind, namespace: str | None) -> str | None:
        return (namespace or self.cluster.namespace) if kind.namespaced else None

    def _path(self, kind: Kind, namespace: str | None, name: str, subresource: str = "") -> str:
        if not name:
            raise BadInput(f"a {kind.kind} without a name", "give metadata.name")
        return kind.path(self._namespace(kind, namespace), name, subresource)

    def _of(self, kind: Kind, object: Object, subresource: str) -> str:
        meta = object["metadata"]
        return self._path(kind, meta.get("namespace"), meta.get("name") or "", subresource)

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any], kind: str, query: Mapping[str, str]
    ) -> Object:
        data, headers = msgspec.json.encode(body), {"Content-Type": kind}
        return await self.raw(method, path, query=query, data=data, headers=headers)


def _object(answer: bytes, asked: str) -> Object:
    try:
        return _decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = f"{asked}: the answer is no object: {error}"
        raise Unreachable(what, "is that a Kubernetes API?", status=502) from None


_decode = decoder(Object)


def _whole(kind: Kind, object: Object) -> Object:
    """With what it is, which it need not say."""
    return {"apiVersion": kind.api_version, "kind": kind.kind, **object}


def _selected(labels: str, fields: str) -> dict[str, str]:
    found = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in found.items() if value}


def _written(dry_run: bool, manager: str) -> dict[str, str]:
    """Unknown and repeated fields are errors: dropped in silence, they would look accepted."""
    query = {"fieldManager": manager, "fieldValidation": "Strict"}
    return query | {"dryRun": "All"} if dry_run else query
