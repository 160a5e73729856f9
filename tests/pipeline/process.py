"""A process of its own that starts a run, or takes it up again under the same key, to its end.

python process.py FOLDER KEY FILE     a pipeline file over the tools of tools.py
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

from pilotage.pipeline import load
from pilotage.pipeline.lint import checked, lint
from pilotage.pipeline.prepare import Given
from pipeline.conftest import BY, make_app


async def main(folder: Path, key: str, file: Path) -> None:
    """Prints the run's id once it has begun, then how it stands when it ended or waits."""
    app = make_app(folder)
    pipeline = checked(lint(load.file(file), app.runs.tools))
    run = await app.runs.start(pipeline, Given(key=key), BY)
    print(run, flush=True)
    stands = await app.runs.wait(run)
    print(json.dumps({"state": stands.state, "outcome": stands.outcome}), flush=True)
    await app.runs.close()
    app.close()


if __name__ == "__main__":
    logging.basicConfig(level="INFO", stream=sys.stderr)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
