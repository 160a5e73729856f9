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
