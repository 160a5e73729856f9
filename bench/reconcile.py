"""python -m bench.reconcile: what the Kubernetes operator costs, on a real API server.

So many MCPTools are declared; the operator is started, and registers each at a tool server that
answers at once. It does so three times. "new": four requests each, since it sets its finalizer,
registers, writes the status and tells an event. "changed", after somebody has changed all of them:
two, a registration and a status. "unchanged": one, which finds that all is as it was. Measured are
its CPU a reconciliation, its memory an object and reconciliations a second, and what the control
plane itself takes for each; and, while the operator is started once more, the time from a change of
one object until its status says that it is registered. Then kopf, which sets no finalizer and tells
no event here, registers the same objects. Goals: at most 1 ms, at most 10 KB, at least 300 a
second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from cluster.handle import Cluster, join
from cluster.program import free_port

from bench import peers
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.operator.resources import Resources

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[1]
NAMESPACE, EMPTY = "bench", "bench-empty"
TOOL = Resources().tool
GOAL_CPU, GOAL_BYTES, GOAL_RATE = 0.001, 10_000, 300.0
CHANGED = 200
LONG = 900.0


@dataclass
class Cost:
    """CPU in seconds for all of it, and memory, beside those of an operator of nothing."""

    cpu: float
    seconds: float
    bytes: int
    count: int
    plane: float
    """CPU in seconds of the cluster's control plane meanwhile."""

    def line(self, name: str) -> str:
        each, plane = self.cpu / self.count * 1e3, self.plane / self.count * 1e3
        size, rate = self.bytes / self.count / 1e3, self.count / self.seconds
        return f"{name:12} {each:10.2f} {size:10.1f} {rate:10.0f} {plane:18.2f}"

    def met(self, name: str) -> bool:
        """Print which goals were reached; was it all of them?"""
        each, size, rate = self.cpu / self.count, self.bytes / self.count, self.count / self.seconds
        goals = {
            "CPU": each <= GOAL_CPU, "memory": size <= GOAL_BYTES, "rate": rate >= GOAL_RATE
        }  # fmt: skip
        missed = [what for what, met in goals.items() if not met]
        print(f"{name}: {'not met: ' + ', '.join(missed) if missed else 'all goals met'}")
        return not missed


class Watched:
    """A process whose CPU and memory are read from /proc."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        nowhere = subprocess.DEVNULL
        self.process = subprocess.Popen(argv, env=environment, stdout=nowhere, stderr=nowhere)

    @property
    def cpu(self) -> float:
        return spent(self.process.pid)

    @property
    def rss(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def spent(process: int) -> float:
    """CPU in seconds that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Idle:
    """An operator that has started and has nothing to look at: CPU in seconds, bytes."""

    cpu: float
    bytes: int


async def until(true: Callable[[], Awaitable[bool]], pause: float = 0.05) -> None:
    """Look now and then; whoever takes LONG seconds has failed."""
    async with asyncio.timeout(LONG):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(pause)


class Bench:
    """The cluster, the tool server, and who is measured."""

    def __init__(self, cluster: Cluster, client: Client, folder: Path, count: int) -> None:
        self.cluster, self.client, self.folder, self.count = cluster, client, folder, count
        self.port, self.metrics = free_port(), free_port()
        self.server = f"http://127.0.0.1:{self.port}"
        self.session = aiohttp.ClientSession()

    async def declare(self) -> None:
        """All objects, sixteen at a time."""
        names = iter(range(self.count))

        async def some() -> None:
            for number in names:
                meta = {"name": f"tool-{number}", "namespace": NAMESPACE}
                spec = {"builtin": "security_scanner", "description": "Scan a checkout. " * 5}
                await self.client.create(TOOL, {"metadata": meta, "spec": spec})

        await asyncio.gather(*(some() for _ in range(16)))

    async def change(self) -> None:
        """All objects, sixteen at a time: each wants something new."""
        names = iter(range(self.count))

        async def some() -> None:
            for number in names:
                spec = {"spec": {"description": "Look at a checkout. " * 5}}
                await self.client.patch(TOOL, f"tool-{number}", spec, NAMESPACE)

        await asyncio.gather(*(some() for _ in range(16)))

    @property
    def plane(self) -> float:
        """CPU in seconds that the control plane has taken."""
        return sum(spent(process) for process in self.cluster.processes.values())

    def operate(self) -> Watched:
        argv = [
            str(Path(sys.executable).parent / "pilotage"), "operator", "--cluster-name", "bench",
            "--watch-namespaces", NAMESPACE, "--max-concurrent-reconciles", "8",
            "--sweep-seconds", "3600", "--health-probe-bind-address", "0",
            "--metrics-bind-address", f"127.0.0.1:{self.metrics}",
        ]  # fmt: skip
        more = {"MCP_SERVER_URL": self.server, "MCP_API_KEY": "bench", "MCP_LOG_LEVEL": "warn"}
        more["PILOTAGE_HOME"] = str(self.folder / "home")
        return Watched(argv, {**os.environ, **self.cluster.environment, **more})

    async def reconciled(self) -> float:
        """How many reconciliations the operator says that it has made."""
        try:
            async with self.session.get(f"http://127.0.0.1:{self.metrics}/metrics") as answer:
                text = await answer.text()
        except aiohttp.ClientError:
            return 0
        start = 'controller_runtime_reconcile_total{controller="mcptool",result="success"}'
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(start))

    async def registered(self) -> int:
        async with self.session.get(f"{self.server}/count") as answer:
            return int((await answer.json())["count"])


