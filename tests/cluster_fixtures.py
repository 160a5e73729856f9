"""Fixtures of a real cluster. One a test session, shared by all its workers, started when needed.

With PILOTAGE_TEST_CONTEXT (a context of your kubeconfig) the tests use that cluster instead; what
only a cluster of ours can do is skipped, with the reason.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.access import Access, given
from cluster.error import PartMissing
from cluster.handle import Cluster, join

CONTEXT = "PILOTAGE_TEST_CONTEXT"


@pytest.fixture(scope="session")
def cluster_meeting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of this session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def control_plane(cluster_meeting: Path) -> Iterator[Access]:
    """An API server with its controllers; pods stay Pending. Shared: leave it as you found it."""
    if context := os.environ.get(CONTEXT):
        yield given(context, cluster_meeting / "given")
        return
    with _joined(cluster_meeting) as cluster:
        yield cluster


@pytest.fixture
def namespace(control_plane: Access) -> Iterator[str]:
    """A fresh namespace of `control_plane`, deleted after the test."""
    yield from _namespace(control_plane)


@pytest.fixture
def own_control_plane(tmp_path: Path) -> Iterator[Cluster]:
    """A control plane of this test alone, to stop, freeze and wreck. It takes seconds to start."""
    _ours_only("its API server is not ours to stop")
    with _joined(tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def node_cluster(cluster_meeting: Path) -> Iterator[Cluster]:
    """A control plane with a node that runs pods: `import_image`, and imagePullPolicy: Never."""
    _ours_only("images cannot be imported there")
    with _joined(cluster_meeting, node=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def own_node_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One with a node for the tests of one file alone, whose cluster-wide objects are theirs."""
    _ours_only("its cluster-wide objects are not ours to replace")
    with _joined(tmp_path_factory.mktemp("cluster"), node=True) as cluster:
        yield cluster


@pytest.fixture
def node_namespace(node_cluster: Cluster) -> Iterator[str]:
    """A fresh namespace of `node_cluster`, deleted after the test."""
    yield from _namespace(node_cluster)


def _joined(meeting: Path, *, node: bool = False) -> Cluster:
    """Skipped where this machine lacks a part: in CI, conftest.py makes that a failure."""
    try:
        return join(meeting, node=node)
    except PartMissing as missing:
        other = "" if node else f" (or name a cluster of yours in {CONTEXT})"
        pytest.skip(f"no cluster here: {missing.what}: {missing.hint}{other}")


def _ours_only(why: str) -> None:
    if context := os.environ.get(CONTEXT):
        pytest.skip(f"the cluster is {context}, of {CONTEXT}: {why}")


def _namespace(access: Access) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:10]}"
    access.kubectl("create", "namespace", name)
    account = ["serviceaccount/default", f"--namespace={name}", "--timeout=60s"]
    access.kubectl("wait", "--for=create", *account)  # without it no pod is admitted
    yield name
    access.kubectl("delete", "namespace", name, "--wait=false")
