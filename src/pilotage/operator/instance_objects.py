"""The objects that an MCPToolInstance stands for. Pure: a spec in, objects out.

They fit the restricted pod security standard as they are.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.kubernetes import restricted
from pilotage.kubernetes.kind import (
    DEPLOYMENT,
    NETWORK_POLICY,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
    Object,
    there,
)
from pilotage.operator.resources import MANAGER

PORT = "mcp"
DRAIN_SECONDS = 3
"""So long a pod that is to end answers on, while the cluster takes it out of its Service."""
_RESOURCES = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
_DNS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of the cluster the objects depend on. `server` selects the pods of the tool server, as a
    peer of a NetworkPolicy; `label` is the key of the label that pods are selected by."""

    server: Mapping[str, Any]
    label: str


def made(object: Object, here: Surroundings, config: str) -> list[tuple[Kind, Object]]:
    """All of them, in the order in which they are applied. `config` changes when the Secrets and
    ConfigMaps that the pods read do, which rolls the pods."""
    return [
        (SERVICE_ACCOUNT, {"automountServiceAccountToken": False, **_head(object, here)}),
        (NETWORK_POLICY, {"spec": _network(object["spec"], object, here), **_head(object, here)}),
        (SERVICE, {"spec": _service(object["spec"], object, here), **_head(object, here)}),
        (DEPLOYMENT, {"spec": _deployment(object, here, config), **_head(object, here)}),
    ]


def selector(object: Object, here: Surroundings) -> dict[str, str]:
    """The labels that its pods are known by, and no others."""
    return {here.label: object["metadata"]["name"]}


def digest(parts: Iterable[str]) -> str:
    """What rolls the pods when it changes; it says nothing of the values."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _head(object: Object, here: Surroundings) -> dict[str, Any]:
    meta = object["metadata"]
    owner = {
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": _labels(object, here),
            "ownerReferences": [owner],
        }
    }


def _labels(object: Object, here: Surroundings) -> dict[str, str]:
    name = object["metadata"]["name"]
    return {
        **selector(object, here),
        "app.kubernetes.io/name": "mcp-tool-instance",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/managed-by": MANAGER,
    }


def _network(spec: Mapping[str, Any], object: Object, here: Surroundings) -> dict[str, Any]:
    """The tool server may call it, and whom the spec names; it may ask the DNS, and call whom the
    spec names."""
    given = spec.get("network") or {}
    ports = [{"port": spec["port"], "protocol": "TCP"}]
    egress: list[dict[str, Any]] = [{"ports": _DNS}]
    egress += [
        there({"to": one["to"], "ports": one.get("ports")}) for one in given.get("egressTo", ())
    ]
    return {
        "podSelector": {"matchLabels": selector(object, here)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [dict(here.server), *given.get("ingressFrom", ())], "ports": ports}],
        "egress": egress,
    }


def _service(spec: Mapping[str, Any], object: Object, here: Surroundings) -> dict[str, Any]:
    port = {"name": PORT, "port": spec["port"], "targetPort": PORT, "protocol": "TCP"}
    return {"type": "ClusterIP", "selector": selector(object, here), "ports": [port]}


def _deployment(object: Object, here: Surroundings, config: str) -> dict[str, Any]:
    spec = object["spec"]
    given = spec.get("podTemplate") or {}
    notes = {**given.get("annotations", {}), f"{here.label}-config": config}
    return {
        "replicas": 0 if spec.get("suspend") else spec["replicas"],
        "selector": {"matchLabels": selector(object, here)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "progressDeadlineSeconds": 300,
        "revisionHistoryLimit": 3,
        "template": {
            "metadata": {
                "labels": {**given.get("labels", {}), **_labels(object, here)},
                "annotations": notes,
            },
            "spec": _pod(object, given),
        },
    }


def _pod(object: Object, given: Mapping[str, Any]) -> dict[str, Any]:
    spec = object["spec"]
    return there(
        {
            "serviceAccountName": object["metadata"]["name"],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": restricted.POD,
            "imagePullSecrets": spec.get("imagePullSecrets"),
            "nodeSelector": given.get("nodeSelector"),
            "tolerations": given.get("tolerations"),
            "priorityClassName": given.get("priorityClassName"),
            "containers": [_container(spec)],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
        }
    )


def _container(spec: Mapping[str, Any]) -> dict[str, Any]:
    return there(
        {
            "name": PORT,
            "image": spec["image"],
            "imagePullPolicy": spec.get("imagePullPolicy"),
            "command": spec.get("command"),
            "args": spec.get("args"),
            "ports": [{"name": PORT, "containerPort": spec["port"], "protocol": "TCP"}],
            "env": [_variable(one) for one in spec.get("env", ())] or None,
            "resources": dict(spec.get("resources") or _RESOURCES),
            "readinessProbe": {
                "tcpSocket": {"port": PORT},
                "periodSeconds": 2,
                "failureThreshold": 3,
            },
            # Of Kubernetes 1.30, as the admission policy is.
            "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
            "securityContext": restricted.CONTAINER,
            "volumeMounts": restricted.MOUNTS,
        }
    )


def _variable(one: Mapping[str, Any]) -> dict[str, Any]:
    if "value" in one:
        return {"name": one["name"], "value": one["value"]}
    source = "secretKeyRef" if "secretKeyRef" in one else "configMapKeyRef"
    return {"name": one["name"], "valueFrom": {source: dict(one[source])}}
