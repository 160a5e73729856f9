"""Run by bench/pipeline.py in DBOS' own environment: a chain of steps that do nothing.

python dbos_chain.py DATABASE WARM STEPS     prints {"step": ms p50, "chain": s for 1,000}
"""

from __future__ import annotations

import itertools
import json
import logging
import sqlite3
import statistics
import sys
import time

from dbos import DBOS, DBOSConfig
from sqlalchemy import event
from sqlalchemy.engine import Engine

AT: list[float] = []
logging.disable(logging.CRITICAL)


@event.listens_for(Engine, "connect")
def _durable(connection: sqlite3.Connection, _: object) -> None:
    """The same durability as ours: a write-ahead log, synced at each commit."""
    connection.execute("PRAGMA synchronous=FULL")


@DBOS.step()
def noop() -> int:
    """Nothing."""
    AT.append(time.time())
    return len(AT)


@DBOS.workflow()
def chain(steps: int) -> None:
    """One after the other."""
    for _ in range(steps):
        noop()


def main() -> None:
    """Warm up, then measure."""
    file, warm, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sqlite3.connect(file).execute("PRAGMA journal_mode=WAL")
    settings: DBOSConfig = {"name": "bench-chain", "system_database_url": f"sqlite:///{file}"}
    DBOS(config=settings)
    DBOS.launch()
    chain(warm)
    AT.clear()
    chain(steps)
    gaps = [(b - a) * 1000 for a, b in itertools.pairwise(AT)]
    began = time.perf_counter()
    chain(1_000)
    print(json.dumps({"step": statistics.median(gaps), "chain": time.perf_counter() - began}))
    DBOS.destroy()


if __name__ == "__main__":
    main()
