"""The manifests that tests deploy: a web server of a page, its settings and its Service."""

from __future__ import annotations

from typing import Any

LABELS = {"app": "web"}


def web(
    image: str = "localhost/web", replicas: int = 2, path: str = "/", **container: Any
) -> dict[str, Any]:
    """A Deployment. Its image has no tag; `path` is what its readiness probe asks for."""
    probe = {"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1}
    one = {
        "name": "web",
        "image": image,
        "imagePullPolicy": "Never",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": probe,
        **container,
    }
    spec = {"terminationGracePeriodSeconds": 1, "containers": [one]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": LABELS},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": spec},
        },
    }


def service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": 8080}]},
    }


def settings(**data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"},
        "data": data,
    }
