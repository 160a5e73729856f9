"""What the tests of deployment work with: the chart, rendered by a real Helm, and our own image."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.error import PartMissing
from cluster.helm import helm

from image_archive import Image, opened

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "checks"), str(ROOT / "deploy/image")]

import build  # noqa: E402
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


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """The image that is built without Docker."""
    try:
        archive = build.image()
    except PartMissing as missing:
        pytest.skip(f"no image here: {missing.what}: {missing.hint}")
    with opened(archive) as found:
        yield found
