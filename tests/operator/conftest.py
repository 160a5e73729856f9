"""Fixtures of the operator's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.access import Access

from operator_rig import Rig, install, rigged


@pytest.fixture(scope="session")
def installed(control_plane: Access) -> Access:
    """The shared API server with our CRDs and the operator's rights."""
    install(control_plane)
    return control_plane


@pytest.fixture
def rig(installed: Access, namespace: str, tmp_path: Path) -> Iterator[Rig]:
    """A tool server and an operator of this test alone, in a namespace of its own."""
    settings = {"clusters": {"test": {"kubeconfig": str(installed.kubeconfig)}}}
    with rigged(installed, namespace, tmp_path, settings) as made:
        made.operate()
        yield made
