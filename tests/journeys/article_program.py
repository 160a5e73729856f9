"""The server of the article's journey: what `pilotage serve` is, with one slow tool beside it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Effect
from pilotage.server import serve
from pilotage.tool.roots import roots
from pilotage.tool.tool import Call, tool


@tool(Effect.WRITE, idempotent=True, timeout=120)
async def slow_build(seconds: float, version: str, *, here: Call) -> dict[str, Any]:
    """Take `seconds`, then tell a variable."""
    here.tell("building")
    await asyncio.sleep(seconds)
    return {"variables": {"VERSION": version}, "built": version}


def main() -> None:
    settings = config.read(environment=os.environ)
    app = App(settings, roots(sys.argv[1], Path.cwd()))
    app.registry.add(slow_build.bind(app.services))
    try:
        serve.serve(app, serve.Options(port=0), lambda address, _: print(address, flush=True))
    finally:
        app.close()


if __name__ == "__main__":
    main()
