"""The composition root: the one file that joins engines and shelves."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import getpass
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pilotage import config, shelf
from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.config import Settings
from pilotage.domain.approval import Approval, Verdict
from pilotage.domain.call import VIA, Principal, Report, ToolCall, ToolResult, silent
from pilotage.domain.errors import Denied, PilotageError
from pilotage.domain.ids import new_id
from pilotage.kubernetes.clusters import Clusters
from pilotage.pipeline.access import RunAccess
from pilotage.pipeline.files import opened
from pilotage.pipeline.prepare import Terms
from pilotage.pipeline.runs import Runs
from pilotage.pipeline.told import Artifact
from pilotage.policy import policy
from pilotage.policy.reload import Reload
from pilotage.scan.control import Controls
from pilotage.scan.environment import Environments
from pilotage.scan.orchestrate import Scans
from pilotage.scan.report import Format, Formats
from pilotage.scan.scanner import Scanner
from pilotage.store import tools as registered
from pilotage.store.database import Database
from pilotage.store.keys import Keys
from pilotage.tool.approvals import Approvals
from pilotage.tool.fair_use import fair_use
from pilotage.tool.gateway import Gateway
from pilotage.tool.redact import Redactor
from pilotage.tool.registry import Registry
from pilotage.tool.roots import Roots
from pilotage.tool.roots import roots as make_roots
from pilotage.tool.tool import Definition, Tool
from pilotage.tool.tracing import TracedGateway, Tracing
from pilotage.tool.tracing import wanted as tracing_wanted
from pilotage.tools.security_scanner import scanner_tool
from pilotage.wiring.known_tools import KnownTools
from pilotage.wiring.step_approvals import StepApprovals

if TYPE_CHECKING:
    from pilotage.wiring.others import Others

logger = logging.getLogger(__name__)
FOLLOW_SECONDS = 1.0
UPSTREAM_SECONDS = 2.0
"""How long a start waits for upstream servers to be reached; later ones come in when they are."""


class App:
    """Everything one process needs, opened once; close it, or the last audit rows lack a
    checkpoint. `roots` bounds what its tools may read and write. `tools` None: the shelf's."""

    def __init__(
        self, settings: Settings, roots: Roots, tools: Iterable[Definition] | None = None
    ) -> None:
        self.settings, self.roots = settings, roots
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.database = Database(settings.home / "pilotage.db")
        self.checkpoints = Checkpoints(settings.home / "audit")
        self.audit = AuditLog(self.database, self.checkpoints)
        self.keys = Keys(self.database, self.audit.note)
        self.policy = policy.load(settings.roles_file, settings.rules_file)
        self._reload = Reload(self.policy, config.policy_files(settings.home), self._policy_changed)
        self.redactor = Redactor()
        self.registry = Registry(guard=self._guard)
        self.approvals = self._approvals()
        self.person_here = False  # a person at a terminal uses this process directly
        self.fair = fair_use(settings, self.database, self.redactor, self.policy.roles)
        self.tracing = Tracing() if tracing_wanted(os.environ) else None
        self.gateway = self._gateway(self.registry)
        self._clusters = Clusters(settings.clusters)
        self._unoffered: dict[str, Tool] = {}
        self.services: dict[type, object] = {
            Scans: _scans(settings),
            Formats: Formats(lambda: shelf.parts("pilotage.formats", Format)),
            Roots: roots,
            Redactor: self.redactor,
            Settings: settings,
            Clusters: self._clusters,
        }
        self.runs = self._runs(settings)
        self._judges = StepApprovals(self.approvals, self.runs, lambda: self.person_here)
        self.run_access = self._run_access()
        self.services |= {Runs: self.runs, RunAccess: self.run_access}
        self._add(_tools(self.services) if tools is None else tools)
        self._take_in()

    def _take_in(self) -> None:
        """Plugins that are named, then what others registered: in the registry before anybody is
        answered."""
        if named := self.settings.words("plugins"):
            self._add_plugins(named)
        if self.settings.upstreams or registered.any_there(self.database):
            self.others.load()

    @functools.cached_property
    def others(self) -> Others:
        """The side of tools that others own. Made when first asked for: that costs 100 ms of CPU,
        and a local call most often needs none of it."""
        from pilotage.wiring.others import Others

        parts = (self.database, self.registry, self.policy, self.audit, self.redactor)
        return Others(self.settings, *parts, self._unoffered)

    def _guard(self, tool: Tool) -> str:
        """See Pins.guard. Tools of the house are not compared with anything."""
        return self.others.pins.guard(tool) if tool.owner else ""

    def _gateway(self, registry: Registry) -> Gateway:
        parts = (self.policy, self.approvals, self.audit, self.redactor, self.fair, self._current)
        if self.tracing is not None:
            return TracedGateway(self.tracing, registry, *parts)
        return Gateway(registry, *parts)

    def _approvals(self) -> Approvals:
        return Approvals(
            self.database,
            self.audit.note,
            self.policy.may,
            self.redactor,
            self._current,
            expire=self.settings.number("approvals.expire"),
            own=self.settings.flag("approvals.own"),
        )

    def _runs(self, settings: Settings) -> Runs:
        timeout = settings.number("mcp.pipeline.timeout")
        terms = Terms(str(self.roots.base), timeout, settings.number("mcp.pipeline.retryCount"))
        return Runs(
            self.database,
            settings.home,
            self.gateway.call,
            KnownTools(self.registry),
            terms,
            self._current,
            self.audit.note,
        )

    def _run_access(self) -> RunAccess:
        return RunAccess(
            self.database,
            self.runs,
            lambda by, action: self.policy.may(by, action),
            lambda who, why: self.audit.refuse(new_id(), "", who, "run", why),
            self._current,
        )

    def _add(self, tools: Iterable[Definition]) -> None:
        """Each tool gets the engines that it asks for."""
        for definition in tools:
            tool = definition.bind(self.services)
            if definition.offered:
                self.registry.add(tool)
            else:
                self._unoffered[tool.name] = tool

    def _add_plugins(self, names: Sequence[str]) -> None:
        """Tools of packages that somebody trusts (tool/plugins.py; a refusal is audited). They are
        pinned as those of other servers are (tool/pin.py)."""
        from pilotage.tool.plugins import GROUP, Plugins  # here, as importlib in shelf.plugins

        publishers = self.settings.words("trusted_publishers")
        trusted = Plugins(self.database, self.audit.note, self.settings.home, publishers)
        try:
            found = shelf.plugins(GROUP, names, Definition, trusted.check)
        except PilotageError:
            self.close()
            raise
        for name in names:
            here = shelf.plugins(GROUP, (name,), Definition, trusted.check)
            mine = [found.pop(one) for one in here if one in found]
            self.others.plug(name, [one.bind(self.services) for one in mine])

    def _policy_changed(self, event: str, words: Mapping[str, Any]) -> None:
        self.fair.limits.take(self.policy.roles)
        self.registry.announce()
        self.audit.note(event, self.policy.version, Principal("pilotage", frozenset()), words)

    def _current(self, by: Principal) -> Principal:
        """Who started a run, with the rights of today: a key may have been revoked since. Somebody
        for whom a key has spoken has the rights of that key."""
        _, _, holder = by.name.rpartition(VIA)
        if not holder.startswith("key:"):
            return by
        name = holder.removeprefix("key:")
        key = self.keys.named(name)
        if key is None or key.revoked or (key.expires is not None and key.expires <= time.time()):
            raise Denied(f"the API key {name} is not valid any more", "pilotage keys list")
        return Principal(by.name, frozenset(key.roles), key.tools)

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        by: Principal,
        via: str,
        report: Report = silent,
        idempotency_key: str | None = None,
        approval: str | None = None,
        patience: float = 0,
    ) -> ToolResult:
        """One call through the gateway. Where it needs a person, it waits `patience` seconds."""
        call = ToolCall(new_id(), tool, arguments, by, via, idempotency_key, approval=approval)
        if patience:
            return await self.approvals.patiently(self.gateway.call, call, report, patience)
        return await self.gateway.call(call, report)

    async def judge(
        self, approval: str, by: Principal, verdict: Verdict, reason: str = ""
    ) -> Approval:
        """What a person says to an approval. A step of a pipeline that waits for it goes on."""
        return await self._judges.judge(approval, by, verdict, reason)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """While this is open, what other processes decide about tools, and what is written into
        the policy's files, counts here, 1 to 2 s later."""

        async def follow() -> None:
            while True:
                self._reload.look()
                try:
                    await self.others.refresh()
                except PilotageError as error:
                    logger.error("registered tools could not be read: %s", error)
                await asyncio.sleep(FOLLOW_SECONDS)

        await self.others.federation.start(UPSTREAM_SECONDS)
        task = asyncio.create_task(follow())
        try:
            yield
        finally:
            task.cancel()
            await self.others.federation.stop()

    async def reach(self) -> None:
        """Connect to upstream servers, where there may be any."""
        if "others" in vars(self):
            await self.others.federation.start(UPSTREAM_SECONDS)

    async def leave(self) -> None:
        """End what runs in this event loop: runs that are driven here, then connections."""
        await self.runs.close()
        await self.fair.attempts.close()
        await self._clusters.close()
        if "others" in vars(self):
            await self.others.close()

    def open_artifact(self, one: Artifact) -> BinaryIO:
        """A file of a run: in the roots, and named by a tool of the house."""
        entries = self.registry.all
        return opened(
            one,
            self.roots.inside,
            lambda tool: tool in entries and not entries[tool].tool.owner,
        )

    def close(self) -> None:
        """Write what is queued, then sign it. Runs that are driven here are let go."""
        self.runs.release()
        self.audit.seal()
        self.database.close()
        if self.tracing is not None:
            self.tracing.close()


def _scans(settings: Settings) -> Scans:
    scanners = shelf.parts("pilotage.scanners", Scanner)
    environments = Environments(settings.cache, settings.programs)
    network = settings.flag("scan.network")
    return Scans(scanners, environments, Controls(settings.cache), network=network)


def _tools(services: Mapping[type, object]) -> Iterator[Definition]:
    """The tools of the shelf, and each scanner as a tool of its own name."""
    yield from shelf.parts("pilotage.tools", Definition).values()
    scans = services[Scans]
    assert isinstance(scans, Scans)
    for scanner in scans.scanners.values():
        yield scanner_tool(scanner)


@contextlib.contextmanager
def tools_here(settings: Settings) -> Iterator[KnownTools]:
    """The tools that a process with these settings has, without touching its state."""
    with tempfile.TemporaryDirectory(prefix="pilotage-") as home:
        app = App(replace(settings, home=Path(home)), make_roots())
        try:
            there = registered.peek(settings.home / "pilotage.db")
            if there:
                app.others.registrations.borrow(there)
            yield KnownTools(app.registry)
        finally:
            app.close()


def local_principal() -> Principal:
    """Whoever sits at this terminal owns this state folder, so may do what an admin may."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return Principal(f"local:{user}", frozenset({"admin"}))
