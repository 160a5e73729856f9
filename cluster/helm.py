"""Helm, built from its own Go module: its requirements are not Kubernetes', so it has its own pins.

python -m cluster.helm     build it if it is missing, print where it is
"""

from __future__ import annotations

from pathlib import Path

from cluster.build import Recipe, built

HELM = Recipe(
    name="helm",
    module="helm.sh/helm/v4",
    programs={"helm": "helm.sh/helm/v4/cmd/helm"},
    stamped=(),
)


def helm() -> Path:
    """The program."""
    return built(HELM) / "helm"


if __name__ == "__main__":
    print(helm())
