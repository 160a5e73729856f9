"""How tests and people get at a cluster: join the one that is there, or start it.

    with join(meeting) as cluster:                 # a control plane on loopback
        cluster.kubectl("get", "namespaces")
    with join(meeting, node=True) as cluster:      # and a node that runs pods (root)
        cluster.import_image(web_image(tmp / "web.tar"))

`meeting` is a folder that the users of one cluster share: the workers of a test session, say.
Whoever comes first starts the cluster; when the last one has gone, by whatever way, it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.access import Access
from cluster.build import COREDNS, KUBERNETES, built
from cluster.error import ClusterError, PartMissing
from cluster.leftovers import new_folder
from cluster.machine import require
from cluster.node import import_image

ROOT = Path(__file__).parents[1]


class Cluster(Access):
    """A running cluster of ours, seen by one of its users."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers = connection.makefile("r")
        about = self._order("describe")
        self.folder = Path(about["folder"])
        self.programs = Path(about["programs"])
        self.server: str = about["server"]
        self.address: str = about["address"]
        """Of the API server. Pods reach what a test serves on this address of this machine."""
        self._containerd = about["containerd"]
        super().__init__(self.programs / "kubectl", Path(about["kubeconfig"]))

    def import_image(self, archive: Path) -> None:
        """Give the node an image (see `cluster.images`)."""
        if self._containerd is None:
            raise ClusterError("this cluster has no node", "join(..., node=True)")
        import_image(Path(self._containerd), archive)

    @property
    def processes(self) -> dict[str, int]:
        """The ids of the parts that run."""
        found: dict[str, int | None] = self._order("describe")["processes"]
        return {name: process for name, process in found.items() if process is not None}

    def start(self, part: str = "kube-apiserver") -> None:
        """Start a stopped part again, with the same port and data. The API server is waited for."""
        self._order("start", part)

    def stop(self, part: str = "kube-apiserver") -> None:
        """Ask a part to end (SIGTERM), and wait until it has. An API server that is watched takes
        20 s, and is killed then."""
        self._order("stop", part)

    def kill(self, part: str = "kube-apiserver") -> None:
        """End a part as a crash does (SIGKILL)."""
        self._order("kill", part)

    def freeze(self, part: str = "kube-apiserver") -> None:
        """Halt a part: its connections stay open, nothing is answered."""
        self._order("freeze", part)

    def thaw(self, part: str = "kube-apiserver") -> None:
        """Let a frozen part go on."""
        self._order("thaw", part)

    def close(self) -> None:
        """Let go. Returns, for the last user, when the cluster is gone. Twice is as once."""
        if self._answers.closed:
            return
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
            self._answers.read()
        self._answers.close()
        self._connection.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _order(self, do: str, part: str | None = None) -> dict[str, Any]:
        try:
            self._connection.sendall(json.dumps({"do": do, "part": part}).encode() + b"\n")
            line = self._answers.readline()
        except OSError as error:
            raise ClusterError("the cluster's keeper has gone", str(error)) from error
        if not line:
            raise ClusterError("the cluster's keeper has gone")
        answer: dict[str, Any] = json.loads(line)
        if "what" in answer:
            raise ClusterError(answer["what"], answer["hint"])
        return answer


def join(meeting: Path, *, node: bool = False) -> Cluster:
    """The cluster of this meeting. Builds the programs first if this machine has none (minutes)."""
    if node:
        require()
    programs = [built(KUBERNETES), *([built(COREDNS)] if node else [])]
    kind = "node" if node else "control-plane"
    with _alone(meeting / f"{kind}.lock"):
        where = meeting / f"{kind}.where"
        if where.exists():
            with contextlib.suppress(OSError, ClusterError):  # it has just ended: start another
                return _connect(Path(where.read_text()))
        folder = _start(programs)
        where.write_text(str(folder))
        return _connect(folder)


def running(kubeconfig: Path) -> Cluster:
    """One that runs already, by the kubeconfig that it told."""
    try:
        return _connect(kubeconfig.parents[1])
    except (OSError, IndexError) as error:
        hint = "export KUBECONFIG as `make cluster` says"
        raise ClusterError(f"{kubeconfig} is of no cluster that runs here", hint) from error


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _connect(folder: Path) -> Cluster:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(folder / "socket"))
        return Cluster(connection)
    except BaseException:
        connection.close()
        raise


def _start(programs: Sequence[Path]) -> Path:
    """Start a keeper; the cluster's folder, once all of it is ready."""
    folder, lock = new_folder()
    argv = [sys.executable, "-m", "cluster.keeper", str(folder), *map(str, programs)]
    keeper = subprocess.Popen(
        argv,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=[lock],
        start_new_session=True,  # Ctrl-C is for its users; it ends when they have gone
    )
    os.close(lock)
    assert keeper.stdout is not None
    try:
        said = keeper.stdout.readline()
    except BaseException:  # Ctrl-C while it starts
        keeper.send_signal(signal.SIGTERM)
        keeper.wait()
        raise
    finally:
        keeper.stdout.close()
        # Reaped when it ends: its starter may leave long before its last user.
        threading.Thread(target=keeper.wait, daemon=True).start()
    if not said:
        raise ClusterError("the cluster's keeper died", "its words are above")
    answer = json.loads(said)
    if "what" in answer:
        raise (PartMissing if answer["missing"] else ClusterError)(answer["what"], answer["hint"])
    return folder
