"""The flags of an operator's process, as kubebuilder's main.go has them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

from pilotage.operator.runtime.lease import Times


@dataclass(frozen=True, slots=True)
class Options:
    """How the process runs. No namespaces: all. `lease_namespace`: where the Lease lies."""

    metrics: str = ":8080"
    health: str = ":8081"
    leader_elect: bool = False
    namespaces: tuple[str, ...] = ()
    workers: int = 4
    kubeconfig: str | None = None
    context: str | None = None
    lease_namespace: str = ""
    times: Times = field(default_factory=Times)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that `of` reads."""
    default, times = Options(), Times()
    text = parser.add_argument_group("operator")
    add = text.add_argument
    add("--metrics-bind-address", default=default.metrics, metavar="ADDRESS", help="0: none")
    add("--health-probe-bind-address", default=default.health, metavar="ADDRESS", help="0: none")
    add("--leader-elect", action="store_true", help="of several processes, one acts")
    add("--watch-namespaces", default="", metavar="A,B", help="only these; none: all")
    add("--max-concurrent-reconciles", type=_count, default=default.workers, metavar="N")
    add("--kubeconfig", metavar="FILE", help="instead of the cluster around this pod")
    add("--context", metavar="NAME", help="of the kubeconfig")
    add("--leader-election-namespace", default="", metavar="NAME", help="else the pod's own")
    add("--leader-elect-lease-duration", type=float, default=times.duration, metavar="SECONDS")
    add("--leader-elect-renew-deadline", type=float, default=times.renew, metavar="SECONDS")
    add("--leader-elect-retry-period", type=float, default=times.retry, metavar="SECONDS")


def of(given: argparse.Namespace) -> Options:
    """What the flags say. BadInput where the times of the lease make no sense."""
    return Options(
        given.metrics_bind_address,
        given.health_probe_bind_address,
        given.leader_elect,
        tuple(sorted({each.strip() for each in given.watch_namespaces.split(",")} - {""})),
        given.max_concurrent_reconciles,
        given.kubeconfig,
        given.context,
        given.leader_election_namespace,
        Times(
            given.leader_elect_lease_duration,
            given.leader_elect_renew_deadline,
            given.leader_elect_retry_period,
        ),
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
