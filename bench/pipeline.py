"""Durable runs: what a step costs, beside DBOS doing the same in the same minute.

python -m bench.pipeline [--steps 300] [--without-dbos]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Effect, Outcome, Principal, ToolResult
from pilotage.domain.pipeline import OnFailure, Pipeline, Step
from pilotage.pipeline.prepare import Given
from pilotage.tool.roots import roots
from pilotage.tool.tool import tool

BY = Principal("local:bench", frozenset({"admin"}))
DBOS = "3.4.0"
ROUNDS = 3
WARM = 300
"""Steps before anything is measured: a write-ahead log that grows makes each sync dearer."""
WIDE = 1_000
PARKED_SECONDS = 5.0
WAKES = 20
AT: list[float] = []
"""When each body of `noop` ran (Unix seconds)."""


@tool(Effect.READ, idempotent=True)
async def noop() -> dict[str, Any]:
    """Nothing."""
    AT.append(time.time())
    return {"n": len(AT)}


@tool(Effect.READ)
async def stumble() -> ToolResult:
    """Fail at once."""
    return ToolResult(Outcome.FAILED, error="as asked")


def opened(home: Path) -> App:
    settings = config.read(environment={"PILOTAGE_HOME": str(home), "HOME": str(home)})
    return App(settings, roots(home), (noop, stumble))


def chain(steps: int) -> Pipeline:
    names = [f"s{n}" for n in range(steps)]
    return Pipeline(
        "chain",
        tuple(Step(name, "noop", {}, (names[n - 1],) if n else ()) for n, name in enumerate(names)),
    )


def fan(steps: int) -> Pipeline:
    return Pipeline("fan", tuple(Step(f"s{n}", "noop") for n in range(steps)))


PARKED = Pipeline(
    "parked",
    (Step("wait", "stumble", on_failure=OnFailure.MANUAL), Step("go", "noop", {}, ("wait",))),
)


async def timed(app: App, pipeline: Pipeline) -> tuple[float, list[float]]:
    """Seconds for the run, and milliseconds between one body and the next."""
    AT.clear()
    began = time.perf_counter()
    run = await app.runs.wait(await app.runs.start(pipeline, Given(), BY))
    seconds = time.perf_counter() - began
    assert run.outcome is Outcome.SUCCEEDED, run.why
    return seconds, [(b - a) * 1000 for a, b in itertools.pairwise(AT)]


async def speed(home: Path, steps: int) -> dict[str, float]:
    app = opened(home)
    await timed(app, chain(WARM))
    _, gaps = await timed(app, chain(steps))
    long, _ = await timed(app, chain(1_000))
    wide, _ = await timed(app, fan(WIDE))
    await app.runs.close()
    app.close()
    return {"step": statistics.median(gaps), "chain": long, "fan": wide}


async def parked(home: Path) -> dict[str, float]:
    """CPU of a thousand runs that wait, and how soon an approval is felt."""
    app = opened(home)
    runs = await asyncio.gather(*(app.runs.start(PARKED, Given(), BY) for _ in range(WIDE)))
    await asyncio.gather(*(app.runs.wait(run) for run in runs))
    await asyncio.sleep(0.5)
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.sleep(PARKED_SECONDS)
    share = (time.process_time() - cpu) / (time.perf_counter() - began) * 100
    here, there = [], []
    for run in runs[:WAKES]:
        here.append(await felt(app, run, lambda run: app.runs.approve(run, BY)))
    process = await approver(home)
    for run in runs[WAKES : 2 * WAKES]:
        there.append(await felt(app, run, lambda run: ask(process, run)))
    await process.communicate(b"")  # the end of what it reads
    await app.runs.close()
    app.close()
    return {"cpu": share, "here": statistics.median(here), "there": statistics.median(there)}


async def felt(app: App, run: str, approve: Callable[[str], Any]) -> float:
    """Milliseconds from an approval to the next step's body."""
    AT.clear()
    began = time.time()
    said = await approve(run)
    await app.runs.wait(run)
    return (AT[0] - (said if isinstance(said, float) else began)) * 1000


async def approver(home: Path) -> asyncio.subprocess.Process:
    """Another process that approves what it is told."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.pipeline", "--approve", str(home),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def ask(process: asyncio.subprocess.Process, run: str) -> float:
    """When it began to approve (Unix seconds)."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{run}\n".encode())
    return float(await process.stdout.readline())


