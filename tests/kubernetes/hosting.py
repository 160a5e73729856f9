"""A Host that runs beside its test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from pilotage.kubernetes.cluster import Cluster
from pilotage.operator.runtime.host import Host
from pilotage.operator.runtime.options import Options
from waiting import LONG, until

FREE = "127.0.0.1:0"


def hosted(cluster: Cluster, *namespaces: str, **more: Any) -> Host:
    """A Host for these namespaces, its endpoints on a free port."""
    options = Options(FREE, FREE, namespaces=namespaces, **more)
    return Host(cluster, options, component="tests", lease="tests")


@asynccontextmanager
async def running(host: Host) -> AsyncIterator[Host]:
    """It runs, and ends in order when the block does."""
    task = asyncio.create_task(host.run())
    try:
        await until(lambda: bool(host.endpoints.bound) or task.done())
        yield host
    finally:
        host.stop()
        async with asyncio.timeout(LONG):
            await task


async def asked(host: Host, path: str) -> tuple[int, str]:
    """The status and the text of an endpoint."""
    where, port = host.endpoints.bound[FREE]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{where}:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def value(host: Host, sample: str) -> float:
    """The value of one line of /metrics."""
    _, text = await asked(host, "/metrics")
    for line in text.splitlines():
        if line.startswith(sample + " "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no {sample} in\n{text}")


async def comes(true: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again; TimeoutError after LONG seconds."""
    async with asyncio.timeout(LONG):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
