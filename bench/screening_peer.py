"""The same corpus through another scanner: the offline rules of cisco-ai-mcp-scanner.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install cisco-ai-mcp-scanner
    /tmp/peer/bin/python bench/screening_peer.py

It needs nothing of Pilotage. Its rules are given the description, and the schemas and the other
fields as JSON, as its own scanner does; a tool counts as caught where any rule finds anything. Its
other analyzers ask a service or a model, and are not run.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus" / "screening"


async def count(analyzer: Any, name: str) -> None:
    """One file of the corpus."""
    held, seconds = 0, []
    lines = (CORPUS / f"{name}.jsonl").read_text("utf-8").splitlines()
    for line in lines:
        tool = json.loads(line)["tool"]
        about = {"tool_name": tool["name"]}
        rest = {key: value for key, value in tool.items() if key != "description"}
        began = time.perf_counter()
        found = await analyzer.analyze(tool["description"], about)
        found += await analyzer.analyze(json.dumps(rest), about)
        seconds.append(time.perf_counter() - began)
        held += bool(found)
    share, median = held / len(lines), statistics.median(seconds) * 1e3
    print(f"{name:<22}{held:>5}/{len(lines):<4}{share:>7.1%}  {median:.2f} ms a tool (median)")


async def main() -> None:
    from mcpscanner.core.analyzers.yara_analyzer import YaraAnalyzer

    analyzer = YaraAnalyzer()
    for name in ("poisoned", "poisoned-held-out", "benign", "benign-held-out"):
        await count(analyzer, name)


if __name__ == "__main__":
    asyncio.run(main())
