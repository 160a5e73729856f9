"""Thirty times kill -9: no finished step runs again, no audit row of a write call is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import Counter
from pathlib import Path

from pilotage.audit.verify import verify
from pilotage.domain.call import Outcome
from pilotage.domain.run import Kind, RunState
from pipeline.children import Child, start, write
from pipeline.conftest import BY, lines, make_app

KILLS = 30
STEPS = [
    *(f"name: s{n}, tool: work, params: {{file: f, seconds: 0.06}}" for n in range(8)),
    *(
        f"name: p{n}, tool: work, depends_on: [s3], params: {{file: f, seconds: 0.05}}"
        for n in range(4)
    ),
    "name: last, tool: work, depends_on: [s7, p0, p1, p2, p3], params: {file: f, seconds: 0.03}",
]


def keys(file: Path, word: str) -> Counter[str]:
    """How often each piece of work (run/step) wrote this word."""
    if not file.exists():
        return Counter()
    rows = [line.split() for line in file.read_text().splitlines()]
    return Counter(row[2] for row in rows if row[0] == word)


async def inside_a_step(file: Path, child: Child, steps: int) -> None:
    """Until some more steps have begun and one of them has not ended; the child stands still."""
    begun = sum(keys(file, "begin").values()) + steps
    while child.process.returncode is None:
        if sum(keys(file, "begin").values()) >= begun:
            with contextlib.suppress(ProcessLookupError):
                child.signal(signal.SIGSTOP)
            if keys(file, "begin") - keys(file, "end"):
                return
            with contextlib.suppress(ProcessLookupError):
                child.signal(signal.SIGCONT)
        await asyncio.sleep(0.002)


async def finished_steps(folder: Path) -> set[str]:
    """What the journals say has ended well, as run/step."""
    app = make_app(folder)
    found = set()
    for run in app.runs.newest(1000):
        _, stands = app.runs.show(run.id)
        found |= {f"{run.id}/{name}" for name, step in stands.steps.items() if step.well}
    app.close()
    return found


async def test_thirty_kills_repeat_nothing_and_lose_nothing(tmp_path: Path) -> None:
    chance = random.Random(20261124)
    file, effects = write(tmp_path, STEPS), tmp_path / "f"
    number, kills, inside = 0, 0, 0
    frozen: dict[str, int] = {}
    while kills < KILLS:
        child = await start(tmp_path, f"k{number}", file)
        if kills % 2:
            await inside_a_step(effects, child, chance.randint(1, 3))
        else:
            await asyncio.sleep(chance.uniform(0.05, 1.2))
        ended = child.process.returncode is not None
        await child.kill()
        number += ended
        kills += not ended
        inside += not ended and bool(keys(effects, "begin") - keys(effects, "end"))
        begun = keys(effects, "begin")
        for work in await finished_steps(tmp_path):
            assert begun[work] == frozen.setdefault(work, begun[work]), f"{work} ran again"
    assert inside >= KILLS // 3, "most kills fell between two steps"
    await to_the_end(tmp_path, number, file)
    check_audit(tmp_path, effects)


async def to_the_end(folder: Path, number: int, file: Path) -> None:
    """The run that was cut off last ends well. So do all before it; of a step that was cut off
    three times a person was asked, who says: try again."""
    last = await start(folder, f"k{number}", file)
    await last.run()
    await last.stands()
    app = make_app(folder)
    runs = app.runs.newest(1000)
    for one in runs:
        if one.state is RunState.WAITING:
            assert "3 times" in str([s.why for s in app.runs.show(one.id)[1].steps.values()])
            await app.runs.resume(one.id, BY)
        assert (await app.runs.wait(one.id)).outcome is Outcome.SUCCEEDED
        events = [event async for event in app.runs.events(one.id)]
        done = [e.step for e in events if e.kind is Kind.FINISHED]
        assert len(done) == len(set(done)) == len(STEPS)
    await app.runs.close()
    app.close()


def check_audit(folder: Path, effects: Path) -> None:
    """Each effect has its row, which was on disk before it; and the chain holds."""
    app = make_app(folder)
    app.audit.seal()
    rows = app.audit.list(limit=100_000)
    said = verify(app.database, app.checkpoints)
    app.close()
    opened = Counter(e.body["key"] for e in rows if e.event in ("open", "call"))
    assert (said.bad_seq, said.rows) == (None, len(rows))
    assert keys(effects, "begin") - opened == Counter()
    assert sum(keys(effects, "begin").values()) > len(lines(effects, "end")) > 0
