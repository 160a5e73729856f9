"""What the tests of deployment work with: the chart, rendered by a real Helm."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.error import PartMissing
from cluster.helm import helm

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "checks"))

import manifests  # noqa: E402

Object = dict[str, Any]
Render = Callable[..., list[Object]]


@pytest.fixture(scope="session")
def helm_program() -> Path:
    """Skipped where this machine cannot build it: in CI, tests/conftest.py makes that a failure."""
    try:
        return helm()
    except PartMissing as missing:
        pytest.skip(f"no Helm here: {missing.what}: {missing.hint}")


@pytest.fixture(scope="session")
def render(helm_program: Path) -> Render:
    """The objects that the chart makes of one of the sets of values (tests/deploy/values)."""

    def objects(values: str, *more: str, namespace: str = manifests.NAMESPACE) -> list[Object]:
        text = manifests.rendered(values, *more, namespace=namespace)
        return [one for one in yaml.safe_load_all(text) if one]

    return objects
