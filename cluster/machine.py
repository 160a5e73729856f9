"""The machine that a node runs on: namespaces of its own for network, mounts and processes.

Bridge, pods' addresses, kube-proxy's rules, mounts and every process of a pod live in there. The
kernel takes all of it away when the machine's first process dies, and that one dies with whoever
started it. On this side there is one end of a cable (a veth pair) and a folder of cgroups.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.error import ClusterError, PartMissing
from cluster.program import STOP_WITHIN, Program

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
"""Program -> the Debian package that has it."""
CNI = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CGROUPS = Path("/sys/fs/cgroup")


class Machine:
    """One machine beside this one. `host_address` is this side of the cable, `address` the other;
    both see each other, and this side reaches `pods` and Services through it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = -1
        self._first = Program(
            [
                *("unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork"),
                *("--mount-proc", "--kill-child"),
                # The first process of a machine: it waits for its orphans, and does nothing else.
                *("sh", "-c", "echo up; while :; do sleep 100000; done"),
            ],
            folder / "machine.log",
        )

    @property
    def name(self) -> str:
        """Of the cable's end and of the cgroups: one a cluster."""
        return f"cluster{self.number}"

    @property
    def host_address(self) -> str:
        return f"10.89.{self.number}.1"

    @property
    def address(self) -> str:
        return f"10.89.{self.number}.2"

    @property
    def pods(self) -> str:
        """The network of its pods."""
        return f"10.88.{self.number}.0/24"

    @property
    def services(self) -> str:
        """The network of the cluster's Services."""
        return f"10.90.{self.number}.0/24"

    def start(self) -> None:
        """Boot it and plug in the cable. PartMissing says what this machine lacks for that."""
        require()
        self.folder.mkdir(parents=True)
        try:
            self._first.start()
            self._first.wait_until(lambda: "up" in self._first.log.read_text(), "up")
            self._plug_in()
            self._prepare()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Pull the plug: every process in it is killed, its mounts and its network are gone."""
        with contextlib.suppress(ClusterError, OSError, IndexError):
            last = os.pidfd_open(self._first_pid())  # it ends after all others of its namespace
            self._first.stop(kill=True)
            select.select([last], [], [], STOP_WITHIN)
            os.close(last)
        self._first.stop(kill=True)
        if self.number >= 0:
            subprocess.run(["ip", "link", "delete", self.name], capture_output=True)
            _remove_cgroups(self.name)
            self.number = -1

    def inside(self, argv: Sequence[str | Path]) -> list[str]:
        """The command that runs `argv` on that machine."""
        first = str(self._first_pid())
        return ["nsenter", "-t", first, "--net", "--mount", "--pid", "--", *map(str, argv)]

    def run(self, *argv: str | Path) -> str:
        """Run a command there; what it printed."""
        return _run(self.inside(argv))

    def _first_pid(self) -> int:
        """The first process' number on this side: the only child of unshare."""
        unshare = self._first.pid
        if unshare is None:
            raise ClusterError("the node's machine is not running")
        return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()[0])

    def _plug_in(self) -> None:
        """Lay the cable. The name is the lock: the kernel gives each number to one cluster."""
        first = str(self._first_pid())
        for self.number in range(256):
            cable = ["ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0"]
            laid = subprocess.run([*cable, "netns", first], capture_output=True, text=True)
            if laid.returncode == 0:
                break
            if "File exists" not in laid.stderr:
                self.number = -1
                raise PartMissing("no veth pair can be made", laid.stderr.strip())
        else:
            self.number = -1
            raise ClusterError("256 clusters run already", "stop one: ip link show type veth")
        _run(["ip", "address", "add", f"{self.host_address}/30", "dev", self.name])
        _run(["ip", "link", "set", self.name, "up"])
        self.run("ip", "address", "add", f"{self.address}/30", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "route", "add", "default", "via", self.host_address)
        for network in (self.pods, self.services):
            _run(["ip", "route", "add", network, "via", self.address])

    def _prepare(self) -> None:
        """What its programs expect of a machine: forwarding, and folders nobody else writes to."""
        self.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        for seen in ("/var/lib", "/var/log"):
            upper, work = (self.folder / kind / seen.strip("/") for kind in ("upper", "work"))
            upper.mkdir(parents=True)
            work.mkdir(parents=True)
            options = f"lowerdir={seen},upperdir={upper},workdir={work}"
            self.run("mount", "-t", "overlay", "overlay", "-o", options, seen)
        for controller in _controllers():
            (controller / self.name).mkdir(exist_ok=True)


def require() -> Path:
    """PartMissing if this machine cannot have a node; else the folder of the CNI plugins."""
    if os.getuid() != 0:
        raise PartMissing("a node needs root", "run as root, or go without: make cluster NODE=no")
    packages = {of for program, of in PACKAGES.items() if shutil.which(program) is None}
    plugins = next((one for one in CNI if (one / "bridge").exists()), None)
    if plugins is None:
        packages.add("containernetworking-plugins")
    if packages or plugins is None:
        missing = " ".join(sorted(packages))
        raise PartMissing(f"a node needs {missing}", f"apt-get install {missing}")
    return plugins


def _controllers() -> list[Path]:
    """The roots of the cgroup hierarchies: one (version 2), or one a controller (version 1)."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [one for one in CGROUPS.iterdir() if one.is_dir() and not one.is_symlink()]


def _remove_cgroups(name: str) -> None:
    """Remove a folder of cgroups; its processes were killed, which may need a moment."""
    until = time.monotonic() + 10
    for controller in _controllers():
        folders = [Path(at) for at, _, _ in os.walk(controller / name, topdown=False)]
        for folder in folders:
            while folder.exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                if time.monotonic() > until:
                    raise ClusterError(f"{folder} is in use", "see who: cat its cgroup.procs")
                time.sleep(0.02)


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise ClusterError(f"{' '.join(argv)} failed ({done.returncode})", done.stderr.strip())
    return done.stdout
