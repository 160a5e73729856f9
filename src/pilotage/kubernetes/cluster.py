"""Where a cluster is and how it is entered: what a kubeconfig or a pod's service account says."""

from __future__ import annotations

from dataclasses import dataclass, field

from pilotage.kubernetes.credentials import Credential
from pilotage.kubernetes.tls import Trust


@dataclass(frozen=True, slots=True)
class Cluster:
    """`name` is the context's. `namespace` is where things are if nobody says where."""

    name: str
    server: str
    credential: Credential
    trust: Trust = field(default_factory=Trust)
    namespace: str = "default"
    proxy: str | None = None
