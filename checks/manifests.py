"""Write what the chart renders (golden files, the kustomize bases), or with --check compare it.

    .venv/bin/python checks/manifests.py [--check]

The chart's templates are the source of all workloads, deploy/kustomize/operator of the operator's
rights and the policy, deploy/crds of the CRDs: the chart reads these two through links.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cluster.error import ClusterError  # noqa: E402
from cluster.helm import helm  # noqa: E402

CHART = ROOT / "deploy/chart"
KUSTOMIZE = ROOT / "deploy/kustomize"
VALUES = ROOT / "tests/deploy/values"
SETS = ("default", "namespace-only", "everything")
NAMESPACE = "mcp-system"
BASES = {"cluster": "default", "namespace-only": "namespace-only"}
_ELSEWHERE = ("crds.yaml", "operator-rights.yaml", "approvals.yaml")
"""Templates whose objects the base `cluster` has from other files."""
_HELMS = re.compile(r"^ *(?:app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)
NOTE = "# Made of deploy/chart by checks/manifests.py: change the chart.\n"


def rendered(values: str, *more: str, namespace: str = NAMESPACE) -> str:
    """What `helm template` makes of a set of values. ClusterError: Helm's own words."""
    argv = ["template", "pilotage", str(CHART), f"--namespace={namespace}"]
    found = subprocess.run(
        [helm(), *argv, f"--values={VALUES / values}.yaml", *more], capture_output=True, text=True
    )
    if found.returncode:
        raise ClusterError("helm template failed", found.stderr)
    return found.stdout


def without(text: str, *templates: str) -> str:
    """The objects that come from other templates."""
    kept = []
    for part in re.split(r"^---\n", text, flags=re.MULTILINE):
        source = re.search(r"^# Source: pilotage/templates/(\S+)$", part, re.MULTILINE)
        if source:
            last = source[1]
        if part.strip() and last not in templates:
            kept.append(part)
    return "".join(f"---\n{part}" for part in kept)


def files() -> dict[Path, str]:
    """Each file that is made, and what it should hold."""
    texts = {name: without(rendered(name), "crds.yaml") for name in SETS}
    made = {ROOT / f"tests/deploy/golden/{name}.yaml": text for name, text in texts.items()}
    for base, values in BASES.items():
        text = without(texts[values], *(_ELSEWHERE if base == "cluster" else ()))
        made[KUSTOMIZE / base / "workloads.yaml"] = NOTE + _HELMS.sub("", text)
    return made


def stale() -> list[Path]:
    """The files that do not hold what they should."""
    return [path for path, text in files().items() if not path.exists() or path.read_text() != text]


def main() -> int:
    """1 where --check finds a file that is not current."""
    wrong, wanted = stale(), files()
    for path in wrong:
        name = path.relative_to(ROOT)
        if "--check" in sys.argv:
            print(f"{name} is not current: .venv/bin/python checks/manifests.py")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], "utf-8")
            print(f"wrote {name}")
    return 1 if wrong and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
