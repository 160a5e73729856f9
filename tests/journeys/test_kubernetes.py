"""The tour of examples/08-kubernetes does what its guide says, on a node with real pods."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cluster.error import PartMissing
from cluster.handle import Cluster
from cluster.helm import helm

from article import appendix_c
from journeys.tours import ROOT, toured

sys.path.insert(0, str(ROOT / "deploy/image"))

import build

SCANNERS = ("bandit", "gitleaks", "ruff", "trivy")


@pytest.fixture(scope="module")
def tour(
    own_node_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> subprocess.CompletedProcess[str]:
    """With the article's manifest, unchanged, in the place of the example's own."""
    manifest = tmp_path_factory.mktemp("article") / "mcptool-sample.yaml"
    manifest.write_text(appendix_c(), "utf-8")
    try:
        program = helm()
        build.image(scanners=SCANNERS)  # made here: the tour has enough to do
    except PartMissing as missing:
        pytest.skip(f"no image, or no Helm, here: {missing.what}: {missing.hint}")
    return toured(
        "08-kubernetes",
        seconds=900,
        path=f"{own_node_cluster.programs}:{program.parent}",
        KUBECONFIG=str(own_node_cluster.kubeconfig),
        MANIFEST=str(manifest),
    )


def test_the_tour_ends_well(tour: subprocess.CompletedProcess[str]) -> None:
    assert tour.returncode == 0, tour.stdout[-4_000:] + tour.stderr[-4_000:]
    assert "the chain holds" in tour.stdout
    assert "example-mcptool   k8s_resource_manager   True" in tour.stdout


def test_an_agent_calls_the_tools_that_the_cluster_declares(
    tour: subprocess.CompletedProcess[str],
) -> None:
    assert "deployments: greeter shop" in tour.stdout
    assert "greeter: Hello, Ada." in tour.stdout


def test_each_release_is_scanned_by_real_scanners(tour: subprocess.CompletedProcess[str]) -> None:
    for scanner in ("bandit code", "gitleaks tree", "ruff code", "trivy secret"):
        assert f"scan: {scanner}: " in tour.stdout
    assert "PASS: no level is over its limit" in tour.stdout
    assert "4 of 4 scanner runs looked" in tour.stdout


def test_what_does_not_get_ready_is_taken_back_and_the_run_says_why(
    tour: subprocess.CompletedProcess[str],
) -> None:
    (said,) = [line for line in tour.stdout.splitlines() if line.startswith("deploy: rolled back")]
    assert "shop-canary is not rolled out" in said
    assert "Readiness probe failed" in said
    assert "statuscode: 503" in said


def test_the_good_version_is_deployed_once_somebody_has_said_so(
    tour: subprocess.CompletedProcess[str],
) -> None:
    listed = [line.split() for line in tour.stdout.splitlines() if line.startswith("shop ")]
    assert [(one[1], one[6]) for one in listed] == [
        ("3/3", "localhost/shop:1"),
        ("3/3", "localhost/shop:3"),
    ]
    assert tour.stdout.count('"step":"deploy"') == 3
    assert "(rule releases-ask: the shop is changed by two)" in tour.stdout
