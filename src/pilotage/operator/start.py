"""The operator's process: one controller a kind, one tool server, one sweep."""

from __future__ import annotations

from dataclasses import dataclass

from pilotage.ci.client import Client as ServerClient
from pilotage.config import Settings
from pilotage.domain.errors import BadInput
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import ApiError
from pilotage.kubernetes.kind import NAMESPACE
from pilotage.operator.mcptool import Tools
from pilotage.operator.registrar import SWEEP_SECONDS, Member, Registrar
from pilotage.operator.resources import GROUP, Resources
from pilotage.operator.runtime.controller import Settings as Pace
from pilotage.operator.runtime.host import Host
from pilotage.operator.runtime.informer import Change
from pilotage.operator.runtime.options import Options
from pilotage.operator.status import StatusWriter
from pilotage.operator.tool_server import ToolServer

COMPONENT = "pilotage-operator"
PACE = (0.05, 300.0)
"""Seconds between tries at one object: at first, and at most."""


@dataclass(frozen=True, slots=True)
class Names:
    """How the cluster is called. `cluster` is its name at the tool server, "" for one of its own
    (the UID of kube-system); `domain` is that of its Services' names."""

    cluster: str = ""
    domain: str = "cluster.local"
    group: str = GROUP
    sweep: float = SWEEP_SECONDS


async def serve(settings: Settings, options: Options, names: Names) -> None:
    """Run until SIGTERM. Raises what the host raises (see Host.run)."""
    if not settings.text("mcp.serverUrl"):
        raise BadInput("the operator needs a tool server", "MCP_SERVER_URL and MCP_API_KEY")
    resources = Resources(names.group)
    host = Host(
        kubeconfig.find(options.context, options.kubeconfig),
        options,
        component=COMPONENT,
        lease=f"mcp-operator.{names.group}",
    )
    async with ServerClient(settings) as client:
        cluster = names.cluster or await _own_name(host.client)
        registrar = Registrar(ToolServer(client), host.client, cluster, names.domain)
        _add_tools(host, resources, registrar, options)
        host.job(lambda: registrar.sweep(options.namespaces, names.sweep))
        await host.run()


def _add_tools(host: Host, resources: Resources, registrar: Registrar, options: Options) -> None:
    informer = host.informer(resources.tool)
    status = StatusWriter(host.client, resources.tool, host.events)
    tools = Tools(informer.store, status, registrar, resources.finalizer)
    pace = Pace(workers=options.workers, first=PACE[0], longest=PACE[1])
    controller = host.controller("mcptool", informer, tools.reconcile, pace, when=wanted_anew)
    registrar.join(Member(controller, resources.finalizer))


def wanted_anew(change: Change) -> bool:
    """Has anything changed that a person writes, or is the object to go? Our own status and our own
    finalizer are no reason to come again."""
    if change.old is None or change.new is None:
        return True
    old, new = change.old["metadata"], change.new["metadata"]
    parts = ("uid", "generation", "deletionTimestamp", "annotations")
    return any(old.get(part) != new.get(part) for part in parts)


async def _own_name(client: Client) -> str:
    """What the cluster is called where nobody has named it."""
    try:
        system = await client.get(NAMESPACE, "kube-system")
    except ApiError as error:
        what = f"the cluster has no name, and its kube-system cannot be read: {error.what}"
        raise BadInput(
            what, "--cluster-name NAME: one that no other cluster of the server has"
        ) from None
    return str(system["metadata"]["uid"])
