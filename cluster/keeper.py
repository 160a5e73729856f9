"""The process that owns a cluster. It ends the cluster when nobody holds on to it any more.

Who uses the cluster keeps a connection to the keeper's socket open; the system closes it even for
one who crashed, so the count of users is always true. Over it go small orders, one JSON line each:
    {"do": "describe" | "start" | "stop" | "kill" | "freeze" | "thaw", "part": "kube-apiserver"}
Only `cluster.handle` starts one.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from cluster.control_plane import ControlPlane
from cluster.error import ClusterError, PartMissing
from cluster.machine import Machine
from cluster.node import Node

FIRST_WITHIN = 60.0
"""Seconds after which a keeper whose starter never came ends."""


class Keeper:
    """A control plane, with or without a node, in a folder that goes when it goes."""

    def __init__(self, folder: Path, programs: Path, dns: Path | None) -> None:
        self.programs = programs
        self.folder = folder
        self.dns = dns
        self.machine = Machine(folder / "machine") if dns else None
        self.control_plane: ControlPlane | None = None
        self.node: Node | None = None

    def start(self) -> None:
        """Everything, in order; returns when all of it is ready."""
        files = self.folder / "control-plane"
        if self.machine is None or self.dns is None:
            self.control_plane = ControlPlane(self.programs, files)
            self.control_plane.start()
            return
        self.machine.start()
        self.control_plane = ControlPlane(
            self.programs,
            files,
            address=self.machine.host_address,
            services=self.machine.services,
            scheduler=True,
        )
        self.control_plane.start()
        self.node = Node(self.programs, self.dns, self.machine, self.control_plane)
        self.node.start()

    def stop(self) -> None:
        """Everything: first the node's machine, and with it each pod. Nothing is left behind."""
        for part in (self.machine, self.control_plane):
            if part is not None:
                part.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order of a user."""
        assert self.control_plane is not None
        if order["do"] == "describe":
            return self._description()
        parts = self.control_plane.parts
        if order.get("part") not in parts:
            raise ClusterError(f"no part {order.get('part')!r}", f"there are {', '.join(parts)}")
        part = parts[order["part"]]
        match order["do"]:
            case "start" if part is self.control_plane.api_server:
                self.control_plane.start_api_server()
            case "start":
                part.start()
            case "stop" | "kill" as how:
                part.stop(kill=how == "kill")
            case "freeze":
                part.freeze()
            case "thaw":
                part.thaw()
            case other:
                raise ClusterError(f"no order {other!r}")
        return {"pid": part.pid}

    def _description(self) -> dict[str, Any]:
        assert self.control_plane is not None
        return {
            "folder": str(self.folder),
            "programs": str(self.programs),
            "kubeconfig": str(self.control_plane.kubeconfig),
            "server": self.control_plane.server,
            "address": self.control_plane.address,
            "processes": {name: one.pid for name, one in self.control_plane.parts.items()},
            "containerd": str(self.node.containerd_socket) if self.node else None,
        }


def serve(listener: socket.socket, keeper: Keeper) -> list[socket.socket]:
    """Answer until the last user has gone; the connections that still wait for the end."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    users: dict[socket.socket, bytes] = {}
    first_until = time.monotonic() + FIRST_WITHIN
    ever = False
    while users or (not ever and time.monotonic() < first_until):
        leaving = []
        for key, _ in selector.select(timeout=1):
            if key.fileobj is listener:
                user, _ = listener.accept()
                selector.register(user, selectors.EVENT_READ)
                users[user] = b""
                ever = True
                continue
            user = key.fileobj  # type: ignore[assignment]
            with contextlib.suppress(ConnectionError):
                if received := user.recv(65536):
                    users[user] = _answer(user, users[user] + received, keeper)
                    continue
            selector.unregister(user)
            del users[user]
            leaving.append(user)
        if users:
            for one in leaving:
                one.close()
        elif leaving:
            return leaving  # they wait until the cluster is gone
    return []


def _answer(user: socket.socket, received: bytes, keeper: Keeper) -> bytes:
    """Answer each whole line; what is left over waits for the rest of it."""
    *lines, rest = received.split(b"\n")
    for line in lines:
        try:
            answer = keeper.obey(json.loads(line))
        except ClusterError as error:
            answer = {"what": error.what, "hint": error.hint}
        user.sendall(json.dumps(answer).encode() + b"\n")
    return rest


def main() -> int:
    """FOLDER PROGRAMS [DNS], folders all; with the third there is a node. Says `ready`, or the
    error, as one JSON line on stdout."""
    folder, programs, *dns = map(Path, sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keeper = Keeper(folder, programs, dns[0] if dns else None)
    waiting: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            keeper.start()
            listener.bind(str(folder / "socket"))
            listener.listen()
            print(json.dumps({"ready": True}), flush=True)
            os.close(1)
            waiting = serve(listener, keeper)
        except ClusterError as error:
            missing = isinstance(error, PartMissing)
            print(json.dumps({"what": error.what, "hint": error.hint, "missing": missing}))
            return 1
        finally:
            keeper.stop()
            for user in waiting:
                user.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
