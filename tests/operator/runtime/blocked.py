"""An operator's process whose first reconciliation blocks the event loop for good.

python blocked.py KUBECONFIG NAMESPACE     prints the port of its probes
"""

from __future__ import annotations

import asyncio
import sys
import time

from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.kind import CONFIG_MAP
from pilotage.operator.runtime.host import Host, serve
from pilotage.operator.runtime.options import Options

FREE = "127.0.0.1:0"


async def main(config: str, namespace: str) -> int:
    """Until it is killed."""
    options = Options("0", FREE, namespaces=(namespace,))
    host = Host(kubeconfig.read(config), options, component="blocked", lease="blocked")

    async def reconcile(key: str) -> None:
        time.sleep(3_600)  # noqa: ASYNC251

    host.controller("map", host.informer(CONFIG_MAP, labels="of=test"), reconcile)
    serving = asyncio.create_task(serve(host))
    while not host.endpoints.bound:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    print(host.endpoints.bound[FREE][1], flush=True)
    return await serving


sys.exit(asyncio.run(main(*sys.argv[1:])))
