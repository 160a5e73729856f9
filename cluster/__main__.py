"""`make cluster`: a real Kubernetes on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from cluster.error import ClusterError
from cluster.handle import Cluster, join
from cluster.images import web_image

TRY = """\
  kubectl get --raw /readyz
  kubectl --context=mcp-operator auth can-i --list     what the operator's account may do"""
TRY_PODS = """\
  kubectl create deployment web --image=localhost/web:1 --replicas=2 --port=8080
  kubectl expose deployment web --port=80 --target-port=8080
  curl $(kubectl get service web -o jsonpath={.spec.clusterIP})"""


def main() -> int:
    """Start it, say how to use it, wait for Ctrl-C, stop it."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster",
        description="Start a real Kubernetes cluster on this machine: a control plane on loopback, "
        "and a node that runs pods (needs root and a few Debian packages). Ctrl-C ends it and "
        "removes all of it. The first start builds Kubernetes from its Go modules, in 10 to 20 "
        "minutes.",
    )
    parser.add_argument("--no-node", action="store_true", help="the control plane alone: no root")
    node = not parser.parse_args().no_node
    for ends in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ends, signal.default_int_handler)  # also where a script set it to be ignored
    with tempfile.TemporaryDirectory() as meeting:
        try:
            began = time.monotonic()
            cluster = join(Path(meeting), node=node)
            _use(cluster, Path(meeting), node=node, took=time.monotonic() - began)
        except ClusterError as error:
            print(f"cluster: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130
    return 0


def _use(cluster: Cluster, folder: Path, *, node: bool, took: float) -> None:
    """Say what there is, and wait."""
    try:
        if node:
            cluster.import_image(web_image(folder / "web.tar"))
        print(_words(cluster, node=node, took=took), flush=True)
        while True:
            signal.pause()
    except KeyboardInterrupt:
        print("\ncluster: stopping", file=sys.stderr, flush=True)
    finally:
        began = time.monotonic()
        cluster.close()
    print(f"cluster: gone ({time.monotonic() - began:.1f} s)", file=sys.stderr)


def _words(cluster: Cluster, *, node: bool, took: float) -> str:
    version = cluster.kubectl("version", "-o", "yaml").partition("serverVersion:")[2]
    number = version.partition("gitVersion: ")[2].split()[0]
    what = "a control plane and a node" if node else "a control plane, no node: pods stay Pending"
    return f"""Kubernetes {number} at {cluster.server}, ready in {took:.1f} s: {what}

In another terminal:
  export KUBECONFIG={cluster.kubeconfig} PATH={cluster.programs}:$PATH
Then try:
{TRY_PODS if node else ""}{chr(10) if node else ""}{TRY}

The logs are in {cluster.folder}. Ctrl-C ends the cluster and removes all of it."""


if __name__ == "__main__":
    sys.exit(main())
