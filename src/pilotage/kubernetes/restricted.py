"""What pods of ours are: they fit the restricted pod security standard.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from typing import Any

USER = 65532
"""Whom the container runs as: nobody, as in distroless images."""
POD: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The securityContext of the pod."""
CONTAINER: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""That of its container."""
MOUNTS = [{"name": "tmp", "mountPath": "/tmp"}]
"""Where it may write: its volume "tmp"."""
