"""The operator's process: one controller a kind, one tool server, one sweep."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from pilotage.ci.client import Client as ServerClient
from pilotage.config import Settings
from pilotage.domain.errors import BadInput
from pilotage.domain.pattern import pattern
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import ApiError
from pilotage.kubernetes.kind import (
    DEPLOYMENT,
    NAMESPACE,
    NETWORK_POLICY,
    SERVICE,
    SERVICE_ACCOUNT,
    key_of,
)
from pilotage.operator import mcppipeline, mcppipelinerun
from pilotage.operator.instance_objects import Surroundings
from pilotage.operator.linting import Linter
from pilotage.operator.mcptool import Tools
from pilotage.operator.mcptoolinstance import Addresses, Instances, Parts
from pilotage.operator.registrar import SECRET_SECONDS, SWEEP_SECONDS, Member, Registrar
from pilotage.operator.resources import GROUP, MANAGER, Resources
from pilotage.operator.runtime.controller import Settings as Pace
from pilotage.operator.runtime.host import Host, end_process
from pilotage.operator.runtime.informer import Change
from pilotage.operator.runtime.options import Options
from pilotage.operator.status import StatusWriter
from pilotage.operator.tool_server import ToolServer

PACE = (0.05, 300.0)
"""Seconds between tries at one object: at first, and at most."""
_NAME = pattern(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
LEASE = "mcp-operator.example.com"
"""As in the article."""
_log = logging.getLogger(__name__)
OWNED = f"app.kubernetes.io/managed-by={MANAGER}"


@dataclass(frozen=True, slots=True)
class Names:
    """How the cluster is called. `cluster` is its name at the tool server, "" for one of its own
    (the UID of kube-system); `domain` is that of its Services' names, which are called by name or
    by address. `server` is the namespace of the tool server's pods. Each `sweep` seconds what is
    declared is compared with what the server has, each `refresh` Secrets are read again.
    `known` is the cluster in the tool server's own settings, "" its only one. `untied`: approvals
    that stand in MCPPipelineRuns do not count (no admission policy ties them to their writers).
    `key` is the Secret, in the namespace of the tool server's pods, that our own key is in."""

    cluster: str = ""
    domain: str = "cluster.local"
    group: str = GROUP
    server: str = "mcp-system"
    known: str = ""
    addresses: Addresses = "dns"
    sweep: float = SWEEP_SECONDS
    refresh: float = SECRET_SECONDS
    untied: bool = False
    key: str = ""

    @property
    def peer(self) -> dict[str, Any]:
        """The tool server's pods, as a NetworkPolicy names them."""
        return {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.server}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "pilotage"}},
        }


async def serve(settings: Settings, options: Options, names: Names) -> None:
    """Run until SIGTERM. Raises what the host raises (see Host.run)."""
    if not settings.text("mcp.serverUrl"):
        raise BadInput("the operator needs a tool server", "MCP_SERVER_URL and MCP_API_KEY")
    if names.cluster and not _NAME.fullmatch(names.cluster):
        what = f"a cluster cannot be called {names.cluster!r} at the server"
        raise BadInput(what, "--cluster-name: up to 63 letters, digits, and . _ - between them")
    resources = Resources(names.group)
    host = Host(
        kubeconfig.find(options.context, options.kubeconfig),
        options,
        component=MANAGER,
        lease=LEASE,
    )
    host.lost = end_process  # nothing of us goes on beside the one who leads next
    async with ServerClient(settings, host.client.transport.socket) as client:
        cluster = names.cluster or await _own_name(host.client)
        fence = host.election.fence if host.election else lambda method: None
        server = ToolServer(client, fence)
        host.endpoints.health["key"] = lambda: server.refused
        key = settings.text("mcp.apiKey")
        at = (names.server, names.key)
        registrar = Registrar(server, host.client, cluster, names.domain, names.refresh, key, at)
        _add_tools(host, resources, registrar)
        _add_instances(host, resources, registrar, names)
        _add_pipelines(host, resources, server, Called(cluster, names.known, names.untied))
        watched = ", ".join(options.namespaces) or "all namespaces"
        _log.info("the cluster is %s at the server; watched: %s", cluster, watched)
        host.job(lambda: registrar.sweep(options.namespaces, names.sweep))
        await host.run()


def _add_tools(host: Host, resources: Resources, registrar: Registrar) -> None:
    informer = host.informer(resources.tool)
    status = StatusWriter(host.client, resources.tool, host.events)
    tools = Tools(informer.store, status, registrar, resources.finalizer)
    pace = _pace(host.options)
    controller = host.controller("mcptool", informer, tools.reconcile, pace, when=wanted_anew)
    registrar.join(Member(controller, resources.finalizer))


def _add_instances(host: Host, resources: Resources, registrar: Registrar, names: Names) -> None:
    informer = host.informer(resources.instance)
    status = StatusWriter(host.client, resources.instance, host.events)
    here = Surroundings(names.peer, f"{names.group}/instance")
    parts = Parts(
        informer.store,
        host.client,
        status,
        registrar,
        resources.finalizer,
        here,
        names.addresses,
    )
    pace, reconcile = _pace(host.options), Instances(parts).reconcile
    controller = host.controller("mcptoolinstance", informer, reconcile, pace, when=wanted_anew)
    for kind in (DEPLOYMENT, SERVICE, NETWORK_POLICY, SERVICE_ACCOUNT):
        controller.owns(host.informer(kind, labels=OWNED), resources.instance)
    registrar.join(Member(controller, resources.finalizer))


@dataclass(frozen=True, slots=True)
class Called:
    """Our name of the cluster, and that which the tool server's settings have for it; and whether
    its approvals are untied (see Names)."""

    cluster: str
    known: str
    untied: bool


def _add_pipelines(host: Host, resources: Resources, server: ToolServer, called: Called) -> None:
    pipelines, pace = host.informer(resources.pipeline), _pace(host.options)
    by = {mcppipeline.BY_PIPELINE: mcppipeline.by_pipeline}
    runs = host.informer(resources.run, indexes=by)
    told = mcppipelinerun.SUCCEEDED
    running = mcppipelinerun.Parts(
        resources.run,
        runs.store,
        pipelines.store,
        host.client,
        StatusWriter(host.client, resources.run, host.events, told),
        server,
        resources.finalizer,
        called.cluster,
        called.known,
        called.untied,
    )
    reconcile = mcppipelinerun.PipelineRuns(running).reconcile
    controller = host.controller("mcppipelinerun", runs, reconcile, pace, when=wanted_anew)
    controller.watches(
        pipelines, lambda one: runs.store.by(mcppipeline.BY_PIPELINE, key_of(one)), wanted_anew
    )
    defining = mcppipeline.Parts(
        pipelines.store,
        runs.store,
        resources.run,
        host.client,
        StatusWriter(host.client, resources.pipeline, host.events),
        Linter(server, called.cluster, called.known),
    )
    reconcile = mcppipeline.Pipelines(defining).reconcile
    controller = host.controller("mcppipeline", pipelines, reconcile, pace, when=wanted_anew)
    controller.watches(runs, mcppipeline.by_pipeline, mcppipeline.counts)


def _pace(options: Options) -> Pace:
    return Pace(workers=options.workers, first=PACE[0], longest=PACE[1])


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
