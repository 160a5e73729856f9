"""Run the Kubernetes operator: MCPTools of a cluster become tools of the server."""

from __future__ import annotations

import argparse
import asyncio

from pilotage import config, log
from pilotage.operator.runtime import options


def register(parser: argparse.ArgumentParser) -> None:
    options.add_flags(parser)
    add = parser.add_argument
    add("--cluster-name", default="", metavar="NAME", help="at the server (default: its own UID)")
    add("--cluster-domain", default="cluster.local", metavar="NAME", help="of Services' names")
    add("--service-addresses", choices=("dns", "ip"), default="dns", help="how they are called")
    add("--server-namespace", default="mcp-system", metavar="NAME", help="of the server's pods")
    add("--key-secret", default="", metavar="NAME", help="there, with our key: no pod gets it")
    add("--server-cluster", default="", metavar="NAME", help="this one, in the server's settings")
    add("--sweep-seconds", type=float, default=30.0, metavar="S", help="between comparisons")
    add("--secret-seconds", type=float, default=60.0, metavar="S", help="Secrets are read again")
    add("--group", default="mcp.example.com", metavar="NAME", help="API group of the resources")
    refuse = "those in MCPPipelineRuns do not count: no admission policy ties them to who writes"
    add("--refuse-approvals", action="store_true", help=refuse)


def run(arguments: argparse.Namespace) -> int:
    from pilotage.operator.start import Names, serve

    settings = config.read(file=arguments.settings)
    log.install(settings)
    names = Names(
        cluster=arguments.cluster_name,
        domain=arguments.cluster_domain,
        group=arguments.group,
        server=arguments.server_namespace,
        known=arguments.server_cluster,
        addresses=arguments.service_addresses,
        sweep=arguments.sweep_seconds,
        refresh=arguments.secret_seconds,
        untied=arguments.refuse_approvals,
        key=arguments.key_secret,
    )
    asyncio.run(serve(settings, options.of(arguments), names))  # no uvloop: see Transport.shut
    return 0
