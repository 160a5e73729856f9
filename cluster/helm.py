"""Where Helm is.

python -m cluster.helm     build it if it is missing, print where it is
"""

from __future__ import annotations

from pathlib import Path

from cluster.build import HELM, built


def helm() -> Path:
    """The program."""
    return built(HELM) / "helm"


if __name__ == "__main__":
    print(helm())
