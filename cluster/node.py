"""A real node: containerd, CNI plugins, kubelet, kube-proxy, CoreDNS, on a machine of its own.

Its name is `node-1`. It has no registry: import an image (`cluster.images`), and let pods use
`imagePullPolicy: Never`. NetworkPolicies are kept but not enforced: the bridge plugin has no such
part. CoreDNS runs beside the kubelet, not in a pod, and knows the cluster's names alone.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import yaml

from cluster.control_plane import ControlPlane
from cluster.error import ClusterError
from cluster.images import pause_image
from cluster.machine import Machine, require
from cluster.program import Program, answers

NAME = "node-1"
KUBELET, KUBELET_HEALTH, PROXY_HEALTH, DNS_HEALTH = 10250, 10248, 10256, 8181
DOMAIN = "cluster.local"


class Node:
    """A node of this control plane, which must listen on `machine.host_address`."""

    def __init__(
        self, programs: Path, dns: Path, machine: Machine, control_plane: ControlPlane
    ) -> None:
        self.folder = machine.folder / "node"
        self._machine = machine
        self._control_plane = control_plane
        self._kubectl = programs / "kubectl"
        self.containerd = self._program("containerd", "containerd", "--config", "containerd.toml")
        self.kubelet = self._program(
            "kubelet",
            programs / "kubelet",
            "--config=kubelet.yaml",
            f"--kubeconfig={control_plane.kubeconfig}",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/kubelet/pki",
            f"--hostname-override={NAME}",
            f"--node-ip={machine.address}",
        )
        self.proxy = self._program(
            "kube-proxy",
            programs / "kube-proxy",
            f"--kubeconfig={control_plane.kubeconfig}",
            "--proxy-mode=iptables",
            f"--hostname-override={NAME}",
            f"--cluster-cidr={machine.pods}",
            f"--healthz-bind-address={machine.address}:{PROXY_HEALTH}",
            "--metrics-bind-address=127.0.0.1:10249",
            # Conntrack's limits are the whole kernel's: leave them as they are.
            "--conntrack-max-per-core=0",
            "--conntrack-min=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        )
        self.dns = self._program("coredns", dns / "coredns", "-conf", "Corefile")

    @property
    def containerd_socket(self) -> Path:
        """Where `ctr --address` finds it, on either side of the cable."""
        return self.folder / "containerd.sock"

    def start(self) -> None:
        """Start its programs; returns when the node is Ready and answers for Services.

        They are not stopped one by one: they end with their machine.
        """
        self._write_files()
        self.containerd.start()
        self.containerd.wait_until(self.containerd_socket.exists)
        pause = pause_image(self.folder / "pause.tar")
        import_image(self.containerd_socket, pause)
        self.kubelet.start()
        self.proxy.start()
        self.dns.start()
        address = self._machine.address
        self.kubelet.wait_until(lambda: answers(address, KUBELET_HEALTH, "/healthz", tls=False))
        self.proxy.wait_until(lambda: answers(address, PROXY_HEALTH, "/healthz", tls=False))
        self.dns.wait_until(lambda: answers(address, DNS_HEALTH, "/ready", tls=False))
        self.kubelet.wait_until(self._is_ready, "a Ready node")

    def _is_ready(self) -> bool:
        """Whether the API server says that the node is Ready."""
        config = f"--kubeconfig={self._control_plane.kubeconfig}"
        argv = [str(self._kubectl), config, "get", "node", NAME, "-o", "json"]
        done = subprocess.run(argv, capture_output=True)
        if done.returncode:
            return False
        conditions = json.loads(done.stdout)["status"].get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _program(self, name: str, *argv: str | Path) -> Program:
        """A program of that machine, started in its folder. `inside` needs the machine to run."""
        there = self._machine.inside(
            ["sh", "-c", 'cd "$0" && exec "$@"', self.folder, *argv],
        )
        return Program(there, self.folder / f"{name}.log", {**os.environ, "HOME": str(self.folder)})

    def _write_files(self) -> None:
        (self.folder / "cni").mkdir(parents=True)
        (self.folder / "kubelet").mkdir()
        (self.folder / "containerd.toml").write_text(self._containerd())
        (self.folder / "Corefile").write_text(self._corefile())
        (self.folder / "kubelet.yaml").write_text(yaml.safe_dump(self._kubelet()))
        (self.folder / "cni/10-bridge.conflist").write_text(json.dumps(self._network()))

    def _containerd(self) -> str:
        """restrict_oom_score_adj: runc dies where the score cannot be lowered (in a container)."""
        return f"""version = 2
root = "{self.folder}/containerd"
state = "/run/containerd"
[grpc]
  address = "{self.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{require()}"
    conf_dir = "{self.folder}/cni"
"""

    def _network(self) -> dict[str, object]:
        """isDefaultGateway: without that route no pod reaches a Service. hairpinMode: a pod reaches
        itself through its own Service."""
        bridge = {
            "type": "bridge",
            "bridge": "pods",
            "isDefaultGateway": True,
            "hairpinMode": True,
            "ipMasq": False,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": self._machine.pods}]]},
        }
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}

    def _corefile(self) -> str:
        address = self._machine.address
        return f"""{DOMAIN} in-addr.arpa {{
    bind {address}
    ready {address}:{DNS_HEALTH}
    errors
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {self._control_plane.kubeconfig}
    }}
}}
"""

    def _kubelet(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self._machine.address,
            "port": KUBELET,
            "healthzBindAddress": self._machine.address,
            "healthzPort": KUBELET_HEALTH,
            "readOnlyPort": 0,
            # Only the API server can reach it: the cable ends on this machine.
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self.containerd_socket}",
            "podLogsDir": f"{self.folder}/pod-logs",
            "volumePluginDir": f"{self.folder}/volume-plugins",
            "clusterDNS": [self._machine.address],
            "clusterDomain": DOMAIN,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._machine.name}",
            "cgroupsPerQOS": True,
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            # The disk is the whole machine's: a full one must not evict a test's pods.
            "evictionHard": {"memory.available": "100Mi"},
            "imageGCHighThresholdPercent": 100,
            "serializeImagePulls": True,
        }


def import_image(containerd: Path, archive: Path) -> None:
    """Give the node an image (a docker-archive)."""
    argv = ["ctr", f"--address={containerd}", "--namespace=k8s.io", "images", "import"]
    done = subprocess.run([*argv, str(archive)], capture_output=True, text=True)
    if done.returncode:
        raise ClusterError(f"{archive} is not imported", done.stderr.strip())
