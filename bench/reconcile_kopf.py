"""The same work by kopf: register each MCPTool at the tool server, write its status. Run by kopf's
own environment, never by ours.

    reconcile_kopf.py KUBECONFIG SERVER NAMESPACE
"""

import asyncio
import sys

import aiohttp
import kopf

kubeconfig, server, namespace = sys.argv[1:4]
session = None


@kopf.on.startup()
async def begin(settings, **_):
    global session
    settings.posting.enabled = False
    session = aiohttp.ClientSession()


@kopf.on.login()
def login(**kwargs):
    return kopf.login_with_kubeconfig(**kwargs)


@kopf.on.resume("mcp.example.com", "v1alpha1", "mcptools")
@kopf.on.create("mcp.example.com", "v1alpha1", "mcptools")
@kopf.on.update("mcp.example.com", "v1alpha1", "mcptools", field="spec")
async def register(spec, name, namespace, uid, meta, patch, **_):
    owner = f"kopf/{namespace}/{uid}/{meta['generation']}"
    body = {"kind": "builtin", "definition": {"tool": spec["builtin"]}, "owner": owner}
    async with session.put(f"{server}/api/v2/tools/{namespace}.{name}", json=body) as answer:
        said = await answer.json()
    patch.status["toolName"], patch.status["toolId"] = said["name"], said["tool_id"]
    patch.status["observedGeneration"] = meta["generation"]


if __name__ == "__main__":
    asyncio.run(kopf.operator(namespaces=[namespace], standalone=True))
