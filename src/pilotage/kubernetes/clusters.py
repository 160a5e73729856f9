"""The clusters that tools may use, by name, and what they may touch there.

    clusters:                            # in the settings file; nothing else names a cluster
      test: {context: kind-test}         # of $KUBECONFIG or ~/.kube/config
      prod:
        kubeconfig: /etc/pilotage/prod.kubeconfig
        namespaces: [shop, "team-*"]     # globs; left out: all that the account may
        kinds: [deployments.apps, services]
        secrets: redact                  # show their keys without values; left out: refuse
        tenants: any                     # runs of a namespace may leave it; left out: own
      here: {pod: true}                  # the cluster around this pod, by its service account

A pod whose settings name no cluster has one, "in-cluster".
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from pilotage.domain.call import Principal, tenant_of
from pilotage.domain.errors import BadInput, Denied
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.cluster import Cluster
from pilotage.kubernetes.discovery import Discovery
from pilotage.kubernetes.kind import Kind

IN_CLUSTER = "in-cluster"
KINDS = (
    "pods",
    "services",
    "configmaps",
    "events",
    "events.events.k8s.io",
    "persistentvolumeclaims",
    "endpoints",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "replicasets.apps",
    "jobs.batch",
    "cronjobs.batch",
    "ingresses.networking.k8s.io",
    "horizontalpodautoscalers.autoscaling",
    "poddisruptionbudgets.policy",
)
"""What tools may touch where the settings say nothing: workloads and what belongs to them. No
Secrets, no rights (RBAC), nothing that is the cluster's own, and none of our own resources: who may
write those decides which tools there are and who has approved what."""


class Declared(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A cluster as the settings name it: by kubeconfig and context, or `pod`."""

    context: str | None = None
    kubeconfig: str | None = None
    pod: bool = False
    namespaces: tuple[str, ...] = ("*",)
    kinds: tuple[str, ...] = KINDS
    secrets: Literal["refuse", "redact"] = "refuse"
    tenants: Literal["own", "any"] = "own"


@dataclass(frozen=True, slots=True)
class Place:
    """One cluster in use: who talks to it, what it serves, and what may be touched. `tenant`: the
    namespace that nothing of this call may leave; "": all that the bounds allow."""

    name: str
    client: Client
    discovery: Discovery
    bounds: Declared
    tenant: str = ""

    @property
    def namespace(self) -> str:
        """Where something is that names no namespace."""
        return self.tenant or self.client.cluster.namespace

    def check(self, kind: Kind, namespace: str | None) -> None:
        """Denied, with what is allowed, for what is out of bounds."""
        bounds = self.bounds
        secret = kind.resource == "secrets" and bounds.secrets == "redact"
        if not secret and not any(
            fnmatch.fnmatchcase(kind.resource, glob) for glob in bounds.kinds
        ):
            more = ", or secrets: redact" if kind.resource == "secrets" else ""
            raise Denied(
                f"{kind.resource} of the cluster {self.name} are not for tools",
                f"allowed: {', '.join(bounds.kinds)}; "
                f"settings file: clusters.{self.name}.kinds{more}",
            )
        if namespace is not None:
            self.check_namespace(namespace)
        elif self.tenant:
            raise self._left(f"{kind.resource}, which are in none")

    def check_namespace(self, namespace: str) -> None:
        """Denied, with what is allowed, for a namespace that is out of bounds."""
        if not any(fnmatch.fnmatchcase(namespace, glob) for glob in self.bounds.namespaces):
            raise Denied(
                f"the namespace {namespace} of the cluster {self.name} is not for tools",
                f"allowed: {', '.join(self.bounds.namespaces)}; "
                f"settings file: clusters.{self.name}.namespaces",
            )
        if self.tenant and namespace != self.tenant:
            raise self._left("all of them" if namespace == "*" else namespace)

    def _left(self, what: str) -> Denied:
        return Denied(
            f"a run of the namespace {self.tenant} touches that namespace only, not {what}",
            f"settings file: clusters.{self.name}.tenants: any",
        )


class Clusters:
    """Each is reached when it is first asked for, and kept until `close`."""

    def __init__(self, declared: Mapping[str, Any], account: Path = kubeconfig.ACCOUNT) -> None:
        self._given, self._account = declared, account
        self._open: dict[str, Place] = {}

    def names(self) -> list[str]:
        """The clusters that there are."""
        if self._given:
            return sorted(self._given)
        return [IN_CLUSTER] if self._account.is_dir() else []

    def get(self, name: str, by: Principal) -> Place:
        """One of them, as `by` may use it; "": the only one. BadInput names those that there are.
        A run that a namespace of a cluster has begun keeps to that namespace, in whichever cluster,
        unless the settings let its like go anywhere."""
        known = self.names()
        if not name and len(known) == 1:
            name = known[0]
        if name not in known:
            there = f"known: {', '.join(known)}" if known else "the settings file names none"
            what = f"there is no cluster {name!r}" if name else "which cluster is meant?"
            raise BadInput(what, f"{there} (clusters: in the settings file)")
        if name not in self._open:
            bounds = _declared(name, self._given.get(name, {"pod": True}))
            client = Client(self._find(bounds))
            self._open[name] = Place(name, client, Discovery(client), bounds)
        place, tenant = self._open[name], tenant_of(by)
        if tenant is None or place.bounds.tenants == "any":
            return place
        return replace(place, tenant=tenant.namespace)

    def _find(self, bounds: Declared) -> Cluster:
        if bounds.pod:
            return kubeconfig.inside(self._account)
        return kubeconfig.find(bounds.context, bounds.kubeconfig)

    async def close(self) -> None:
        """In the event loop that used them."""
        while self._open:
            _, place = self._open.popitem()
            await place.client.close()


def _declared(name: str, given: Any) -> Declared:
    try:
        found = msgspec.convert(given, Declared)
    except msgspec.ValidationError as error:
        known = ", ".join(Declared.__struct_fields__)
        raise BadInput(
            f"clusters.{name} in the settings file: {error}", f"known: {known}"
        ) from None
    if found.pod and (found.context or found.kubeconfig):
        raise BadInput(f"clusters.{name} in the settings file: pod, and a kubeconfig")
    return found
