"""Run a pipeline. Takes a pipeline file as JSON, beside what a run is given."""

from __future__ import annotations

import asyncio
from typing import Any

from pilotage.domain.call import Effect, ToolResult
from pilotage.pipeline import lint
from pilotage.pipeline.load import Document
from pilotage.pipeline.prepare import Given, github
from pilotage.pipeline.runs import Runs
from pilotage.pipeline.tell import Teller, problem_line
from pilotage.pipeline.told import result
from pilotage.tool.tool import Call, tool

LONGEST = 30 * 86_400.0
"""A pipeline has a limit of its own (mcp.pipeline.timeout), which does not count waiting."""


@tool(Effect.WRITE, idempotent=True, open=True, timeout=LONGEST, tasks="optional", conducts=True)
async def pipeline_orchestrator(
    name: str,
    steps: list[dict[str, Any]],
    description: str = "",
    inputs: dict[str, Any] = {},  # noqa: B006
    env: dict[str, Any] = {},  # noqa: B006
    context: dict[str, Any] = {},  # noqa: B006
    values: dict[str, Any] = {},  # noqa: B006
    environment: dict[str, str] = {},  # noqa: B006
    *,
    runs: Runs,
    here: Call,
) -> ToolResult:
    """Run a pipeline of tool calls to its end, or until it waits for a person.

    `name`, `description`, `inputs`, `env` and `steps` are those of a pipeline file. `values` are
    for its inputs, `context` is what `${{ github.* }}` reads, `environment` what `${{ env.* }}`
    reads. The same idempotency key is the same run: a caller that was cut off attaches again.

    The answer names the run, its state and each step. `variables` are texts: what a step's result
    holds under `variables`, and `STEP_FIELD` for each plain field of it. `artifacts` are those of
    the steps' results.
    """
    value: dict[str, Any] = {"name": name, "steps": steps, "description": description}
    value |= {"inputs": inputs, "env": env}
    # Beside the event loop, since who sends a long one should hold up nobody else.
    linted = await asyncio.to_thread(lint.lint, Document(value), runs.tools)
    pipeline = lint.checked(linted)
    given = Given(values, github(context), environment, here.call.idempotency_key)
    run = await runs.start(pipeline, given, here.call.by)
    here.tell(f"run {run}", 0, len(steps))
    teller = Teller(len(steps))
    async for event in runs.events(run, settled=True):
        for line in teller.lines(event):
            here.tell(line, teller.done, teller.total)
    return result(*runs.show(run), [problem_line(each) for each in linted.problems])
