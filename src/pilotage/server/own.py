"""What the house itself offers an agent beside tools: resources, prompts, completions.

    pilotage://scans/{scan}                            the verdict, why, what each scanner did
    pilotage://scans/{scan}/findings{?cursor,severity} a page of findings, worst first
    pilotage://runs/{run}                              how a run of a pipeline stands
    pilotage://reports/{scan}.{format}                 sarif, html or json

A scan is read through the gateway, by the tools scan_report and scan_findings, so their permission
counts and the audit says who read it; it belongs to who had it made. Runs are seen as the policy
says (pipeline/access.py). What is not theirs to see is not found.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import mcp_types as types
from mcp import MCPError

from pilotage.app import App
from pilotage.domain.approval import ApprovalState
from pilotage.domain.call import Answer, Principal, ToolResult
from pilotage.domain.errors import BadInput, NotFound, PilotageError
from pilotage.domain.scan import Scan
from pilotage.scan.orchestrate import Scans
from pilotage.server.http import encode
from pilotage.server.prompts import PROMPTS, SCAN_TYPES, Prompt
from pilotage.server.relay import Context
from pilotage.server.routes.runs import view

PAGE = 25
COMPLETED = 100
JSON = "application/json"
FORMATS = {"sarif": "application/sarif+json", "html": "text/html", "json": JSON}
REPORT, FINDINGS = "scan_report", "scan_findings"
_ID = r"[0-9A-HJKMNP-TV-Z]{26}"
_ONE = re.compile(rf"/({_ID})")
_PAGE_OF_SCAN = re.compile(rf"/({_ID})/findings")
_REPORT = re.compile(rf"/({_ID})\.(sarif|html|json)")
_TEMPLATES = (
    types.ResourceTemplate(
        name="scan",
        title="A scan",
        uri_template="pilotage://scans/{scan}",
        description="The verdict of a scan of yours, why, and what each scanner did.",
        mime_type=JSON,
    ),
    types.ResourceTemplate(
        name="findings",
        title="Findings of a scan",
        uri_template="pilotage://scans/{scan}/findings{?cursor,severity}",
        description="A page of findings, worst first; next_cursor of it is the cursor of the next.",
        mime_type=JSON,
    ),
    types.ResourceTemplate(
        name="run",
        title="A run of a pipeline",
        uri_template="pilotage://runs/{run}",
        description="How a run stands: its steps, what it waits for, what is wrong and the mend.",
        mime_type=JSON,
    ),
    types.ResourceTemplate(
        name="report",
        title="A report of a scan",
        uri_template="pilotage://reports/{scan}.{format}",
        description="The whole report as sarif, html or json.",
    ),
)


class Own:
    """Handlers for the SDK's server; `who` says whose request it is."""

    def __init__(self, app: App, who: Callable[[Context], Principal]) -> None:
        self._app, self._who = app, who

    async def resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """The scans of who asks, then the runs that are theirs to see, the newest first."""
        by, cursor = self._who(context), params.cursor if params is not None else None
        if cursor is not None and not re.fullmatch(_ID, cursor):
            raise MCPError(code=types.INVALID_PARAMS, message="the cursor is not one of ours")
        runs = await asyncio.to_thread(self._app.run_access.listed, by, PAGE + 1, cursor)
        shown = [_scan(scan) for scan in self._scans(by)] if cursor is None else []
        shown += [
            types.Resource(
                name=f"run {run.id}",
                title=f"{run.pipeline}: {run.outcome or run.state.value}",
                uri=f"pilotage://runs/{run.id}",
                mime_type=JSON,
            )
            for run in runs[:PAGE]
        ]
        following = runs[PAGE - 1].id if len(runs) > PAGE else None
        return types.ListResourcesResult(resources=shown, next_cursor=following)

    async def templates(
        self, context: Context, _: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """The same for everybody: they say what there could be."""
        return types.ListResourceTemplatesResult(resource_templates=list(_TEMPLATES))

    async def read(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """One resource. Unknown and another's are told the same: not found."""
        kind, text = await self._read(self._who(context), params.uri)
        body = types.TextResourceContents(uri=params.uri, mime_type=kind, text=text)
        return types.ReadResourceResult(contents=[body])

    async def _read(self, by: Principal, uri: str) -> tuple[str, str]:
        parts = urlsplit(uri)
        place, path = (parts.netloc, parts.path) if parts.scheme == "pilotage" else ("", "")
        if place == "runs" and (one := _ONE.fullmatch(path)):
            return JSON, self._run(by, one[1], uri)
        if place == "scans" and (one := _ONE.fullmatch(path)):
            return JSON, _json(await self._call(by, REPORT, {"scan_id": one[1]}, uri))
        if place == "scans" and (one := _PAGE_OF_SCAN.fullmatch(path)):
            given = {"scan_id": one[1], "limit": PAGE, **_query(parts.query, uri)}
            return JSON, _json(await self._call(by, FINDINGS, given, uri))
        if place == "reports" and (one := _REPORT.fullmatch(path)):
            given = {"scan_id": one[1], "format": one[2]}
            rendered = (await self._call(by, REPORT, given, uri))["rendered"]
            return FORMATS[one[2]], rendered[one[2]]
        raise _unknown(uri)

    def _run(self, by: Principal, run: str, uri: str) -> str:
        try:
            self._app.run_access.seen(run, by)
            return _json(view(self._app, run))
        except NotFound:
            raise _unknown(uri) from None

    async def _call(
        self, by: Principal, tool: str, arguments: Mapping[str, Any], uri: str
    ) -> Mapping[str, Any]:
        """Through the gateway. What the tool will not give is not found."""
        try:
            result: ToolResult = await self._app.call(tool, arguments, by, "mcp")
        except BadInput as error:
            raise MCPError(code=types.INVALID_PARAMS, message=error.what) from None
        except PilotageError:
            raise _unknown(uri) from None
        if not result.succeeded:
            if result.error and "cursor" in result.error:
                raise MCPError(code=types.INVALID_PARAMS, message=result.error)
            raise _unknown(uri)
        return result.value

    def _scans(self, by: Principal) -> list[Scan]:
        """Theirs, where they may call the tool that reads them."""
        if not self._allowed(by, REPORT):
            return []
        scans = self._app.services[Scans]
        assert isinstance(scans, Scans)
        return scans.mine(by.name)

    def _allowed(self, by: Principal, tool: str) -> bool:
        entry = self._app.registry.entries.get(tool)
        if entry is None:
            return False
        found = entry.tool
        decided = self._app.policy.decide(by, tool, found.mildest, behind=found.behind)
        return decided.answer is not Answer.DENY

    async def prompts(
        self, context: Context, _: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """The prompts whose tools who asks may call."""
        by = self._who(context)
        shown = [each.shown for each in PROMPTS.values() if self._useful(by, each)]
        return types.ListPromptsResult(prompts=shown)

    def _useful(self, by: Principal, prompt: Prompt) -> bool:
        return all(self._allowed(by, tool) for tool in prompt.tools)

    async def prompt(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        """The words for the model, with what they are about where the server has it."""
        by, prompt = self._who(context), PROMPTS.get(params.name)
        if prompt is None or not self._useful(by, prompt):
            unknown = f"Unknown prompt: {params.name[:200]}"
            raise MCPError(code=types.INVALID_PARAMS, message=unknown)
        try:
            given = prompt.checked(params.arguments or {})
            parts = prompt.make(self._app, by, given)
        except PilotageError as error:
            raise MCPError(code=types.INVALID_PARAMS, message=str(error)) from None
        messages = [types.PromptMessage(role="user", content=part) for part in parts]
        return types.GetPromptResult(description=prompt.shown.description, messages=messages)

    async def complete(
        self, context: Context, params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        """Ids that begin like what was typed, of what is theirs to see, the newest first."""
        by, argument = self._who(context), params.argument
        known = await asyncio.to_thread(self._known, by, argument.name)
        values = [each for each in known if each.startswith(argument.value)]
        shown = types.Completion(
            values=values[:COMPLETED], total=len(values), has_more=len(values) > COMPLETED
        )
        return types.CompleteResult(completion=shown)

    def _known(self, by: Principal, argument: str) -> list[str]:
        if argument == "scan":
            return [scan.id for scan in self._scans(by)]
        if argument == "run":
            return [run.id for run in self._app.run_access.listed(by, COMPLETED)]
        if argument == "approval":
            pending = self._app.approvals.newest(by, COMPLETED, state=ApprovalState.PENDING)
            return [one.id for one in pending]
        return {"format": list(FORMATS), "scan_type": list(SCAN_TYPES)}.get(argument, [])


def _scan(scan: Scan) -> types.Resource:
    return types.Resource(
        name=f"scan {scan.id}",
        title=f"{scan.verdict.ruling}: {scan.target}",
        description=scan.verdict.why or None,
        uri=f"pilotage://scans/{scan.id}",
        mime_type=JSON,
    )


def _query(query: str, uri: str) -> dict[str, str]:
    """cursor and severity of a page; anything else is a mistake, not to be passed over."""
    pairs = parse_qsl(query, keep_blank_values=True)
    given = dict(pairs)
    if len(given) != len(pairs) or not given.keys() <= {"cursor", "severity"}:
        raise MCPError(
            code=types.INVALID_PARAMS, message="a page takes cursor and severity, each once"
        )
    return given


def _json(value: Mapping[str, Any]) -> str:
    return encode(value).decode()


def _unknown(uri: str) -> MCPError:
    """As the specification of 2026-07-28 has it (SEP-2164)."""
    return MCPError(
        code=types.INVALID_PARAMS, message="Unknown resource", data={"uri": uri[:1_000]}
    )
