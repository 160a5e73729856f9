"""An operator's process that writes its name into a ConfigMap, over and over, while it leads.

python contender.py KUBECONFIG NAMESPACE NAME DURATION RENEW RETRY
"""

from __future__ import annotations

import asyncio
import logging
import sys

from pilotage.domain.errors import PilotageError
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.kind import CONFIG_MAP
from pilotage.operator.runtime.host import Host, serve
from pilotage.operator.runtime.lease import Lost, Times
from pilotage.operator.runtime.options import Options

LEDGER = "ledger"


async def main(config: str, namespace: str, name: str, *seconds: str) -> int:
    """Until SIGTERM, or until the lease is lost."""
    times = Times(*(float(each) for each in seconds))
    options = Options(
        "0",
        "0",
        leader_elect=True,
        namespaces=(namespace,),
        lease_namespace=namespace,
        times=times,
    )
    host = Host(kubeconfig.read(config), options, component="contender", lease="contended")
    host.informer(CONFIG_MAP, fields=f"metadata.name={LEDGER}")

    async def write() -> None:
        """Many at once: whenever it is frozen, some are about to leave."""
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(again_and_again())

    async def again_and_again() -> None:
        while True:
            try:
                await host.client.patch(CONFIG_MAP, LEDGER, {"data": {"by": name}}, namespace)
                await host.client.patch(CONFIG_MAP, LEDGER, {"data": {"by": None}}, namespace)
            except Lost:
                raise
            except PilotageError as error:
                logging.warning("%s", error)
                await asyncio.sleep(0.05)

    host.job(write)
    return await serve(host)


logging.basicConfig(level=logging.INFO, stream=sys.stderr)
sys.exit(asyncio.run(main(*sys.argv[1:])))
