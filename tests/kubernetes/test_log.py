"""What a real pod writes, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from cluster.handle import Cluster
from cluster.images import web_image

from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import BadRequest, NotFound
from pilotage.kubernetes.kind import POD, Object
from waiting import LONG

SAYS = "for word in one two three; do echo $word; sleep 1; done; echo done; sleep 3600"


def pod(namespace: str, name: str) -> Object:
    container = {
        "name": "says",
        "image": "localhost/web:1",
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", SAYS],
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


@pytest.fixture
async def node(node_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Client]:
    node_cluster.import_image(web_image(tmp_path / "web.tar"))
    async with Client(kubeconfig.read(node_cluster.kubeconfig)) as client:
        yield client


async def running(client: Client, namespace: str, name: str) -> None:
    async with asyncio.timeout(LONG):
        while True:
            found = await client.get(POD, name, namespace)
            if found["status"]["phase"] == "Running":
                return
            await asyncio.sleep(0.1)


async def test_a_log_comes_while_it_is_written(node: Client, node_namespace: str) -> None:
    await node.create(POD, pod(node_namespace, "a"))
    await running(node, node_namespace, "a")
    pieces: list[bytes] = []
    async with asyncio.timeout(LONG):
        async with aclosing(node.log("a", node_namespace, follow=True)) as log:
            async for piece in log:
                pieces.append(piece)
                if b"done" in piece:
                    break
    assert b"".join(pieces).split() == [b"one", b"two", b"three", b"done"]
    assert len(pieces) > 1, "not all at once at the end"
    last = [piece async for piece in node.log("a", node_namespace, container="says", tail=2)]
    assert b"".join(last).split() == [b"three", b"done"]


async def test_a_log_that_is_not_there_is_said(node: Client, node_namespace: str) -> None:
    with pytest.raises(NotFound, match='pods "nobody" not found'):
        [piece async for piece in node.log("nobody", node_namespace)]
    await node.create(POD, pod(node_namespace, "a"))
    with pytest.raises(BadRequest, match="container nobody is not valid"):
        [piece async for piece in node.log("a", node_namespace, container="nobody")]
