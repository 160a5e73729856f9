"""Objects that tests of the runtime make."""

from __future__ import annotations

import asyncio
from typing import Any

from pilotage.kubernetes.client import Client
from pilotage.kubernetes.kind import CONFIG_MAP, Object


def config_map(namespace: str, name: str, labels: dict[str, str] | None = None, **data: str) -> Any:
    """The smallest object that there is."""
    meta: Object = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


async def fill(client: Client, namespace: str, names: list[str]) -> None:
    """Make them, some at a time."""
    at_once = asyncio.Semaphore(32)

    async def one(name: str) -> None:
        async with at_once:
            await client.create(CONFIG_MAP, config_map(namespace, name))

    await asyncio.gather(*(one(name) for name in names))


def widget(namespace: str, name: str, size: int = 1) -> Object:
    """One of `widgets`."""
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"size": size}}


def widgets() -> Object:
    """A resource whose conditions are a list-map: each manager owns those that it writes."""
    told = {"type": {"type": "string"}, "status": {"type": "string"}}
    conditions = {
        "type": "array",
        "items": {"type": "object", "required": ["type"], "properties": told},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }
    size = {"type": "integer", "minimum": 0}
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"size": size}},
            "status": {"type": "object", "properties": {"conditions": conditions}},
        },
    }
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget", "shortNames": ["wdg"]}
    return {
        "metadata": {"name": "widgets.tests.example.com"},
        "spec": {
            "group": "tests.example.com",
            "scope": "Namespaced",
            "names": names,
            "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
        },
    }
