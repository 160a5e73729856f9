"""What a server lists, taken in within limits: a tool becomes one of ours, or is refused."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pilotage.domain.errors import PilotageError
from pilotage.tool.schema import Answers, Arguments
from pilotage.tool.tool import Runner, Tool
from pilotage.upstream import wire
from pilotage.upstream.link import NOBODY, Link
from pilotage.upstream.repeats import once_asked
from pilotage.upstream.server import NAME_LIMIT, Upstream, wrong_name

logger = logging.getLogger(__name__)
PAGES = 100
TOOL_BYTES = 256 << 10
TEXT_LIMIT = 32 << 10
REFUSED_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A tool of a server's that can be called. `headers` are the parameters that this era repeats
    in headers; `promised` checks structured results, None: it promises nothing; `made_of` is the
    digest of all that its server says of it."""

    raw: Mapping[str, Any]
    headers: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    promised: Answers | None = None
    made_of: bytes = b""

    @property
    def name(self) -> str:
        return str(self.raw["name"])


@dataclass(frozen=True, slots=True)
class Taken:
    """A catalogue as it was taken in: the tools, and what was refused, with why."""

    tools: Sequence[Tool] = ()
    refused: Sequence[tuple[str, str]] = ()


async def pages(link: Link, method: str, member: str, limit: int, who: str) -> list[dict[str, Any]]:
    """All items of a list, over its pages. Raises TooMuch for more than `limit` of them."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(PAGES):
        params = {} if cursor is None else {"cursor": cursor}
        page = wire.document(who, await link.ask(method, params, NOBODY))
        listed = page.get(member)
        if not isinstance(listed, list):
            raise wire.Lost(f"{who} answered {method} without {member}")
        items += [item for item in listed if isinstance(item, dict)]
        if len(items) > limit:
            raise wire.TooMuch(
                f"{who} lists more than {limit} {member}", "tool_limit of the upstream"
            )
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str) or cursor in seen:
            break
        seen.add(cursor)
    return items


def take_in(
    upstream: Upstream,
    listed: Iterable[Mapping[str, Any]],
    taken: Callable[[str], bool],
    runner: Callable[[Found], Runner],
    asks: bool = False,
) -> Taken:
    """The tools of a list, in the order of their names. `taken` knows names that are another's;
    `asks`: their server puts its questions in the middle of a call."""
    tools: dict[str, Tool] = {}
    refused: list[tuple[str, str]] = []
    ordered = sorted(listed, key=lambda raw: str(raw.get("name", "")))
    for raw in ordered:
        name = raw.get("name")
        if isinstance(name, str) and not upstream.takes(name):
            continue
        shown, why = _name(upstream, name, lambda name: taken(name) or name in tools)
        if not why:
            try:
                tools[shown] = _tool(upstream, shown, raw, runner, asks)
            except PilotageError as error:
                why = error.what
            except Exception as error:  # whatever a server may say, it breaks itself only
                logger.warning("%s: the tool %r", upstream.name, name, exc_info=error)
                why = f"what is said of it cannot be used: {type(error).__name__}"
        if why and len(refused) < REFUSED_LIMIT:
            refused.append((str(name)[:NAME_LIMIT], why))
    return Taken([tools[name] for name in sorted(tools)], refused)


def _name(upstream: Upstream, name: Any, taken: Callable[[str], bool]) -> tuple[str, str]:
    """What a tool is called here, and why it cannot be called anything."""
    if not isinstance(name, str) or not name:
        return "", "it has no name"
    shown = upstream.exposed(name)
    why = wrong_name(shown)
    if not why and (whose := upstream.foreign(shown)):
        why = f"{shown} would be a name of {whose}: rename it, or set a prefix without a dot"
    if not why and not taken(shown):
        return shown, ""
    apart = upstream.exposed(name, apart=True)
    if apart != shown and not (wrong_name(apart) or upstream.foreign(apart) or taken(apart)):
        return apart, ""
    return shown, why or f"the name {shown} is another's: rename it, or set a prefix"


def _tool(
    upstream: Upstream,
    shown: str,
    raw: Mapping[str, Any],
    runner: Callable[[Found], Runner],
    asks: bool,
) -> Tool:
    found = _checked(raw, shown)
    annotations = raw.get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    title = raw.get("title") or annotations.get("title") or ""
    description = str(raw.get("description") or "")
    effect = upstream.effect(found.name, annotations)
    hinted = upstream.trusted and annotations.get("idempotentHint") is True
    repeated = upstream.repeats.of(found.name, effect, hinted)
    run = runner(found)
    return Tool(
        shown,
        str(title),
        description,
        effect,
        raw["inputSchema"],
        raw.get("outputSchema"),
        once_asked(run) if repeated.retries else run,
        idempotent=repeated.idempotent,
        timeout=upstream.timeout,
        owner=upstream.owner,
        annotations=annotations or None,
        target=f"{upstream.pinned}#{found.name}{repeated.words}",
        cache_seconds=repeated.cache_seconds,
        retries=repeated.retries,
        wire={**raw, "name": shown},
        asks=asks,
    )


def _checked(raw: Mapping[str, Any], shown: str) -> Found:
    """Raises PilotageError for what no caller could be given."""
    if len(wire.encode(raw)) > TOOL_BYTES:
        raise PilotageError(f"what is said of it has more than {TOOL_BYTES} bytes")
    for key in ("description", "title"):
        if len(str(raw.get(key) or "")) > TEXT_LIMIT:
            raise PilotageError(f"its {key} has more than {TEXT_LIMIT} characters")
    why = _no_tool(raw)
    if why:
        raise PilotageError(f"it is no tool of MCP: {why}")
    schema, output = raw.get("inputSchema"), raw.get("outputSchema")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise PilotageError("its input schema is not one of an object")
    Arguments(shown, schema, open=False, foreign=True)
    kept = copy.deepcopy(dict(raw))
    return Found(kept, _mirrored(schema), _promise(shown, output), made_of(raw))


def made_of(raw: Mapping[str, Any]) -> bytes:
    """The digest of what a server says of a tool, in whichever order it says it."""
    return hashlib.sha256(msgspec.json.encode(raw, order="deterministic")).digest()


def _no_tool(raw: Mapping[str, Any]) -> str:
    """What is wrong with the words of MCP, "" for nothing: one such tool would take the whole list
    with it, which clients get of all servers at once."""
    from mcp_types import Tool as Listed  # heavy
    from pydantic import ValidationError

    try:
        Listed.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))[:100]}: {first['msg'][:200]}"
    return ""


def _mirrored(schema: Mapping[str, Any]) -> Mapping[tuple[str, ...], str]:
    """The parameters that are repeated in headers, by their path, with the header's name."""
    if b'"x-mcp-header"' not in wire.encode(schema):
        return {}
    from mcp.shared.inbound import find_invalid_x_mcp_header, x_mcp_header_map  # heavy

    why = find_invalid_x_mcp_header(schema)
    if why:
        raise PilotageError(f"its input schema: {why}")
    return x_mcp_header_map(schema)


def _promise(shown: str, schema: Any) -> Answers | None:
    """What checks structured results, None where none is promised."""
    if schema is None:
        return None
    if not isinstance(schema, dict):
        raise PilotageError("its output schema is no object")
    return Answers(f"the output schema of {shown}", schema)