async def approve_what_is_read(home: Path) -> None:
    app = opened(home)
    while run := (await asyncio.to_thread(sys.stdin.readline)).strip():
        began = time.time()
        await app.runs.approve(run, BY)
        print(began, flush=True)
    app.close()


def wall(home: Path, rounds: int = 7) -> dict[str, float]:
    """Milliseconds that `pilotage run` of three steps takes beyond bare Python."""
    steps = [
        {"name": f"s{n}", "tool": "scan_findings", "params": {"scan_id": "none"},
         "on_failure": "continue"} for n in range(3)
    ]  # fmt: skip
    file = home / "three.json"
    file.write_text(json.dumps({"name": "three", "steps": steps}))
    env = {**os.environ, "PILOTAGE_HOME": str(home / "state")}
    words = [sys.executable, "-m", "pilotage.cli.main", "run", str(file)]
    bare, ours = [], []
    for _ in range(rounds):
        bare.append(_milliseconds([sys.executable, "-c", "pass"], env, home))
        ours.append(_milliseconds(words, env, home))
    return {"bare": statistics.median(bare), "run": statistics.median(ours)}


def _milliseconds(words: list[str], env: dict[str, str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(words, env=env, cwd=folder, check=True, capture_output=True)
    return (time.perf_counter() - began) * 1000


def dbos(file: Path, steps: int) -> dict[str, float]:
    """The same chain in DBOS, in an environment of its own: SQLite, WAL, synchronous FULL."""
    environment = config.cache_folder(os.environ) / f"bench-dbos-{DBOS}"
    python = environment / "bin" / "python"
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", str(environment)], check=True)
        words = [uv, "pip", "install", "--quiet", "--python", str(python), f"dbos=={DBOS}"]
        subprocess.run(words, check=True)
    script = Path(__file__).with_name("dbos_chain.py")
    words = [str(python), str(script), str(file), str(WARM), str(steps)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=300)
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def main() -> int:
    """Print what was measured beside its goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="(default: %(default)s)")
    parser.add_argument("--without-dbos", action="store_true")
    parser.add_argument("--approve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.approve is not None:
        asyncio.run(approve_what_is_read(arguments.approve))
        return 0
    with tempfile.TemporaryDirectory(dir=Path.home(), prefix=".bench-") as folder:
        home = Path(folder)
        mine, others = [], []
        for turn in range(1 if arguments.without_dbos else ROUNDS):
            mine.append(asyncio.run(speed(home / f"speed{turn}", arguments.steps)))
            if not arguments.without_dbos:
                others.append(dbos(home / f"dbos{turn}.sqlite", arguments.steps))
        ours, theirs = middle(mine), middle(others)
        ours |= asyncio.run(parked(home / "parked")) | wall(home)
    report(ours, theirs)
    return 0


def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over rounds that took turns, so that a busy minute hits both."""
    return {key: statistics.median(r[key] for r in rounds) for key in (rounds[0] if rounds else ())}


def report(ours: dict[str, float], theirs: dict[str, float]) -> None:
    ratio = f"{ours['step'] / theirs['step']:.2f}" if theirs else "not measured"
    rows = [
        ("a step at synchronous FULL, p50", f"{ours['step']:.2f} ms", "<= 0.5 ms"),
        (f"  beside DBOS {DBOS}", f"{ratio} of it", "<= 0.25"),
        ("a chain of 1,000 steps", f"{ours['chain']:.2f} s", "<= 0.6 s"),
        ("a fan of 1,000 steps", f"{ours['fan']:.2f} s", "<= 0.2 s"),
        ("a process with three steps, over bare Python", f"{ours['run'] - ours['bare']:.0f} ms",
         "<= 300 ms"),
        (f"CPU of {WIDE:,} runs that wait", f"{ours['cpu']:.1f} %", "<= 5 %"),
        ("an approval is felt, same process, p50", f"{ours['here']:.1f} ms", "<= 5 ms"),
        ("an approval is felt, other process, p50", f"{ours['there']:.1f} ms", "<= 50 ms"),
    ]  # fmt: skip
    for name, value, goal in rows:
        print(f"{name:<46} {value:>14}   goal {goal}")
    if theirs:
        print(f"DBOS {DBOS}: a step {theirs['step']:.2f} ms, 1,000 steps {theirs['chain']:.2f} s")


if __name__ == "__main__":
    sys.exit(main())
