"""python -m cluster.load ARCHIVE ...: give images to the node of the cluster of $KUBECONFIG."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from cluster.error import ClusterError
from cluster.handle import running


def main() -> int:
    """2: there is no such cluster, or an archive is not one."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster.load",
        description="Give images (docker-archives) to the node of the cluster that `make cluster` "
        "has started, and that KUBECONFIG names. Pods use them with imagePullPolicy: Never.",
    )
    parser.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    given = parser.parse_args()
    try:
        with running(Path(os.environ.get("KUBECONFIG", ""))) as cluster:
            for archive in given.archives:
                cluster.import_image(archive)
                print(f"{archive.name} is on the node")
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