async def cost(
    bench: Bench, idle: Idle, operator: Watched, done: Callable[[], Awaitable[bool]]
) -> Cost:
    """What an operator that was just started has taken, more than one of nothing, until `done`."""
    began, before = time.monotonic(), bench.plane
    try:
        await until(done, 0.5)  # to be looked at costs an operator CPU as well
        seconds, plane = time.monotonic() - began, bench.plane - before
        return Cost(operator.cpu - idle.cpu, seconds, operator.rss - idle.bytes, bench.count, plane)
    finally:
        operator.stop()


async def ours(bench: Bench, idle: Idle) -> Cost:
    """An operator that starts looks at all of them once."""

    async def done() -> bool:
        return await bench.reconciled() >= bench.count

    return await cost(bench, idle, bench.operate(), done)


async def seen(bench: Bench) -> list[float]:
    """Seconds from a change to its status, while an operator that has just started has all others
    still to look at."""
    found: list[float] = []
    operator = bench.operate()
    try:

        async def begun() -> bool:
            return await bench.reconciled() > 0

        await until(begun)
        step = max(1, bench.count // CHANGED)
        for number in range(0, bench.count, step):
            began = time.monotonic()
            name, spec = f"tool-{number}", {"spec": {"description": f"changed {number}"}}
            changed = await bench.client.patch(TOOL, name, spec, NAMESPACE)
            wanted = changed["metadata"]["generation"]

            async def told(name: str = name, wanted: int = wanted) -> bool:
                there = await bench.client.get(TOOL, name, NAMESPACE)
                return bool(there["status"]["observedGeneration"] >= wanted)

            while not await told():  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            found.append(time.monotonic() - began)
            if len(found) % 20 == 0 and await bench.reconciled() >= bench.count:
                break
    finally:
        operator.stop()
    return found


async def kopfs(bench: Bench, argv: list[str]) -> Cost:
    """The same by kopf, on the same objects."""
    before = await bench.registered()
    assert before == 0, before
    command = [*argv, str(bench.cluster.kubeconfig), bench.server]
    environment = {**os.environ, **bench.cluster.environment}
    idle = await settled(Watched([*command, EMPTY], environment))

    async def done() -> bool:
        return await bench.registered() >= bench.count

    return await cost(bench, idle, Watched([*command, NAMESPACE], environment), done)


async def settled(operator: Watched) -> Idle:
    """What it has taken once it does nothing more; it is stopped then."""
    try:
        await asyncio.sleep(2)
        while True:
            before = operator.cpu
            await asyncio.sleep(2)
            if operator.cpu - before <= 0.05:
                return Idle(operator.cpu, operator.rss)
    finally:
        operator.stop()


@contextmanager
def served(bench: Bench) -> Iterator[None]:
    argv = [sys.executable, "-m", "bench.reconcile_server", str(bench.port)]
    server = subprocess.Popen(argv, cwd=ROOT)
    try:
        yield
    finally:
        server.terminate()
        server.wait()


async def answers(bench: Bench) -> bool:
    try:
        return await bench.registered() >= 0
    except aiohttp.ClientError:
        return False


async def run(cluster: Cluster, folder: Path, count: int, *, with_peer: bool) -> int:
    for name in (NAMESPACE, EMPTY):
        cluster.kubectl("create", "namespace", name)
    crds = ROOT / "deploy" / "crds"
    cluster.kubectl("apply", "--server-side", "-f", str(crds))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(crds))
    async with Client(kubeconfig.read(cluster.kubeconfig)) as client:
        bench = Bench(cluster, client, folder, count)
        async with bench.session:
            return await measured(bench, with_peer=with_peer)


async def measured(bench: Bench, *, with_peer: bool) -> int:
    with served(bench):
        await until(lambda: answers(bench))
        idle = await settled(bench.operate())
        print(f"declaring {bench.count} MCPTools ...", flush=True)
        await bench.declare()
        costs = {"new": await ours(bench, idle)}
        await bench.change()
        costs |= {"changed": await ours(bench, idle), "unchanged": await ours(bench, idle)}
        changes = await seen(bench)
    print(f"{'':12} {'CPU ms':>10} {'KB/object':>10} {'a second':>10} {'control plane ms':>18}")
    for name, each in costs.items():
        print(each.line(name), flush=True)
    if with_peer and (peer := peers.kopf()) is not None:
        with served(bench):
            await until(lambda: answers(bench))
            beside(await kopfs(bench, peer), costs["new"])
    latency(changes)
    met = [each.met(name) for name, each in costs.items()]
    return 0 if all(met) else 1


def beside(other: Cost, ours: Cost) -> None:
    """Print what kopf takes, and how often it is what we take."""
    print(other.line("kopf"))
    cpu, size = other.cpu / ours.cpu, other.bytes / ours.bytes
    print(f"kopf takes {cpu:.1f} x the CPU of new ones, and {size:.1f} x the memory an object")


def latency(changes: list[float]) -> None:
    points = statistics.quantiles(changes, n=100)
    print(
        f"from a change to Registered, with all others waiting: p50 {points[49] * 1e3:.0f} ms, "
        f"p99 {points[98] * 1e3:.0f} ms ({len(changes)} changes)"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.reconcile", description=__doc__)
    parser.add_argument("--count", type=int, default=5_000, metavar="N", help="MCPTools")
    parser.add_argument("--no-peers", action="store_true", help="leave kopf out")
    given: Any = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, join(Path(folder)) as cluster:
        return asyncio.run(run(cluster, Path(folder), given.count, with_peer=not given.no_peers))


if __name__ == "__main__":
    sys.exit(main())
