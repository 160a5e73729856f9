"""Whose a host is, by its name in the cluster's DNS. Pure."""

from __future__ import annotations

import ipaddress

from pilotage.domain.errors import Denied
from pilotage.domain.text import visible

_INSIDE = ("svc", "pod")


def elsewhere(host: str, namespace: str, domain: str = "") -> str:
    """The other namespace into which a name of the cluster leads, NAME.NAMESPACE.svc and what is
    below; or may lead, where the cluster's `domain` is not given. "": none."""
    labels = _plain(host).split(".")
    ends = ([], _plain(domain).split(".")) if domain else ()
    for at in range(1, len(labels)):
        inside = labels[at] in _INSIDE and (not ends or labels[at + 1 :] in ends)
        if inside and labels[at - 1] != namespace:
            return labels[at - 1] or "of no name"
    return ""


def check_own(host: str, namespace: str) -> None:
    """Denied for what is, or may be, a Service or a pod of another namespace: its name, also where
    it is cut short, and an address. Not this machine: what opens that is the guard's setting."""
    if _is_address(host):
        if not ipaddress.ip_address(host).is_loopback:
            what = f"{host} says not whose it is, and a run of the namespace {namespace} asks only"
            raise Denied(f"{what} its own and what is outside", f"NAME.{namespace}.svc")
        return
    host = visible(host)
    if whose := elsewhere(host, namespace):
        what = f"{host} is in the namespace {whose}, and this run in {namespace}"
        raise Denied(what, f"ask from {whose}, or a name of {namespace}")
    labels = host.split(".")
    if len(labels) == 1 and host != "localhost":
        what = f"{host} is a name in the server's own namespace, and this run is in {namespace}"
        raise Denied(what, f"{host}.{namespace}.svc")
    if len(labels) == 2 and labels[1] not in ("", namespace):
        what = f"{host} may be in the namespace {labels[1]}, and this run is in {namespace}"
        raise Denied(what, f"{host}. with a dot at its end is outside of the cluster")


def resolved(host: str, namespace: str) -> str:
    """The name as it is asked of a resolver: from the root, so that no list of domains that the
    server's pod searches makes it one of the cluster; unless it is one of this namespace."""
    labels = _plain(host).split(".")
    own = (len(labels) == 2 and labels[1] == namespace) or set(labels[1:]) & set(_INSIDE)
    if own or labels == ["localhost"] or _is_address(host):
        return host
    return f"{_plain(host)}."


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _plain(host: str) -> str:
    return host.lower().strip(".")
