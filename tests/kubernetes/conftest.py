"""A client of the real control plane, and a wire to it that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from cluster.access import Access

from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.cluster import Cluster


@pytest.fixture
def entrance(control_plane: Access) -> Cluster:
    """The control plane, as its administrator."""
    return kubeconfig.read(control_plane.kubeconfig)


@pytest.fixture
async def client(entrance: Cluster) -> AsyncIterator[Client]:
    async with Client(entrance) as client:
        yield client
