"""etcd, the API server, the controllers and, for a node, the scheduler: real, small, on loopback.

Started in that order and stopped in the reverse: an API server whose etcd is gone hangs and keeps
its port. Every file lies in one folder. RBAC is on, and so are all admission plugins.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cluster.error import ClusterError
from cluster.program import Program, answers, free_port

LOOPBACK = "127.0.0.1"
SERVICES = "10.90.0.0/24"
"""The addresses of Services: only a node's kube-proxy makes them mean anything."""
OPERATOR = "mcp-system/mcp-operator"
"""The service account that has a token, and a context of the kubeconfig, from the start."""


class ControlPlane:
    """The programs of a control plane, their files and their kubeconfig.

    `address` is where the API server listens. `service_accounts` (namespace/name) get a token that
    is valid before the account exists; what it may do is up to RBAC, as in any cluster.
    """

    def __init__(
        self,
        programs: Path,
        folder: Path,
        *,
        address: str = LOOPBACK,
        services: str = SERVICES,
        scheduler: bool = False,
        service_accounts: Sequence[str] = (OPERATOR,),
    ) -> None:
        self._programs = programs
        self.folder = folder
        self.address = address
        self.services = services
        self.port = free_port(address)
        self.server = f"https://{address}:{self.port}"
        self.kubeconfig = folder / "kubeconfig"
        self._tokens = {name: secrets.token_hex(16) for name in ("admin", *service_accounts)}
        self._etcd, self._peer, self._controllers, self._scheduler = _ports(4)
        self.etcd = self._program("etcd", self._etcd_flags())
        self.api_server = self._program("kube-apiserver", self._api_server_flags())
        self.controller_manager = self._program(
            "kube-controller-manager", self._controller_manager_flags()
        )
        self.scheduler = self._program("kube-scheduler", self._scheduler_flags())
        self._parts = [self.etcd, self.api_server, self.controller_manager]
        if scheduler:
            self._parts.append(self.scheduler)

    @property
    def certificate(self) -> Path:
        """What a client trusts: the API server's own certificate, made when it first starts."""
        return self.folder / "certs/apiserver.crt"

    @property
    def parts(self) -> Mapping[str, Program]:
        """Its programs by name, in the order of their start."""
        return {one.name: one for one in self._parts}

    def start(self) -> None:
        """Start everything and return when all of it is ready. What fails stops the rest."""
        self._write_files()
        try:
            self.etcd.start()
            self.etcd.wait_until(lambda: answers(LOOPBACK, self._etcd, "/health", tls=False))
            self.start_api_server()
            for part in self._parts[2:]:
                part.start()
            ports = (self._controllers, self._scheduler)
            for part, port in zip(self._parts[2:], ports, strict=False):
                part.wait_until(lambda port=port: answers(LOOPBACK, port, "/healthz"))  # type: ignore[misc]
        except BaseException:
            self.stop()
            raise

    def start_api_server(self) -> None:
        """Start it (again): same port, same data, same tokens. Returns when it is ready."""
        self.api_server.start()
        self.api_server.wait_until(lambda: answers(self.address, self.port, "/readyz"))

    def stop(self) -> None:
        """End everything. Nobody needs the data any more, so nothing waits for its last write."""
        for part in reversed(self._parts):
            part.stop(kill=part is not self.etcd)

    def _program(self, name: str, flags: Mapping[str, object]) -> Program:
        argv = [str(self._programs / name), *(f"--{key}={value}" for key, value in flags.items())]
        return Program(argv, self.folder / f"{name}.log", {**os.environ, "HOME": str(self.folder)})

    def _etcd_flags(self) -> dict[str, object]:
        client, peer = (f"http://{LOOPBACK}:{port}" for port in (self._etcd, self._peer))
        return {
            "data-dir": self.folder / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        }

    def _api_server_flags(self) -> dict[str, object]:
        return {
            "etcd-servers": f"http://{LOOPBACK}:{self._etcd}",
            "cert-dir": self.folder / "certs",
            "bind-address": self.address,
            "advertise-address": self.address,
            "secure-port": self.port,
            "service-account-issuer": f"{self.server}/",
            "service-account-key-file": self.folder / "sa.pub",
            "service-account-signing-key-file": self.folder / "sa.key",
            "service-cluster-ip-range": self.services,
            "authorization-mode": "RBAC",
            "token-auth-file": self.folder / "tokens.csv",
            "allow-privileged": "true",
            "kubelet-preferred-address-types": "InternalIP",
            "profiling": "false",
        }

    def _controller_manager_flags(self) -> dict[str, object]:
        return {
            **self._client_flags(self._controllers),
            "service-account-private-key-file": self.folder / "sa.key",
            "root-ca-file": self.certificate,
            # Its limits are for a control plane that many share; 20 a second would time our tests.
            "kube-api-qps": 200,
            "kube-api-burst": 400,
        }

    def _scheduler_flags(self) -> dict[str, object]:
        return self._client_flags(self._scheduler)

    def _client_flags(self, port: int) -> dict[str, object]:
        return {
            "kubeconfig": self.kubeconfig,
            "leader-elect": "false",
            "bind-address": LOOPBACK,
            "secure-port": port,
            "authentication-skip-lookup": "true",
            "profiling": "false",
        }

    def _write_files(self) -> None:
        """The key of service accounts, the tokens and the kubeconfig: for this user's eyes only."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        _write(self.folder / "sa.key", private)
        _write(self.folder / "sa.pub", public)
        _write(self.folder / "tokens.csv", "".join(self._token_lines()).encode())
        _write(self.kubeconfig, yaml.safe_dump(self._kubeconfig(), sort_keys=False).encode())

    def _token_lines(self) -> Iterator[str]:
        for name, token in self._tokens.items():
            if name == "admin":
                yield f'{token},admin,uid-admin,"system:masters"\n'
                continue
            namespace, account = name.split("/")
            groups = f"system:serviceaccounts,system:serviceaccounts:{namespace}"
            user = f"system:serviceaccount:{namespace}:{account}"
            yield f'{token},{user},uid-{account},"{groups}"\n'

    def _kubeconfig(self) -> dict[str, object]:
        """Contexts: `admin` (the current one), and one for each service account, by its name."""
        users = {name.rpartition("/")[2]: token for name, token in self._tokens.items()}
        if len(users) < len(self._tokens):
            raise ClusterError("two service accounts share a name", "give each its own")
        cluster = {"server": self.server, "certificate-authority": str(self.certificate)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "admin",
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}} for name, token in users.items()],
            "contexts": [
                {"name": name, "context": {"cluster": "cluster", "user": name}} for name in users
            ],
        }


def _ports(count: int) -> list[int]:
    """Different ports on loopback."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port(LOOPBACK))
    return list(ports)


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
