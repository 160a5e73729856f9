"""A client of the real control plane, and informers that end with their test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from cluster.access import Access

from kubernetes.following import Follow
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.cluster import Cluster
from pilotage.operator.runtime.informer import Informer


@pytest.fixture
def entrance(control_plane: Access) -> Cluster:
    """The control plane, as its administrator."""
    return kubeconfig.read(control_plane.kubeconfig)


@pytest.fixture
async def client(entrance: Cluster) -> AsyncIterator[Client]:
    async with Client(entrance) as client:
        yield client


@pytest.fixture
async def follow() -> AsyncIterator[Follow]:
    """Start an informer; it ends with the test."""
    tasks: list[asyncio.Task[None]] = []

    def start(informer: Informer) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(informer.run()))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
