"""Desks at a real cluster, for the tools that work on one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cluster.access import Access
from cluster.handle import Cluster
from cluster.images import web_image

from cluster_desk import Desk, desk_at


@pytest.fixture
async def desk(control_plane: Access, namespace: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """At the control plane: nothing runs there."""
    async with desk_at(control_plane, namespace, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def web_images(node_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """localhost/web:1 and :2 on the node."""
    folder = tmp_path_factory.mktemp("images")
    for tag in ("1", "2"):
        node_cluster.import_image(web_image(folder / f"web-{tag}.tar", tag))


@pytest.fixture
async def node_desk(
    node_cluster: Cluster, node_namespace: str, web_images: None, tmp_path: Path
) -> AsyncIterator[Desk]:
    """At the cluster whose node runs pods."""
    async with desk_at(node_cluster, node_namespace, tmp_path) as made:
        yield made
