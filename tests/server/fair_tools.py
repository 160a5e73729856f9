"""Tools of the tests of fair use, and a house with them. As a program: that house's server."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Effect
from pilotage.domain.errors import Unavailable
from pilotage.tool.roots import roots
from pilotage.tool.tool import Call, tool
from server.conftest import House, running
from waiting import until


def line(file: str, text: str) -> int:
    """Put down that a tool ran; how often it has by now."""
    with Path(file).open("a", encoding="utf-8") as out:
        out.write(text + "\n")
    return len(Path(file).read_text("utf-8").splitlines())


@tool(Effect.READ, idempotent=True, cache_seconds=60)
async def looks(file: str, end: str = "", how: str = "", *, here: Call) -> dict[str, Any]:
    """Counts how often it ran; waits for the file `end`."""
    ran = line(file, here.call.by.name)
    if end:
        here.tell("waiting")
        await until(Path(end).exists)
    if how == "fails":
        raise Unavailable("not today")
    return {"ran": ran, "for": here.call.by.name}


@tool(Effect.WRITE, timeout=120)
async def adds(file: str, end: str = "", how: str = "", *, here: Call) -> dict[str, Any]:
    """Changes something each time that it runs; waits for the file `end`."""
    ran = line(file, here.call.idempotency_key or "-")
    if end:
        await until(Path(end).exists)
    if how == "fails":
        raise Unavailable("not today")
    return {"ran": ran, "secret": os.environ.get("CANARY", "")}


@tool(Effect.WRITE, idempotent=True, timeout=120)
async def puts(file: str, end: str = "", how: str = "", *, here: Call) -> dict[str, Any]:
    """The same, where twice does no harm."""
    ran = line(file, here.call.idempotency_key or "-")
    if end:
        here.tell("waiting")
        await until(Path(end).exists)
    if how == "fails" and ran == 1:
        raise Unavailable("not the first time")
    return {"ran": ran}


@tool(Effect.DESTROY, timeout=120)
async def drops(file: str, *, here: Call) -> dict[str, Any]:
    """Needs a person."""
    return {"ran": line(file, here.call.idempotency_key or "-")}


@tool(Effect.READ)
async def large(size: int, parts: int = 1) -> dict[str, Any]:
    """An answer of so many bytes, in so many parts."""
    if parts == 1:
        return {"text": "x" * size}
    return {"texts": ["x" * (size // parts) for _ in range(parts)]}


@tool(Effect.READ)
async def hi(text: str = "hi") -> dict[str, Any]:
    """Answers at once."""
    return {"said": text}


@tool(Effect.READ, timeout=120)
async def stays(file: str) -> dict[str, Any]:
    """Ends once that file is there."""
    await until(Path(file).exists)
    return {"stayed": True}


TOOLS = (looks, adds, puts, drops, large, hi, stays)


def make(home: Path, settings: str = "", roles: str = "") -> App:
    """`settings` and `roles` are the YAML of their files."""
    home.mkdir(parents=True, exist_ok=True)
    if settings:
        (home / "config.yaml").write_text(settings, "utf-8")
    if roles:
        (home / "roles.yaml").write_text(roles, "utf-8")
    env = {"PILOTAGE_HOME": str(home), "HOME": str(home)}
    return App(config.read(environment=env), roots(home), TOOLS)


@asynccontextmanager
async def house(home: Path, settings: str = "", roles: str = "") -> AsyncIterator[House]:
    app = make(home, settings, roles)
    try:
        async with running(app) as one:
            yield one
    finally:
        app.close()


def main() -> None:
    from pilotage.server import serve
    from pilotage.server.connection import Patience

    home = Path(os.environ["PILOTAGE_HOME"])
    app = make(home)
    seconds = float(os.environ.get("PATIENCE", "60"))
    patience = Patience(seconds, seconds, seconds, int(os.environ.get("CONNECTIONS", "10000")))
    options = serve.Options(port=0, patience=patience, grace=float(os.environ.get("GRACE", "30")))
    try:
        serve.serve(app, options, lambda address, _: print(address, flush=True))
    finally:
        app.close()


if __name__ == "__main__":
    sys.exit(main())
