"""A tool in ten lines: on the shelf, it is there over MCP, REST and in pipelines."""

from pathlib import Path

from pilotage.domain.call import Effect
from pilotage.tool.tool import Call, tool


@tool(Effect.READ, idempotent=True)
async def line_count(path: Path, *, here: Call) -> dict[str, int]:
    """Count the lines of a file."""
    here.tell(f"reading {path.name}")
    return {"lines": len(path.read_bytes().splitlines())}
